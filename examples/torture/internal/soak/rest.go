package soak

import "time"

// rests are the times without requests and faults at the end of each minute of a long
// soak. After some seconds of rest, the resources of a process do not depend on how
// busy it and the machine were.
type rests struct {
	began time.Time
	are   bool // whether the soak has rests
}

const (
	restEvery   = time.Minute
	restFor     = 10 * time.Second
	comesToRest = idleTimeout + 2*time.Second
)

// left returns the remaining time of the rest at t, or zero if there is no rest.
func (r rests) left(t time.Time) time.Duration {
	into := t.Sub(r.began) % restEvery
	if !r.are || into < restEvery-restFor {
		return 0
	}
	return restEvery - into
}

// settled reports whether processes have come to rest at t.
func (r rests) settled(t time.Time) bool {
	left := r.left(t)
	return left > 0 && left < restFor-comesToRest
}
