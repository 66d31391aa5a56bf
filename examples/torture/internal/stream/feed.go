package stream

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/tokenauth"
)

var errLost = errors.New("the connection was lost (planned fault)")

// A failing is a storage whose look-ups sometimes fail.
type failing struct {
	tokenauth.Storage
	tokenauth.BulkRevoker
	tokenauth.Refresher
	rate float64
}

func newFailing(s tokenauth.Storage, rate float64) failing {
	return failing{s, s.(tokenauth.BulkRevoker), s.(tokenauth.Refresher), rate}
}

// Find implements [tokenauth.Storage].
func (f *failing) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	if f.fails() {
		return tokenauth.Token{}, errLost
	}
	return f.Storage.Find(ctx, s)
}

// FindRefresh implements [tokenauth.Refresher].
func (f *failing) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if f.fails() {
		return nil, errLost
	}
	return f.Refresher.FindRefresh(ctx, slots)
}

func (f *failing) fails() bool { return f.rate > 0 && rand.Float64() < f.rate }

// A lossy is a storage whose feed can be lost.
type lossy struct {
	failing
	watcher tokenauth.Watcher
	lease   time.Duration
	began   time.Time
	beat    atomic.Int64 // the time that the last heartbeat proves, after began; 0 before the first
	broken  atomic.Int64 // when the feed last did not work, as a time after began

	silent atomic.Bool // the feed drops everything
	down   atomic.Bool // the feed cannot begin
	mu     sync.Mutex
	cut    context.CancelFunc // ends the running call of Watch
}

// Watch implements [tokenauth.Watcher].
func (l *lossy) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if l.down.Load() {
		return errLost
	}
	ctx, cut := context.WithCancel(ctx)
	defer cut()
	l.mu.Lock()
	l.cut = cut
	l.mu.Unlock()
	defer func() { l.broken.Store(int64(time.Since(l.began))) }()
	return errors.Join(l.watcher.Watch(ctx, beat, &maybe{feed, l}), errLost)
}

// worked reports whether the feed has worked since a moment, and a lease before it.
func (l *lossy) worked(since time.Time) bool {
	now := time.Since(l.began)
	return now-time.Duration(l.beat.Load()) < l.lease && time.Duration(l.broken.Load()) < since.Sub(l.began)-l.lease
}

// lose loses the feed: it is silent for a while, is cut, and cannot begin for another
// while. Each of the whiles may be zero, shorter than the lease, or longer.
func (l *lossy) lose(ctx context.Context, rng *rand.Rand, lease time.Duration) {
	while := func() { inject.Wait(ctx, time.Duration(rng.IntN(3))*time.Duration(rng.Int64N(int64(lease)))) }
	l.silent.Store(true)
	while()
	l.down.Store(rng.IntN(2) == 0)
	l.mu.Lock()
	if l.cut != nil {
		l.cut()
	}
	l.mu.Unlock()
	l.silent.Store(false)
	while()
	l.down.Store(false)
}

// A maybe is a [tokenauth.Invalidator] that a lossy can silence.
type maybe struct {
	tokenauth.Invalidator
	of *lossy
}

func (m *maybe) Invalidate(u tokenauth.UserKey) {
	if !m.of.silent.Load() {
		m.Invalidator.Invalidate(u)
	}
}

func (m *maybe) InvalidateAll() {
	if !m.of.silent.Load() {
		m.Invalidator.InvalidateAll()
	}
}

func (m *maybe) Heartbeat(asOf time.Time) {
	if !m.of.silent.Load() {
		l, now := m.of, time.Since(m.of.began)
		m.Invalidator.Heartbeat(asOf)
		if before := time.Duration(l.beat.Swap(int64(asOf.Sub(l.began)))); before > 0 && now-before >= l.lease {
			l.broken.Store(int64(now))
		}
	}
}
