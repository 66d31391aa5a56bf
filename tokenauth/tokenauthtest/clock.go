package tokenauthtest

import (
	"sync/atomic"
	"time"
)

// A Clock is a time source that stands still until the test calls
// [Clock.Advance]. Set [tokenauth.Options.Now] to its Now method. The zero
// value is ready to use and starts at 2020-09-13 09:35:33 UTC. It is safe for
// concurrent use.
type Clock struct{ advanced atomic.Int64 }

var epoch = time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)

// Now returns the current time of the clock. Use it as [tokenauth.Options.Now].
func (c *Clock) Now() time.Time { return epoch.Add(time.Duration(c.advanced.Load())) }

// Advance moves the clock forward by d. It panics if d is negative, because
// [tokenauth.Options.Now] must never run backwards.
func (c *Clock) Advance(d time.Duration) {
	if d < 0 {
		panic("tokenauthtest: Clock.Advance got a negative duration, but a Clock must not run backwards")
	}
	c.advanced.Add(int64(d))
}
