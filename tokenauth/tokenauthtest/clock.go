package tokenauthtest

import (
	"sync/atomic"
	"time"
)

// A Clock stands still until it is told to advance. The zero value is ready,
// and shows 2020-09-13 09:35:33 UTC. It is safe for concurrent use. Now is for
// tokenauth.Options.Now.
type Clock struct{ advanced atomic.Int64 }

var epoch = time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)

// Now returns the time that the clock shows.
func (c *Clock) Now() time.Time { return epoch.Add(time.Duration(c.advanced.Load())) }

// Advance moves the clock forward. It panics if d is negative: what the Service
// knows as time never runs backwards.
func (c *Clock) Advance(d time.Duration) {
	if d < 0 {
		panic("tokenauthtest: a Clock does not run backwards")
	}
	c.advanced.Add(int64(d))
}
