package tokenauth

import (
	"context"
	"sync"
	"time"
)

// run keeps the cache subscribed to the storage's feed until ctx ends. It logs
// when the feed is lost and when the feed is back, but does not log each retry.
func (c *tokenCache) run(ctx context.Context) {
	const shortest, longest = 50 * time.Millisecond, time.Second
	down := false
	for pause := shortest; ctx.Err() == nil; pause = min(2*pause, longest) {
		s := &subscription{tokenCache: c, began: func() {
			if down {
				c.logger.InfoContext(ctx, "tokenauth: the feed of changes is back; the cache is in use again")
			}
			down = false
			pause = shortest
		}}
		err := recoverPanic("a feed", func() error { return c.watcher.Watch(ctx, c.lease/4, s) })
		c.until.Store(0)
		if ctx.Err() != nil {
			return
		}
		if !down {
			c.logger.ErrorContext(ctx, "tokenauth: the feed of changes is lost; until it is back, each validation asks the storage", "error", err)
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
	*tokenCache
	first sync.Once
	began func() // called at the first heartbeat
}

// Invalidate implements [Invalidator]. It skips the reserved user, whose slots
// hold no access tokens. The cache always invalidates the tokens of a few users
// together. So invalidating the reserved user would only remove other users'
// tokens.
func (s *subscription) Invalidate(u UserKey) {
	if u != reservedUser {
		s.invalidate(u)
	}
}

// InvalidateAll implements [Invalidator].
func (s *subscription) InvalidateAll() { s.flush() }

// Heartbeat implements [Invalidator]. It extends the lease to asOf plus
// [CacheOptions.Lease].
func (s *subscription) Heartbeat(asOf time.Time) {
	s.first.Do(func() {
		s.flush() // the cache may have missed earlier changes
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
