package soak

import "time"

// In a long soak each minute ends with a rest, in which nothing is asked and no
// fault begins. What processes hold when they have come to rest does not depend
// on how busy they and the machine have been.
type rests struct {
	began time.Time
	are   bool // whether there are any
}

const (
	restEvery   = time.Minute
	restFor     = 10 * time.Second
	comesToRest = idleTimeout + 2*time.Second
)

// left returns how long the rest still lasts that there is at the time, or zero.
func (r rests) left(t time.Time) time.Duration {
	into := t.Sub(r.began) % restEvery
	if !r.are || into < restEvery-restFor {
		return 0
	}
	return restEvery - into
}

// settled is whether processes have come to rest.
func (r rests) settled(t time.Time) bool {
	left := r.left(t)
	return left > 0 && left < restFor-comesToRest
}
