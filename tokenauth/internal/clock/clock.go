// Package clock tells a time that never runs backwards.
package clock

import (
	"sync/atomic"
	"time"
)

// A Clock never runs backwards while the process lives. It follows the wall clock
// forwards. When the wall clock is set back, it continues by the monotonic clock,
// so that an expired token stays expired. It is safe for concurrent use.
type Clock struct {
	start time.Time               // what the monotonic clock counts from
	ahead atomic.Pointer[reading] // the one that was furthest ahead
}

// A reading is what both clocks say at one moment, in nanoseconds.
type reading struct {
	wall      int64 // Unix time
	monotonic int64
}

// New returns a Clock that shows the present time.
func New() *Clock { return &Clock{start: time.Now()} }

// Now returns the time in UTC.
func (c *Clock) Now() time.Time { return time.Unix(0, c.At(time.Now())).UTC() }

// At returns the time, in Unix nanoseconds, at a reading of time.Now, which
// holds both clocks.
func (c *Clock) At(now time.Time) int64 {
	return c.now(reading{now.UnixNano(), int64(now.Sub(c.start))})
}

func (c *Clock) now(r reading) int64 {
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
func (c *Clock) move(from *reading, to reading) bool {
	return c.ahead.CompareAndSwap(from, &to)
}
