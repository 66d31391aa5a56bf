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

// Plants are the bugs that the trial must find.
var Plants = []*plant.Plant{
	{
		Name: "fault-as-empty", Trials: []string{"faults"},
		About:   "trouble of the storage is reported as a slot that is empty",
		Storage: troubled(func(t *trouble) { t.found = t.notFound }),
	},
	{
		Name: "fault-as-done", Trials: []string{"faults"},
		About:   "a sign-in or a revocation that failed is reported as done",
		Storage: troubled(func(t *trouble) { t.changed = func(error) error { return nil } }),
	},
	{
		Name: "stale-if-error", Trials: []string{"faults"},
		About:   "while the storage is in trouble, what was read last is read again",
		Storage: troubled(func(t *trouble) { t.found = t.readAgain }),
	},
	{
		Name: "asynchronous", Trials: []string{"faults"},
		About:        "a change is confirmed that no standby has: a fail-over undoes it (on postgres-standby)",
		Asynchronous: true,
	},
	{
		Name: "never-recovers", Trials: []string{"faults"},
		About:   "after the first trouble all calls fail, as behind a circuit breaker that stays open",
		Storage: troubled(func(t *trouble) { t.latched = true }),
	},
	{
		Name: "silent-gap", Trials: []string{"faults"},
		About: "a feed that is lost comes back later, says meanwhile that it lives, and nothing of what it missed (on Redis and PostgreSQL)",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			if w, ok := s.(tokenauth.Watcher); ok {
				return &silentGap{s, w}
			}
			return s
		},
	},
}

// errOpen is what a call is told after the first trouble.
var errOpen = errors.New("torture: a fault")

// A trouble is a storage that makes something wrong of the trouble that it has.
type trouble struct {
	tokenauth.Storage
	found   func(tokenauth.Slot, error) (tokenauth.Token, error) // nil leaves it
	changed func(error) error                                    // nil leaves it
	latched bool
	open    atomic.Bool

	mu   sync.Mutex
	kept map[tokenauth.Slot]tokenauth.Token
}

// troubled plants what is made of trouble.
func troubled(make func(*trouble)) func(tokenauth.Storage, *plant.State, uint64) tokenauth.Storage {
	return func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
		t := &trouble{Storage: s, kept: map[tokenauth.Slot]tokenauth.Token{}}
		make(t)
		return plant.With(s, t)
	}
}

func (t *trouble) notFound(tokenauth.Slot, error) (tokenauth.Token, error) {
	return tokenauth.Token{}, tokenauth.ErrNotFound
}

func (t *trouble) readAgain(s tokenauth.Slot, err error) (tokenauth.Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if kept, ok := t.kept[s]; ok {
		return kept, nil
	}
	return tokenauth.Token{}, err
}

func (t *trouble) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
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

func (t *trouble) Replace(ctx context.Context, n tokenauth.Token) error {
	return t.change(t.Storage.Replace(ctx, n))
}

func (t *trouble) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	return t.change(t.Storage.Revoke(ctx, s, d))
}

func (t *trouble) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	return t.change(t.Storage.RevokeUser(ctx, u))
}

func (t *trouble) change(err error) error {
	if err != nil && t.changed != nil {
		return t.changed(err)
	}
	return t.latch(err)
}

// latch fails for ever once there was an error, if it is planted.
func (t *trouble) latch(err error) error {
	if t.latched && err != nil {
		t.open.Store(true)
	}
	if err == nil && t.open.Load() {
		return errOpen
	}
	return err
}

// A silentGap is a storage whose feed hides that it was lost.
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

// An unbroken feed does not say that something may have been missed.
type unbroken struct{ tokenauth.Invalidator }

func (unbroken) InvalidateAll() {}
