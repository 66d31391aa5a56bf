package limiter

import (
	"sync"
	"time"
)

// An outage is reported once a minute at most: the storage may fail and answer with
// each call.
type outage struct {
	mu   sync.Mutex
	told int64 // Unix milliseconds
}

// due reports whether a failure at that moment is to be reported.
func (o *outage) due(now int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if since := now - o.told; 0 <= since && since < time.Minute.Milliseconds() {
		return false
	}
	o.told = now
	return true
}
