// Package history has the trials "strict", "batches", "bounded" and "feeds". It
// records concurrent calls at several replicas, and checks that the history is
// linearizable.
package history

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A plan holds the parameters of a history.
type plan struct {
	name                               string // prefix of the user names; each history has another
	seed                               uint64
	users, clients, workers, perWorker int
	pause                              time.Duration // maximum time between two calls of a worker
	// calm makes most calls validations, of older tokens too, so that a cache with
	// stale entries is found.
	calm bool
	// recent makes a calm history prefer the latest tokens, too.
	recent bool
}

// drawPlan draws a plan. Its history has 200 operations or more, not counting the
// forged tokens, unless users are disabled for long.
func drawPlan(rng *rand.Rand, name string, pause time.Duration) plan {
	p := plan{name: name, seed: rng.Uint64(), users: 1 + rng.IntN(3), clients: 1 + rng.IntN(2), workers: 3 + rng.IntN(5), pause: pause}
	p.perWorker = 250/p.workers + 1 + rng.IntN(10)
	if p.calm = rng.IntN(2) == 0; p.calm {
		p.pause *= 3
	}
	return p
}

// A history is the record of the concurrent calls of several workers, for some users,
// at several replicas.
type history struct {
	plan
	replicas  []*tokenauth.Service
	directory *host.Directory
	began     time.Time

	mu         sync.Mutex
	tokens     []issuedToken // token n is tokens[n-1]
	operations []*operation
	accepted   []string // violations: accepted forgeries, and tokens with the wrong user or client
}

type issuedToken struct {
	text string
	slot slot
}

// run makes the history and returns its operations in the order of their calls.
func (h *history) run(ctx context.Context) []*operation {
	h.began = time.Now()
	var wg sync.WaitGroup
	for worker := range h.workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(h.seed, uint64(worker)))
			for range h.perWorker {
				h.act(ctx, rng, worker)
				if h.pause > 0 {
					time.Sleep(rand.N(h.pause))
				}
			}
		})
	}
	wg.Wait()
	h.markLate()
	slices.SortFunc(h.operations, func(a, b *operation) int { return int(a.call - b.call) })
	return h.operations
}

// act makes a random call.
func (h *history) act(ctx context.Context, rng *rand.Rand, worker int) {
	o := &operation{worker: worker, replica: rng.IntN(len(h.replicas)), slot: slot{rng.IntN(h.users), rng.IntN(h.clients)}}
	n := rng.IntN(100)
	if h.calm && rng.IntN(5) > 0 && h.issued() > 2*h.users*h.clients {
		n = 50
	}
	switch {
	case n < 22:
		h.do(o, op.SignIn, func(auth *tokenauth.Service) error {
			user := h.user(o.slot.user)
			g, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: user, Password: tokenauth.NewSecret(user), ClientID: host.Client(o.slot.client)})
			if err == nil {
				o.token = h.keep(g.AccessToken.Reveal(), o.slot)
			}
			return err
		})
	case n < 80:
		text, ok := h.pick(rng, o)
		if !ok {
			return
		}
		h.do(o, op.Validate, func(auth *tokenauth.Service) error {
			t, err := auth.Validate(ctx, text)
			if err == nil {
				h.recognize(o, t)
			}
			return err
		})
	case n < 86:
		h.tryForged(ctx, rng, o)
	case n < 93:
		text, ok := h.pick(rng, o)
		if !ok {
			return
		}
		h.do(o, op.Revoke, func(auth *tokenauth.Service) error { return auth.Revoke(ctx, text) })
	case n < 97:
		h.revokeUser(ctx, o)
	default:
		// Like a host: first change the user, then revoke the user's tokens.
		o.slot.client = allClients
		user := h.user(o.slot.user)
		change := op.Disable
		if h.directory.Account(user).Disabled {
			change = op.Enable
		}
		h.do(o, change, func(*tokenauth.Service) error {
			h.directory.SetDisabled(user, change == op.Disable)
			return nil
		})
		if change == op.Disable {
			h.revokeUser(ctx, &operation{worker: worker, replica: o.replica, slot: o.slot})
		}
	}
}

func (h *history) revokeUser(ctx context.Context, o *operation) {
	o.slot.client = allClients
	h.do(o, op.RevokeUser, func(auth *tokenauth.Service) error { return auth.RevokeUser(ctx, h.user(o.slot.user)) })
}

// do makes the call and records its outcome.
func (h *history) do(o *operation, k op.Kind, call func(*tokenauth.Service) error) {
	o.kind = k
	o.call = int64(time.Since(h.began))
	err := call(h.replicas[o.replica])
	o.answer = int64(time.Since(h.began))
	switch {
	case err == nil:
		o.outcome = done
	case errors.Is(err, tokenauth.ErrUnavailable):
		o.outcome = unknown
	default:
		o.outcome = refused
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

// recognize records a violation if a validation returned another user or client.
func (h *history) recognize(o *operation, t tokenauth.Token) {
	user, client := h.user(o.slot.user), host.Client(o.slot.client)
	if t.Slot == tokenauth.SlotOf(user, client) && t.Principal.UserID == user && t.ClientID == client {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accepted = append(h.accepted, fmt.Sprintf("replica %[3]d returned a token of user %[1]d at client %[2]d as one of %[4]q at %[5]q",
		o.slot.user, o.slot.client, o.replica, t.Principal.UserID, t.ClientID))
}

// tryForged validates a forged token.
func (h *history) tryForged(ctx context.Context, rng *rand.Rand, o *operation) {
	text, ok := h.pick(rng, o)
	if !ok {
		return
	}
	forged := accesstoken.Forge(rng, text)
	if _, err := h.replicas[o.replica].Validate(ctx, forged); err == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.accepted = append(h.accepted, fmt.Sprintf("a forged token of %v was accepted at replica %d", o.slot, o.replica))
	}
}

// pick picks an issued token for the operation. Unless the history is calm, it prefers
// the latest tokens.
func (h *history) pick(rng *rand.Rand, o *operation) (text string, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.tokens) == 0 {
		return "", false
	}
	back := rng.IntN(len(h.tokens))
	if !h.calm || h.recent {
		back = min(back, rng.IntN(len(h.tokens)), rng.IntN(len(h.tokens)))
	}
	o.token = len(h.tokens) - back
	t := h.tokens[o.token-1]
	o.slot = t.slot
	return t.text, true
}

// keep records an issued token and returns its number.
func (h *history) keep(text string, s slot) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokens = append(h.tokens, issuedToken{text, s})
	return len(h.tokens)
}

func (h *history) issued() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tokens)
}

// user returns the name of user n.
func (h *history) user(n int) string { return fmt.Sprintf("%s user %d", h.name, n) }

// markLate marks the refused sign-ins during which their user was changed.
func (h *history) markLate() {
	for _, o := range h.operations {
		o.late = o.kind == op.SignIn && o.outcome == refused && slices.ContainsFunc(h.operations, func(c *operation) bool {
			return (c.kind == op.Disable || c.kind == op.Enable) && c.slot.user == o.slot.user && c.call <= o.answer && o.call <= c.answer
		})
	}
}
