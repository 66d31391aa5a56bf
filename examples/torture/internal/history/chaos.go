package history

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// errChaos is the error of a call that a chaos makes fail.
var errChaos = errors.New("torture: injected fault")

// A chaos is a [tokenauth.Storage] whose calls fail at random. A failing call
// returns an error or hangs until its context ends, and it may have been done or
// not. A call that succeeds returns the right result.
type chaos struct {
	tokenauth.Storage
	rate float64 // part of the calls that fail, 0 to 1

	mu  sync.Mutex
	rng *rand.Rand
}

func newChaos(s tokenauth.Storage, rate float64, seed uint64) *chaos {
	return &chaos{Storage: s, rate: rate, rng: rand.New(rand.NewPCG(seed, 1))}
}

// befall makes the call or, at random, makes it fail.
func (c *chaos) befall(ctx context.Context, call func() error) error {
	c.mu.Lock()
	struck, how := c.rng.Float64() < c.rate, c.rng.IntN(5)
	c.mu.Unlock()
	if !struck {
		return call()
	}
	switch how {
	case 0: // fail without the call
		return errChaos
	case 1: // fail after the call
		return errors.Join(call(), errChaos)
	case 2: // hang without the call
		<-ctx.Done()
		return ctx.Err()
	case 3: // hang after the call
		call()
		<-ctx.Done()
		return ctx.Err()
	default: // be slow
		time.Sleep(time.Millisecond)
		return call()
	}
}

func (c *chaos) Replace(ctx context.Context, t tokenauth.Token) error {
	return c.befall(ctx, func() error { return c.Storage.Replace(ctx, t) })
}

func (c *chaos) Find(ctx context.Context, s tokenauth.Slot) (t tokenauth.Token, err error) {
	trouble := c.befall(ctx, func() error {
		t, err = c.Storage.Find(ctx, s)
		return nil
	})
	if trouble != nil {
		return tokenauth.Token{}, trouble
	}
	return t, err
}

func (c *chaos) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	return c.befall(ctx, func() error { return c.Storage.Revoke(ctx, s, d) })
}

func (c *chaos) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	return c.befall(ctx, func() error { return c.Storage.RevokeUser(ctx, u) })
}

// FindRefresh implements [tokenauth.Refresher].
func (c *chaos) FindRefresh(ctx context.Context, slots []tokenauth.Slot) (found []tokenauth.Found, err error) {
	trouble := c.befall(ctx, func() error {
		found, err = c.Storage.(tokenauth.Refresher).FindRefresh(ctx, slots)
		return nil
	})
	if trouble != nil {
		return nil, trouble
	}
	return found, err
}

// Refresh implements [tokenauth.Refresher]. At random, it reports that it stored nothing
// although it did, as after a driver that sent the statement twice. See [againKey].
func (c *chaos) Refresh(ctx context.Context, was, t tokenauth.Token) (stored bool, err error) {
	trouble := c.befall(ctx, func() error {
		stored, err = c.Storage.(tokenauth.Refresher).Refresh(ctx, was, t)
		return err
	})
	if trouble != nil {
		return false, trouble
	}
	c.mu.Lock()
	twice := c.rng.Float64() < c.rate
	c.mu.Unlock()
	if again, ok := ctx.Value(againKey{}).(*int); stored && twice && ok {
		*again++
		stored = false
	}
	return stored, err
}

// againKey is the key of a context value: the [operation.again] of a call.
type againKey struct{}

// A batchedChaos is a chaos that is a [tokenauth.BatchFinder].
type batchedChaos struct {
	*chaos
	finder tokenauth.BatchFinder
}

// FindBatch implements [tokenauth.BatchFinder].
func (c *batchedChaos) FindBatch(ctx context.Context, slots []tokenauth.Slot) (found []tokenauth.Found, err error) {
	trouble := c.befall(ctx, func() error {
		found, err = c.finder.FindBatch(ctx, slots)
		return nil
	})
	if trouble != nil {
		return nil, trouble
	}
	return found, err
}

// A deviceChaos is a chaos with the abilities that devices need.
type deviceChaos struct {
	*chaos
	lister tokenauth.Lister
	bulk   tokenauth.BulkRevoker
}

func newDeviceChaos(s tokenauth.Storage, rate float64, seed uint64) *deviceChaos {
	return &deviceChaos{newChaos(s, rate, seed), s.(tokenauth.Lister), s.(tokenauth.BulkRevoker)}
}

// List implements [tokenauth.Lister].
func (c *deviceChaos) List(ctx context.Context, u tokenauth.UserKey) (tokens []tokenauth.Token, err error) {
	trouble := c.befall(ctx, func() error {
		tokens, err = c.lister.List(ctx, u)
		return nil
	})
	if trouble != nil {
		return nil, trouble
	}
	return tokens, err
}

// RevokeClient implements [tokenauth.BulkRevoker].
func (c *deviceChaos) RevokeClient(ctx context.Context, clientID string) error {
	return c.befall(ctx, func() error { return c.bulk.RevokeClient(ctx, clientID) })
}

// RevokeAll implements [tokenauth.BulkRevoker].
func (c *deviceChaos) RevokeAll(ctx context.Context) error {
	return c.befall(ctx, func() error { return c.bulk.RevokeAll(ctx) })
}

// A watchedChaos is a chaos whose feed fails, too. The feed ends at once, or first
// loses all changes and heartbeats for a while.
type watchedChaos struct {
	*deviceChaos
	watcher tokenauth.Watcher
	silence time.Duration // how long a feed loses everything before it ends
}

// Watch implements [tokenauth.Watcher].
func (c *watchedChaos) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if c.rate == 0 {
		return c.watcher.Watch(ctx, beat, feed)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.mu.Lock()
	lives, halfDead := time.Duration(c.rng.IntN(300))*time.Millisecond, c.rng.IntN(2) == 0
	c.mu.Unlock()
	f := &fragileFeed{Invalidator: feed}
	timer := time.AfterFunc(lives, func() {
		if halfDead {
			f.swallow()
			time.Sleep(c.silence)
		}
		cancel(errChaos)
	})
	defer timer.Stop()
	return c.watcher.Watch(ctx, beat, f)
}

// A fragileFeed is a [tokenauth.Invalidator] that passes everything on until swallow is
// called. Then it drops everything.
type fragileFeed struct {
	tokenauth.Invalidator
	mu   sync.RWMutex
	dead bool
}

func (f *fragileFeed) swallow() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dead = true
}

func (f *fragileFeed) pass(to func()) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	if !f.dead {
		to()
	}
}

func (f *fragileFeed) Invalidate(u tokenauth.UserKey) { f.pass(func() { f.Invalidator.Invalidate(u) }) }
func (f *fragileFeed) InvalidateAll()                 { f.pass(f.Invalidator.InvalidateAll) }
func (f *fragileFeed) Heartbeat(asOf time.Time)       { f.pass(func() { f.Invalidator.Heartbeat(asOf) }) }
