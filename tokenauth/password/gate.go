package password

import (
	"context"
	"runtime"
)

// A gate bounds how many passwords are hashed at once, and how many sign-ins
// are under way in all. Without it a burst of sign-ins takes all cores from the
// requests that only show a token, and 19 MiB for each; with it they queue, and
// what waits holds no such memory.
type gate struct {
	entered chan struct{} // one for each sign-in under way
	hashing chan struct{} // one for each hash at work
}

// What the zeros of Options mean.
//
// Half of the processors: as many hashes as there are processors keep all of
// them, and a goroutine that wakes up then waits for one to be taken from its
// hash, 10 milliseconds and more.
//
// The length of the queue is a wait: at some 25 milliseconds a hash, 256 before
// each place are six seconds, which a person or a client still waits for, and
// on a big machine the bound is what a waiting request holds.
func defaultHashing() int            { return max(1, runtime.GOMAXPROCS(0)/2) }
func defaultWaiting(hashing int) int { return min(256*hashing, 1024) }

// The most that Options may ask for.
const (
	mostHashing = 1 << 10
	mostWaiting = 1 << 16
)

func newGate(hashing, waiting int) *gate {
	return &gate{
		entered: make(chan struct{}, hashing+waiting),
		hashing: make(chan struct{}, hashing),
	}
}

// enter lets a sign-in in if there is room, and never waits. Whoever was let in
// leaves. It is the first thing a sign-in does, so that what is refused costs
// nothing, not even a look-up.
func (g *gate) enter() bool {
	select {
	case g.entered <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g *gate) leave() { <-g.entered }

// hash runs f when a place is free, and those who wait for one in the order in
// which they came (the runtime queues senders so). It returns the context's
// error, without running f, if that ends first.
func (g *gate) hash(ctx context.Context, f func()) error {
	select {
	case g.hashing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer g.free()
	if err := ctx.Err(); err != nil { // both were ready
		return err
	}
	f()
	return nil
}

// hashIfFree runs f if a place is free now, and nobody waits for one.
func (g *gate) hashIfFree(f func()) bool {
	select {
	case g.hashing <- struct{}{}:
	default:
		return false
	}
	defer g.free()
	f()
	return true
}

func (g *gate) free() { <-g.hashing }
