package memory

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Watch implements [tokenauth.Watcher]. A call that ends a token, such as
// [Store.Revoke], notifies the feed before it returns.
func (s *Store) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	s.feeds.add(feed)
	defer s.feeds.remove(feed)
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for {
		feed.Heartbeat(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// feeds holds the feed of each running call of [Store.Watch].
type feeds struct {
	mu   sync.RWMutex
	list []tokenauth.Invalidator
}

func (f *feeds) add(feed tokenauth.Invalidator) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, feed)
}

// remove removes the feed. After it has returned, no method of the feed is
// running.
func (f *feeds) remove(feed tokenauth.Invalidator) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.Index(f.list, feed)
	f.list = slices.Delete(f.list, i, i+1)
}

func (f *feeds) changed(u tokenauth.UserKey) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for _, feed := range f.list {
		feed.Invalidate(u)
	}
}
