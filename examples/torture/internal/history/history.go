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

// A plan is how a history is made.
type plan struct {
	name                               string // of the users, for no other history has the same
	seed                               uint64
	users, clients, workers, perWorker int
	pause                              time.Duration // at most, between the calls of a worker
	// calm is whether little changes, and what has changed is looked at for
	// long: then a cache has something to be wrong about.
	calm bool
	// recent is whether rather the latest tokens are looked at, also if it is calm.
	recent bool
}

// drawPlan draws a plan. A history has 200 operations or more, beside forged
// tokens that are tried.
func drawPlan(rng *rand.Rand, name string, pause time.Duration) plan {
	p := plan{name: name, seed: rng.Uint64(), users: 1 + rng.IntN(3), clients: 1 + rng.IntN(2), workers: 3 + rng.IntN(5), pause: pause}
	p.perWorker = 250/p.workers + 1 + rng.IntN(10)
	if p.calm = rng.IntN(2) == 0; p.calm {
		p.pause *= 3
	}
	return p
}

// A history is what several workers did to some users at several replicas, all
// at once.
type history struct {
	plan
	replicas  []*tokenauth.Service
	directory *host.Directory
	began     time.Time

	mu         sync.Mutex
	tokens     []issuedToken // token n is tokens[n-1]
	operations []*operation
	accepted   []string // of what was never issued, or as another's
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

// act does one thing at random.
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
		// As a host does: first the change, then the revocation.
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

// do calls, and records what came of it.
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

// recognize finds a token that was answered as another user's or client's.
func (h *history) recognize(o *operation, t tokenauth.Token) {
	user, client := h.user(o.slot.user), host.Client(o.slot.client)
	if t.Slot == tokenauth.SlotOf(user, client) && t.Principal.UserID == user && t.ClientID == client {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.accepted = append(h.accepted, fmt.Sprintf("a token of user %d at client %d was answered at replica %d as one of %q at %q",
		o.slot.user, o.slot.client, o.replica, t.Principal.UserID, t.ClientID))
}

// tryForged validates something that is like a token and was never issued.
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

// pick picks a token that was issued, rather a late one, for the operation.
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

func (h *history) user(n int) string { return fmt.Sprintf("%s user %d", h.name, n) }

// markLate finds the refused sign-ins in whose time their user was changed.
func (h *history) markLate() {
	for _, o := range h.operations {
		o.late = o.kind == op.SignIn && o.outcome == refused && slices.ContainsFunc(h.operations, func(c *operation) bool {
			return (c.kind == op.Disable || c.kind == op.Enable) && c.slot.user == o.slot.user && c.call <= o.answer && o.call <= c.answer
		})
	}
}
