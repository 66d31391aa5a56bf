package tokenauth

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A changeFeed follows the storage's feed of changes ([Watcher]) for the cache and for
// open streams. It is alive while its lease lasts. Each heartbeat extends the
// lease, because the heartbeats prove that the feed would report the end of a
// token.
type changeFeed struct {
	watcher Watcher
	lease   time.Duration
	logger  *slog.Logger
	users   []func(UserKey) // called when the tokens of a user may have changed
	all     []func()        // called when all tokens may have changed
	// lost and back are the log's words about the effect of a loss, and of its end.
	lost, back string

	started  time.Time     // has a monotonic reading
	until    atomic.Int64  // end of the lease, in nanoseconds after started
	wanted   chan struct{} // closed when something needs the feed
	wantOnce sync.Once
}

func newFeed(w Watcher, lease time.Duration, logger *slog.Logger) *changeFeed {
	return &changeFeed{
		watcher: w, lease: lease, logger: logger, started: time.Now(), wanted: make(chan struct{}),
		lost: "; until it is back, open streams are checked at an interval",
	}
}

// want makes run follow the feed. Until the first call of want, the storage has
// no work with it.
func (f *changeFeed) want() { f.wantOnce.Do(func() { close(f.wanted) }) }

func (f *changeFeed) alive() bool { return f.aliveAt(time.Now()) }

// aliveAt reports whether the feed is alive at the time of a reading, which must
// come from [time.Now].
func (f *changeFeed) aliveAt(reading time.Time) bool {
	return int64(reading.Sub(f.started)) < f.until.Load()
}

// run keeps the Service subscribed to the storage's feed until ctx ends. It logs
// when the feed is lost and when the feed is back, but does not log each retry.
func (f *changeFeed) run(ctx context.Context) {
	select {
	case <-f.wanted:
	case <-ctx.Done():
	}
	const shortest, longest = 50 * time.Millisecond, time.Second
	down := false
	for pause := shortest; ctx.Err() == nil; pause = min(2*pause, longest) {
		s := &subscription{changeFeed: f, began: func() {
			if down {
				f.logger.InfoContext(ctx, "tokenauth: the feed of changes is back"+f.back)
			}
			down = false
			pause = shortest
		}}
		err := recoverPanic("a feed", func() error { return f.watcher.Watch(ctx, f.lease/4, s) })
		f.until.Store(0)
		if ctx.Err() != nil {
			return
		}
		if !down {
			f.logger.ErrorContext(ctx, "tokenauth: the feed of changes is lost"+f.lost, "error", err)
		}
		down = true
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// A subscription is the [Invalidator] for one call of [Watcher.Watch].
type subscription struct {
	*changeFeed
	first sync.Once
	began func() // called at the first heartbeat
}

// Invalidate implements [Invalidator]. It skips the reserved user, whose slots
// hold no access tokens. The cache always invalidates the tokens of a few users
// together. So invalidating the reserved user would only remove other users'
// tokens.
func (s *subscription) Invalidate(u UserKey) {
	if u != reservedUser {
		for _, changed := range s.users {
			changed(u)
		}
	}
}

// InvalidateAll implements [Invalidator].
func (s *subscription) InvalidateAll() {
	for _, changed := range s.all {
		changed()
	}
}

// Heartbeat implements [Invalidator]. It extends the lease to asOf plus
// [CacheOptions.Lease].
func (s *subscription) Heartbeat(asOf time.Time) {
	s.first.Do(func() {
		s.InvalidateAll() // the Service may have missed earlier changes
		s.began()
	})
	until := int64(asOf.Add(s.lease).Sub(s.started))
	for {
		old := s.until.Load()
		if until <= old || s.until.CompareAndSwap(old, until) {
			return
		}
	}
}
