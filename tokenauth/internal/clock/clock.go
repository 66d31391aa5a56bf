// Package clock provides a clock that never runs backwards.
package clock

import (
	"sync/atomic"
	"time"
)

// A Clock never runs backwards while the process runs, so an expired token
// stays expired. If the wall clock is set forwards, the Clock follows it. If
// the wall clock is set back, the Clock continues with the monotonic clock.
// [New] makes one. It is safe for concurrent use.
type Clock struct {
	start time.Time               // the origin of the monotonic readings
	ahead atomic.Pointer[reading] // the latest reading that the clock follows
}

// A reading is the time of both clocks at one moment, in nanoseconds.
type reading struct {
	wall      int64 // Unix time
	monotonic int64
}

// New returns a [Clock] that shows the current time.
func New() *Clock { return &Clock{start: time.Now()} }

// Now returns the time in UTC.
func (c *Clock) Now() time.Time { return time.Unix(0, c.At(time.Now())).UTC() }

// At converts a time that [time.Now] returned to the Clock's time in Unix
// nanoseconds. The time must still have its monotonic reading.
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
		// The system adjusts the speed of both clocks alike, so a small difference
		// is noise.
		if r.wall-steady < int64(10*time.Millisecond) {
			return steady
		}
		if c.move(ahead, r) {
			return r.wall
		}
	}
}

// move replaces the latest reading. It is a separate func because its parameter
// to escapes to the heap. So the method c.now allocates only when it calls
// move.
func (c *Clock) move(from *reading, to reading) bool {
	return c.ahead.CompareAndSwap(from, &to)
}
