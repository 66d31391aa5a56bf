package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	roamers   = 4 // users who sign in on devices
	onDevices = 6 // devices of each
	maxTokens = 2 // [tokenauth.DeviceOptions.Max]
)

// A roamer is a user who signs in on one device after the other. A crash between two
// steps of a sign-in can leave more tokens than the bound allows. The next sign-in must
// end those.
type roamer struct {
	name   string
	rng    *rand.Rand
	counts *counts
}

func (c *runner) newRoamers(counts *counts) (all []*roamer) {
	for i := range roamers {
		all = append(all, &roamer{fmt.Sprintf("roamer %d %d", c.Seed, i), rand.New(rand.NewPCG(c.Seed, uint64(c.n*roamers+i))), counts})
	}
	return all
}

// use signs in until stop is set.
func (r *roamer) use(s *service, stop *atomic.Bool) {
	for !stop.Load() {
		if status, _ := r.signIn(s); doubtful(status) {
			time.Sleep(time.Millisecond)
		}
	}
}

func (r *roamer) signIn(s *service) (status int, token string) {
	r.counts.requests.Add(1)
	status, p := s.signIn(r.name, host.Client(0), fmt.Sprint("device ", r.rng.IntN(onDevices)), "mark")
	if doubtful(status) {
		r.counts.cut.Add(1)
	}
	return status, p.access
}

// judgeRoamers signs each roamer in while no other request is in progress. Then at
// most maxTokens tokens may be stored, and the new one must be valid.
func (c *runner) judgeRoamers(k *target) {
	for _, r := range c.roamers {
		if c.tokensOf(r) > maxTokens {
			k.exceeded++
		}
		status, token := r.signIn(c.service)
		for deadline := time.Now().Add(recovery + c.Patience); doubtful(status) && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			status, token = r.signIn(c.service)
		}
		switch n := c.tokensOf(r); {
		case status != http.StatusOK:
			c.Violate("%s: a sign-in of %s is answered %d", c.where(k), r.name, status)
		case n > maxTokens:
			c.Violate("%s: %s has %d tokens after a sign-in, want at most %d", c.where(k), r.name, n, maxTokens)
		default:
			if status := c.service.validate(r.name, token); status != http.StatusOK {
				c.Violate("%s: the newest token of %s is answered %d", c.where(k), r.name, status)
			}
		}
	}
}

func (c *runner) tokensOf(r *roamer) (n int) {
	c.withBooks(func(ctx context.Context, b *books) error {
		tokens, err := b.storage.(tokenauth.Lister).List(ctx, tokenauth.UserKeyOf(r.name))
		n = len(tokens)
		return err
	})
	return n
}
