package limiter

import (
	"sync"
	"time"
)

// An outage limits how often a failing storage is reported: once a minute, even
// if every call fails.
type outage struct {
	mu   sync.Mutex
	told int64 // the time of the last report, in Unix milliseconds
}

// due reports whether a failure at this time should be reported. If so, it
// records the time.
func (o *outage) due(now int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if since := now - o.told; 0 <= since && since < time.Minute.Milliseconds() {
		return false
	}
	o.told = now
	return true
}
