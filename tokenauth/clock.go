package tokenauth

import (
	"sync/atomic"
	"time"
)

// A steadyClock never runs backwards while the process lives. It follows the
// wall clock forwards, and when that is set back it goes on by the monotonic
// clock, so that a token which has expired stays expired.
type steadyClock struct {
	ahead atomic.Pointer[time.Time] // the reading that was furthest ahead
}

func (c *steadyClock) Now() time.Time { return c.now(time.Now()) }

// now judges one reading. A time of package time holds both clocks: Sub goes
// by the monotonic one, Round(0) strips it.
func (c *steadyClock) now(reading time.Time) time.Time {
	for {
		ahead := c.ahead.Load()
		if ahead == nil {
			if c.move(nil, reading) {
				return reading.Round(0)
			}
			continue
		}
		steady := ahead.Round(0).Add(reading.Sub(*ahead))
		wall := reading.Round(0)
		// Both clocks are steered alike, so small differences are noise.
		if wall.Sub(steady) < 10*time.Millisecond {
			return steady
		}
		if c.move(ahead, reading) {
			return wall
		}
	}
}

// move is apart, so that only it makes garbage.
func (c *steadyClock) move(from *time.Time, to time.Time) bool {
	return c.ahead.CompareAndSwap(from, &to)
}
