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

// A reading is what both clocks say at one moment, in nanoseconds.
type reading struct {
	wall      int64 // Unix time
	monotonic int64
}

func newSteadyClock() *steadyClock { return &steadyClock{start: time.Now()} }

func (c *steadyClock) Now() time.Time { return time.Unix(0, c.at(time.Now())).UTC() }

// at returns the time, in Unix nanoseconds, at a reading of time.Now, which
// holds both clocks.
func (c *steadyClock) at(now time.Time) int64 {
	return c.now(reading{now.UnixNano(), int64(now.Sub(c.start))})
}

func (c *steadyClock) now(r reading) int64 {
	for {
		ahead := c.ahead.Load()
		if ahead == nil {
			if c.move(nil, r) {
				return r.wall
			}
			continue
		}
		steady := ahead.wall + r.monotonic - ahead.monotonic
		// Both clocks are steered alike, so small differences are noise.
		if r.wall-steady < int64(10*time.Millisecond) {
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
