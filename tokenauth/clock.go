package tokenauth

import (
	"sync/atomic"
	"time"
)

// A steadyClock never runs backwards while the process lives. It follows the
// wall clock forwards, and when that is set back it goes on by the monotonic
// clock, so that a token which has expired stays expired.
type steadyClock struct {
	start time.Time               // what the monotonic clock counts from
	ahead atomic.Pointer[reading] // the one that was furthest ahead
}

// A reading is what both clocks say at one moment.
type reading struct {
	wall      time.Time
	monotonic time.Duration
}

func newSteadyClock() *steadyClock { return &steadyClock{start: time.Now()} }

func (c *steadyClock) Now() time.Time { return c.at(time.Now()) }

// at returns the time at a reading of time.Now, which holds both clocks: Sub
// goes by the monotonic one, Round(0) strips it.
func (c *steadyClock) at(now time.Time) time.Time {
	return c.now(reading{now.Round(0), now.Sub(c.start)})
}

func (c *steadyClock) now(r reading) time.Time {
	for {
		ahead := c.ahead.Load()
		if ahead == nil {
			if c.move(nil, r) {
				return r.wall
			}
			continue
		}
		steady := ahead.wall.Add(r.monotonic - ahead.monotonic)
		// Both clocks are steered alike, so small differences are noise.
		if r.wall.Sub(steady) < 10*time.Millisecond {
			return steady
		}
		if c.move(ahead, r) {
			return r.wall
		}
	}
}

// move is apart, so that only it makes garbage.
func (c *steadyClock) move(from *reading, to reading) bool {
	return c.ahead.CompareAndSwap(from, &to)
}
