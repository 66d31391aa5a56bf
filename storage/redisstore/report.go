package redisstore

import (
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A reporter passes the changes that servers report to the
// [tokenauth.Invalidator] of Watch. It ignores them after Watch returns.
type reporter struct {
	prefix string
	look   chan struct{} // asks Watch for a check now, before the next beat; buffers one request

	mu   sync.Mutex
	feed tokenauth.Invalidator // nil when Watch returns
}

func (r *reporter) report(what func(tokenauth.Invalidator)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.feed != nil {
		what(r.feed)
	}
}

func (r *reporter) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.feed = nil
}

func (r *reporter) alive(asOf time.Time) {
	r.report(func(f tokenauth.Invalidator) { f.Heartbeat(asOf) })
}

func (r *reporter) all() { r.report(tokenauth.Invalidator.InvalidateAll) }

// invalidated reports the keys that changed, except those of heartbeats. No names
// mean that all keys may have changed: the database was flushed, or the
// connection is lost.
func (r *reporter) invalidated(names []string) {
	r.report(func(f tokenauth.Invalidator) {
		if len(names) == 0 {
			f.InvalidateAll()
			select {
			case r.look <- struct{}{}:
			default:
			}
			return
		}
		for _, name := range names {
			if u, ok := userOf(name, r.prefix); ok {
				f.Invalidate(u)
			} else {
				f.InvalidateAll() // not the key of a user: do not guess what it means
			}
		}
	})
}

// userOf returns the user whose hash has the name. It is the inverse of
// Store.key.
func userOf(name, prefix string) (u tokenauth.UserKey, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != hex.EncodedLen(len(u)) {
		return u, false
	}
	_, err := hex.Decode(u[:], []byte(digits))
	return u, err == nil
}
