package fault

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants lists the bugs that the trial "faults" must find.
var Plants = []*plant.Plant{
	{
		Name: "fault-as-empty", Trials: []string{"faults"},
		About:   "an error of the storage is reported as an empty slot",
		Storage: withErring(func(t *erring) { t.found = t.notFound }),
	},
	{
		Name: "fault-as-done", Trials: []string{"faults"},
		About:   "a sign-in or a revocation that failed is reported as done",
		Storage: withErring(func(t *erring) { t.changed = func(error) error { return nil } }),
	},
	{
		Name: "stale-if-error", Trials: []string{"faults"},
		About:   "while the storage fails, a look-up returns the row that was read last",
		Storage: withErring(func(t *erring) { t.found = t.readAgain }),
	},
	{
		Name: "asynchronous", Trials: []string{"faults"},
		About:        "the primary confirms changes that no standby has: a fail-over undoes them (on postgres-standby)",
		Asynchronous: true,
	},
	{
		Name: "never-recovers", Trials: []string{"faults"},
		About:   "after the first error all calls fail, as behind a circuit breaker that stays open",
		Storage: withErring(func(t *erring) { t.latched = true }),
	},
	{
		Name: "silent-gap", Trials: []string{"faults"},
		About: "a lost feed comes back late, sends heartbeats meanwhile, and does not report that it missed changes (on Redis and PostgreSQL)",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			if w, ok := s.(tokenauth.Watcher); ok {
				return plant.With(s, &silentGap{s, w})
			}
			return s
		},
	},
}

// errOpen is the error of each call after the first error, by the plant
// "never-recovers".
var errOpen = errors.New("torture: injected fault")

// An erring is a [tokenauth.Storage] that handles the errors of its calls wrongly.
type erring struct {
	tokenauth.Storage
	found   func(tokenauth.Slot, error) (tokenauth.Token, error) // replaces the error of Find; nil keeps it
	changed func(error) error                                    // replaces the error of a change; nil keeps it
	latched bool                                                 // whether all calls fail after the first error
	open    atomic.Bool

	mu   sync.Mutex
	kept map[tokenauth.Slot]tokenauth.Token
}

// withErring returns a [plant.Plant.Storage] that wraps the storage in an erring, which
// configure sets up.
func withErring(configure func(*erring)) func(tokenauth.Storage, *plant.State, uint64) tokenauth.Storage {
	return func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
		t := &erring{Storage: s, kept: map[tokenauth.Slot]tokenauth.Token{}}
		configure(t)
		return plant.With(s, t)
	}
}

func (t *erring) notFound(tokenauth.Slot, error) (tokenauth.Token, error) {
	return tokenauth.Token{}, tokenauth.ErrNotFound
}

func (t *erring) readAgain(s tokenauth.Slot, err error) (tokenauth.Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if kept, ok := t.kept[s]; ok {
		return kept, nil
	}
	return tokenauth.Token{}, err
}

func (t *erring) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	found, err := t.Storage.Find(ctx, s)
	switch {
	case errors.Is(err, tokenauth.ErrNotFound):
		return found, err
	case err == nil:
		t.mu.Lock()
		t.kept[s] = found
		t.mu.Unlock()
	case t.found != nil:
		return t.found(s, err)
	}
	return found, t.latch(err)
}

func (t *erring) Replace(ctx context.Context, n tokenauth.Token) error {
	return t.change(t.Storage.Replace(ctx, n))
}

func (t *erring) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	return t.change(t.Storage.Revoke(ctx, s, d))
}

func (t *erring) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	return t.change(t.Storage.RevokeUser(ctx, u))
}

func (t *erring) change(err error) error {
	if err != nil && t.changed != nil {
		return t.changed(err)
	}
	return t.latch(err)
}

// latch returns err. If the storage is latched and an error was seen before, it
// returns errOpen instead of nil.
func (t *erring) latch(err error) error {
	if t.latched && err != nil {
		t.open.Store(true)
	}
	if err == nil && t.open.Load() {
		return errOpen
	}
	return err
}

// A silentGap is a [tokenauth.Watcher] whose feed hides that it was lost.
type silentGap struct {
	tokenauth.Storage
	watcher tokenauth.Watcher
}

func (g *silentGap) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	const gap = 2 * time.Second
	var living sync.WaitGroup
	defer living.Wait()
	living.Go(func() {
		inject.Again(beat, func(context.Context) error {
			feed.Heartbeat(time.Now())
			return nil
		})(ctx)
	})
	inject.Again(gap, func(ctx context.Context) error {
		g.watcher.Watch(ctx, beat, unbroken{feed})
		return nil
	})(ctx)
	return ctx.Err()
}

// An unbroken is a [tokenauth.Invalidator] that never reports missed changes.
type unbroken struct{ tokenauth.Invalidator }

func (unbroken) InvalidateAll() {}
