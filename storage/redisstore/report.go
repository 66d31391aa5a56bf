package redisstore

import (
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A reporter receives the changes that servers report, and passes them on to
// the [tokenauth.Invalidator] of Watch. It ignores changes after Watch has
// returned.
type reporter struct {
	prefix string
	look   chan struct{} // a value in this channel makes Watch check now, without waiting for the next beat; its capacity is one

	mu   sync.Mutex
	feed tokenauth.Invalidator // nil after stop
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

// invalidated reports the changed keys to the feed. The pulse has already
// removed the heartbeat keys. An empty list means that any key may have
// changed, because the database was flushed or the connection was lost.
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
				f.InvalidateAll() // not a user's key, so any token may have changed
			}
		}
	})
}

// userOf returns the user whose hash has this name. It is the inverse of
// Store.key.
func userOf(name, prefix string) (u tokenauth.UserKey, ok bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	if !ok || len(digits) != hex.EncodedLen(len(u)) {
		return u, false
	}
	_, err := hex.Decode(u[:], []byte(digits))
	return u, err == nil
}
