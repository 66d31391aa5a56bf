package change

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	usersEach, clientsEach = 6, 4 // of a history; the operator never changes the last of each
	signers                = 4
	changesEach            = 6
)

// kinds lists the changes that an operator makes.
var kinds = [...]struct {
	name   string
	client bool // changes a client, not a user
	ends   bool // ends later tokens, too
	do     func(ctx context.Context, u *gormstore.Users, c *gormstore.Clients, id string) error
}{
	{"new roles of a user", false, false, func(ctx context.Context, u *gormstore.Users, _ *gormstore.Clients, id string) error {
		return u.SetRoles(ctx, id, "After")
	}},
	{"user disabled", false, true, func(ctx context.Context, u *gormstore.Users, _ *gormstore.Clients, id string) error {
		return u.SetDisabled(ctx, id, true)
	}},
	{"user deleted", false, true, func(ctx context.Context, u *gormstore.Users, _ *gormstore.Clients, id string) error {
		return u.Delete(ctx, id)
	}},
	{"client disabled", true, true, func(ctx context.Context, _ *gormstore.Users, c *gormstore.Clients, id string) error {
		return c.SetDisabled(ctx, id, true)
	}},
	{"client deleted", true, true, func(ctx context.Context, _ *gormstore.Users, c *gormstore.Clients, id string) error {
		return c.Delete(ctx, id)
	}},
}

// A history records what users and an operator did concurrently.
type history struct {
	*trial.Env
	*fleet
	n       uint64
	rng     *rand.Rand
	userIDs [usersEach]string

	mu       sync.Mutex
	attempts []*token // all sign-ins, refused ones too
	tokens   []*token // the attempts that issued a token
	changes  []*change
	took     time.Duration // from the last change to the end of the last token
}

// A token is an attempt to sign in. The replica issued or refused the token between
// call and answer.
type token struct {
	text         string
	user, client int
	after        bool // it has the roles that the operator set
	call, answer time.Time
}

// A change is one that the operator made. It was committed between call and answer.
type change struct {
	kind, target int
	call, answer time.Time
}

func newHistory(e *trial.Env, f *fleet, n uint64) *history {
	return &history{Env: e, fleet: f, n: n, rng: random(e, n)}
}

func (h *history) user(i int) string { return fmt.Sprintf("changes%d-%d-user%d", h.Seed, h.n, i) }

func (h *history) client(i int) string { return fmt.Sprintf("changes%d-%d-client%d", h.Seed, h.n, i) }

// run makes the history and checks it.
func (h *history) run(ctx context.Context) error {
	for i := range usersEach {
		err := untilDone(func() error {
			u, err := h.directory.Users().Import(ctx, gormstore.User{Name: h.user(i), Roles: []string{"Before"}}, "plain:"+h.user(i))
			h.userIDs[i] = u.ID
			return err
		})
		if err != nil {
			return err
		}
	}
	for i := range clientsEach {
		err := untilDone(func() error { return h.directory.Clients().CreatePublic(ctx, tokenauth.Client{ID: h.client(i)}) })
		if err != nil {
			return err
		}
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	for signer := range uint64(signers) {
		rng := rand.New(rand.NewPCG(h.Seed, h.n*signers+signer))
		wg.Go(func() {
			for !over.Load() {
				h.signIn(ctx, rng)
			}
		})
	}
	err := h.operate(ctx)
	time.Sleep(20 * time.Millisecond) // so that some users sign in after all changes
	over.Store(true)
	wg.Wait()
	if err == nil {
		h.judge(ctx)
	}
	return errors.Join(err, ctx.Err())
}

// signIn signs a user in, and records the attempt. A refused attempt counts, too: it
// may have displaced a token first.
func (h *history) signIn(ctx context.Context, rng *rand.Rand) {
	t := &token{user: rng.IntN(usersEach), client: rng.IntN(clientsEach), call: time.Now()}
	name := h.user(t.user)
	issued, err := h.replicas[rng.IntN(len(h.replicas))].SignIn(ctx, tokenauth.Credentials{
		UserName: name, Password: tokenauth.NewSecret(name), ClientID: h.client(t.client),
	})
	t.answer = time.Now()
	h.Env.Operations.Add(1)
	t.text, t.after = issued.AccessToken.Reveal(), issued.Token.Principal.HasRole("After")
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts = append(h.attempts, t)
	if err == nil {
		h.tokens = append(h.tokens, t)
	}
}

// operate makes the changes, each to a different user or client.
func (h *history) operate(ctx context.Context) error {
	userTargets, clientTargets := h.rng.Perm(usersEach-1), h.rng.Perm(clientsEach-1)
	for range changesEach {
		time.Sleep(time.Duration(5+h.rng.IntN(10)) * time.Millisecond)
		c := &change{kind: h.rng.IntN(len(kinds))}
		targets := &userTargets
		if kinds[c.kind].client {
			targets = &clientTargets
		}
		if len(*targets) == 0 {
			continue
		}
		c.target, *targets = (*targets)[0], (*targets)[1:]
		c.call = time.Now()
		err := untilDone(func() error { return h.change(ctx, c) })
		c.answer = time.Now()
		if err != nil {
			return fmt.Errorf("%s: %w", kinds[c.kind].name, err)
		}
		h.Env.Operations.Add(1)
		h.changes = append(h.changes, c)
	}
	return nil
}

// change makes a change: in the directory's process, in another process, or in a
// transaction that stays open for a moment.
func (h *history) change(ctx context.Context, c *change) error {
	kind := kinds[c.kind]
	id := h.userIDs[c.target]
	if kind.client {
		id = h.client(c.target)
		if h.Plant != nil && h.Plant.EndsFirst {
			return h.endFirst(ctx, c, id)
		}
	}
	switch h.rng.IntN(3) {
	case 0:
		return kind.do(ctx, h.directory.Users(), h.directory.Clients(), id)
	case 1:
		return kind.do(ctx, h.other.Users(), h.other.Clients(), id)
	}
	open := time.Duration(h.rng.IntN(20)) * time.Millisecond
	return h.directory.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := kind.do(ctx, h.directory.Users().WithTx(tx), h.directory.Clients().WithTx(tx), id); err != nil {
			return err
		}
		time.Sleep(open)
		return nil
	})
}

// untilDone makes a change again for as long as another transaction wins. Galera rolls
// back one of two conflicting transactions on two nodes, and SQLite does not wait for
// the lock longer than its busy timeout.
func untilDone(change func() error) error {
	for {
		err := change()
		if err == nil || !strings.HasPrefix(err.Error(), "Error 1213") && !strings.Contains(err.Error(), "database is locked") {
			return err
		}
	}
}

// endFirst is the bug of [plant.Plant.EndsFirst].
func (h *history) endFirst(ctx context.Context, c *change, id string) error {
	if err := h.replicas[0].RevokeClient(ctx, id); err != nil {
		return err
	}
	time.Sleep(plant.Moment)
	statement := `UPDATE torture_clients SET disabled = ? WHERE id = ?`
	args := []any{true, id}
	if kinds[c.kind].name == "client deleted" {
		statement, args = `DELETE FROM torture_clients WHERE id = ?`, []any{id}
	}
	return h.directory.DB.WithContext(ctx).Exec(statement, args...).Error
}

// judge checks that each token ended that a change must end, and then that the
// others are still valid.
func (h *history) judge(ctx context.Context) {
	var last time.Time
	for _, c := range h.changes {
		last = c.answer
	}
	deadline := last.Add(within + slack + h.Patience)
	for _, t := range h.tokens {
		if c := h.endedBy(t); c != nil {
			for h.valid(ctx, t) {
				if time.Now().After(deadline) && ctx.Err() == nil {
					h.Violate("changes: history %d of seed %d on %s, %s: a token of user %d at client %d, issued %v before the commit of %q, is still valid %v after it",
						h.n, h.Seed, h.Backend.Name, h.name, t.user, t.client, c.answer.Sub(t.answer), kinds[c.kind].name, time.Since(c.answer))
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		}
	}
	h.took = time.Since(last)
	// After this time each replica has applied each change.
	select {
	case <-time.After(time.Until(last.Add(within))):
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return
	}
	for _, t := range h.tokens {
		if h.mustStay(t) && !h.valid(ctx, t) && ctx.Err() == nil {
			h.Violate("changes: history %d of seed %d on %s, %s: the token of user %d at client %d, issued after all changes to both, is refused",
				h.n, h.Seed, h.Backend.Name, h.name, t.user, t.client)
		}
	}
	h.Histories.Add(1)
}

// valid reports whether any replica accepts the token. It tries again after a
// storage error.
func (h *history) valid(ctx context.Context, t *token) bool {
	return slices.ContainsFunc(h.replicas, func(auth *tokenauth.Service) bool {
		for {
			_, err := auth.Validate(ctx, t.text)
			if err == nil || errors.Is(err, tokenauth.ErrInvalidToken) || ctx.Err() != nil {
				return err == nil
			}
		}
	})
}

// of reports whether the change is one to the token's user or client.
func (c *change) of(t *token) bool {
	if kinds[c.kind].client {
		return c.target == t.client
	}
	return c.target == t.user
}

// endedBy returns the change that must end the token, or nil.
func (h *history) endedBy(t *token) *change {
	for _, c := range h.changes {
		if c.of(t) && (kinds[c.kind].ends || !t.after) {
			return c
		}
	}
	return nil
}

// mustStay reports whether the token is certainly the last one issued in its slot,
// and no change ends it.
func (h *history) mustStay(t *token) bool {
	return h.endedBy(t) == nil && !slices.ContainsFunc(h.attempts, func(other *token) bool {
		return other != t && other.user == t.user && other.client == t.client && other.answer.After(t.call)
	})
}
