package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A witness is a token that is in all caches when a fault begins, and is revoked
// during the fault. Without witnesses too few tokens would end in so short a time.
type witness struct {
	text      string
	revokedAt *tokenauth.Service
	after     time.Duration // from the begin of the fault to the revocation
}

// witness issues a token and validates it at all replicas, so that it is in all
// caches. It returns nil after an error.
func (b *breaker) witness(ctx context.Context, rng *rand.Rand, n int, lasts time.Duration) *witness {
	user := fmt.Sprint("witness ", n)
	g, err := b.replicas[n%len(b.replicas)].SignIn(ctx, tokenauth.Credentials{UserName: user, Password: tokenauth.NewSecret(user), ClientID: host.Client(0)})
	if err != nil {
		return nil
	}
	w := &witness{g.AccessToken.Reveal(), b.replicas[rng.IntN(len(b.replicas))], time.Duration(rng.Int64N(int64(lasts)/2 + 1))}
	for _, auth := range b.replicas {
		for range 2 {
			if _, err := auth.Validate(ctx, w.text); err != nil {
				return nil
			}
		}
	}
	return w
}

// follow keeps the token in the caches, revokes it, and then validates it until each
// replica refuses it.
func (b *breaker) follow(ctx context.Context, w *witness, fault string) {
	for end := time.Now().Add(w.after); time.Now().Before(end) && ctx.Err() == nil; {
		for _, auth := range b.replicas { // the fault may have emptied the caches
			auth.Validate(ctx, w.text)
		}
		inject.Wait(ctx, min(time.Until(end), leaseOf(b.Env)/20))
	}
	for {
		err := w.revokedAt.Revoke(ctx, w.text)
		if err == nil {
			break
		}
		if inject.Wait(ctx, 5*time.Millisecond); ctx.Err() != nil {
			return
		}
	}
	ended := time.Now()
	for i, auth := range b.replicas {
		for {
			began := time.Now()
			_, err := auth.Validate(ctx, w.text)
			if err != nil && !errors.Is(err, tokenauth.ErrUnavailable) || ctx.Err() != nil {
				break
			}
			if late := began.Sub(ended); err == nil && late > leaseOf(b.Env)+trial.Allowance {
				b.Violate("feeds of seed %d on %s: replica %d accepts a token %v after its revocation, which was %v after the begin of %q", b.Seed, b.Backend.Name, i, late, w.after, fault)
				break
			}
			inject.Wait(ctx, 2*time.Millisecond)
		}
	}
}
