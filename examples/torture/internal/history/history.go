// Package history has the trials "strict", "batches", "bounded", "feeds" and "keys". It
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
	// faithful makes few calls end a sign-in with refresh tokens, so that it is refreshed
	// often.
	faithful bool
	// plain is whether clients never refresh, even if they have refresh tokens.
	plain bool
}

// drawPlan draws a plan. Its history has 200 operations or more, not counting the
// forged tokens, unless users are disabled for long.
func drawPlan(rng *rand.Rand, name string, pause time.Duration) plan {
	p := plan{name: name, seed: rng.Uint64(), users: 1 + rng.IntN(3), clients: 1 + rng.IntN(2), workers: 3 + rng.IntN(5), pause: pause}
	p.perWorker = 250/p.workers + 1 + rng.IntN(10)
	if p.calm = rng.IntN(2) == 0; p.calm {
		p.pause *= 3
	}
	p.faithful = rng.IntN(2) == 0
	return p
}

// A history is the record of the concurrent calls of several workers, for some users,
// at several replicas.
type history struct {
	plan
	max       int         // [tokenauth.DeviceOptions.Max], or 0 without devices
	refresh   *refreshing // nil without refresh tokens
	replicas  []*tokenauth.Service
	directory *host.Directory
	endsKept  bool // see [plant.Plant.EndsKept]
	began     time.Time

	mu         sync.Mutex
	tokens     []issuedToken // token n is tokens[n-1]
	operations []*operation
	broken     []string // violations that were found while the history was made
}

type issuedToken struct {
	text    string
	stored  tokenauth.Token
	slot    slot
	refresh string // the refresh token, or ""
	signIn  int    // as in [operation]
}

// run makes the history and returns its operations in the order of their calls. A
// history with devices has a few rests ([history.rest]).
func (h *history) run(ctx context.Context) []*operation {
	h.began = time.Now()
	var rngs []*rand.Rand
	for worker := range h.workers + 1 { // the last one is for the rests
		rngs = append(rngs, rand.New(rand.NewPCG(h.seed, uint64(worker))))
	}
	parts := 1
	if h.max > 0 {
		parts = 3
	}
	for range parts {
		var wg sync.WaitGroup
		for worker := range h.workers {
			wg.Go(func() {
				for range h.perWorker / parts {
					h.act(ctx, rngs[worker], worker)
					if h.pause > 0 {
						time.Sleep(rand.N(h.pause))
					}
				}
			})
		}
		wg.Wait()
		if h.max > 0 {
			h.rest(ctx, rngs[h.workers])
		}
	}
	h.markLate()
	slices.SortFunc(h.operations, func(a, b *operation) int { return int(a.call - b.call) })
	return h.operations
}

// A chance is a call that a history makes if it draws a number below the limit, and not
// below that of the chance before.
type chance struct {
	below int // of 100
	call  func(*history, context.Context, *rand.Rand, *operation)
}

var plainMix = []chance{
	{22, (*history).signIn}, {80, (*history).validate}, {86, (*history).tryForged}, {93, (*history).revoke},
	{97, (*history).revokeUser}, {100, (*history).changeUser},
}

// act makes a random call.
func (h *history) act(ctx context.Context, rng *rand.Rand, worker int) {
	o := &operation{worker: worker, replica: rng.IntN(len(h.replicas)), slot: slot{user: rng.IntN(h.users), client: rng.IntN(h.clients)}}
	refreshes := h.refresh != nil && !h.plain
	calls := plainMix
	switch {
	case h.max > 0:
		o.slot.device = rng.IntN(len(deviceIDs))
		calls = deviceMix
		if refreshes {
			calls = deviceRefreshMix
		}
	case refreshes && h.faithful:
		calls = faithfulMix
	case refreshes:
		calls = refreshMix
	}
	if refreshes {
		h.letTimePass(rng)
	}
	n := rng.IntN(100)
	if h.calm && rng.IntN(5) > 0 && h.issued() > 2*h.users*h.clients {
		n = 50 // a validation in all mixes
	}
	i := slices.IndexFunc(calls, func(c chance) bool { return n < c.below })
	calls[i].call(h, ctx, rng, o)
}

func (h *history) signIn(ctx context.Context, _ *rand.Rand, o *operation) {
	h.do(o, op.SignIn, func(auth *tokenauth.Service) error {
		user := h.user(o.slot.user)
		issued, err := auth.SignIn(ctx, tokenauth.Credentials{
			UserName: user, Password: tokenauth.NewSecret(user), ClientID: h.clientID(o.slot.client), Device: deviceIDs[o.slot.device],
		})
		if err == nil {
			o.stored = issued.Token
			refreshToken := issued.RefreshToken.Reveal()
			o.token = h.keep(issuedToken{issued.AccessToken.Reveal(), issued.Token, o.slot, refreshToken, 0})
			if refreshToken != "" {
				o.signIn = o.token
			}
			if has := h.refresh != nil && o.replica != h.refresh.off; has != (refreshToken != "") {
				h.violate("a sign-in of %v at replica %d returned a refresh token: %t, want %t", o.slot, o.replica, !has, has)
			}
		}
		return err
	})
}

func (h *history) validate(ctx context.Context, rng *rand.Rand, o *operation) {
	if t, ok := h.pick(rng, o); ok {
		h.validateToken(ctx, o, t)
	}
}

func (h *history) validateToken(ctx context.Context, o *operation, t issuedToken) {
	h.do(o, op.Validate, func(auth *tokenauth.Service) error {
		got, err := auth.Validate(ctx, t.text)
		if err == nil {
			h.recognize(o, got)
		}
		return err
	})
}

func (h *history) revoke(ctx context.Context, rng *rand.Rand, o *operation) {
	if t, ok := h.pick(rng, o); ok {
		h.do(o, op.Revoke, func(auth *tokenauth.Service) error { return auth.Revoke(ctx, t.text) })
	}
}

func (h *history) revokeUser(ctx context.Context, _ *rand.Rand, o *operation) {
	o.slot.client, o.slot.device = all, all
	h.do(o, op.RevokeUser, func(auth *tokenauth.Service) error { return auth.RevokeUser(ctx, h.user(o.slot.user)) })
}

// changeUser disables or enables the user. Like a host, it first changes the user, and
// then revokes the tokens of a disabled user.
func (h *history) changeUser(ctx context.Context, rng *rand.Rand, o *operation) {
	o.slot.client, o.slot.device = all, all
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
		h.revokeUser(ctx, rng, &operation{worker: o.worker, replica: o.replica, slot: o.slot})
	}
}

// do makes the call and records its outcome.
func (h *history) do(o *operation, k op.Kind, call func(*tokenauth.Service) error) {
	o.kind = k
	o.from, o.call = h.now(), int64(time.Since(h.began))
	err := call(h.replicas[o.replica])
	o.answer, o.to = int64(time.Since(h.began)), h.now()
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

// recognize records a violation if a validation returned another slot's token.
func (h *history) recognize(o *operation, t tokenauth.Token) {
	user, client, device := h.user(o.slot.user), h.clientID(o.slot.client), deviceIDs[o.slot.device]
	same := t.Principal.UserID == user && t.ClientID == client && t.Device == device
	if device == "" {
		same = same && t.Slot == tokenauth.SlotOf(user, client)
	}
	if !same {
		h.violate("replica %d returned a token of %v as one of %q at %q on %q", o.replica, o.slot, t.Principal.UserID, t.ClientID, t.Device)
	}
}

// tryForged validates a forged token.
func (h *history) tryForged(ctx context.Context, rng *rand.Rand, o *operation) {
	t, ok := h.pick(rng, o)
	if !ok {
		return
	}
	if _, err := h.replicas[o.replica].Validate(ctx, accesstoken.Forge(rng, t.text)); err == nil {
		h.violate("a forged token of %v was accepted at replica %d", o.slot, o.replica)
	}
}

// pick picks an issued token for the operation. Unless the history is calm, it prefers
// the latest tokens.
func (h *history) pick(rng *rand.Rand, o *operation) (t issuedToken, ok bool) {
	n := h.issued()
	if n == 0 {
		return t, false
	}
	back := rng.IntN(n)
	if !h.calm || h.recent {
		back = min(back, rng.IntN(n), rng.IntN(n))
	}
	return h.nth(n-back, o), true
}

// nth returns token n, and makes it the token of the operation.
func (h *history) nth(n int, o *operation) issuedToken {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.tokens[n-1]
	o.token, o.slot = n, t.slot
	return t
}

// keep records the token of a sign-in, and returns its number.
func (h *history) keep(t issuedToken) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t.refresh != "" {
		t.signIn = len(h.tokens) + 1
	}
	h.tokens = append(h.tokens, t)
	return len(h.tokens)
}

func (h *history) issued() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.tokens)
}

// user returns the name of user n.
func (h *history) user(n int) string { return fmt.Sprintf("%s user %d", h.name, n) }

// markLate marks the refused sign-ins and refreshes during which their user was changed.
func (h *history) markLate() {
	for _, o := range h.operations {
		o.late = (o.kind == op.SignIn || o.kind == op.Refresh) && o.outcome == refused && slices.ContainsFunc(h.operations, func(c *operation) bool {
			return (c.kind == op.Disable || c.kind == op.Enable) && c.slot.user == o.slot.user && c.call <= o.answer && o.call <= c.answer
		})
	}
}
