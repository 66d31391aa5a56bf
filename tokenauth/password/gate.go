package password

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
)

// A gate limits how many passwords are hashed at once, and how many sign-ins
// are in progress. Without it, a burst of sign-ins would take all processors
// from requests that only present a token, and 19 MiB each. A sign-in that
// waits holds no such memory.
//
// No source can keep others out. Sources take turns to hash. If the gate is
// full, a new sign-in from a source with fewer sign-ins in the queue replaces
// one of the source with the most.
type gate struct {
	room  int // the maximum number of sign-ins in progress
	share int // the maximum for one network in the queue while another waits

	mu     sync.Mutex
	inside int // sign-ins in progress
	idle   int // free places to hash; 0 while a sign-in waits
	queue  queue
}

// The defaults of [Options.MaxHashing] and [Options.MaxWaiting].
//
// Hashes run on half of the processors. If they occupied all of them, any other
// goroutine would wait 10 milliseconds or more until it is scheduled.
//
// The length of the queue sets the longest wait. A hash takes about 25
// milliseconds, so 256 sign-ins per place wait up to six seconds, which users
// and clients still accept. On a big machine, the limit of 1,024 bounds the
// memory of waiting requests.
func defaultHashing() int            { return max(1, runtime.GOMAXPROCS(0)/2) }
func defaultWaiting(hashing int) int { return min(256*hashing, 1024) }

// The maximum values of [Options.MaxHashing] and [Options.MaxWaiting].
const (
	mostHashing = 1 << 10
	mostWaiting = 1 << 16
)

// shares is the number of parts into which the queue is divided: while another
// network waits, one network gets one part.
const shares = 8

func newGate(hashing, waiting int) *gate {
	return &gate{room: hashing + waiting, share: max(1, waiting/shares), idle: hashing}
}

// enter returns the ticket of a sign-in, or nil if there is no room. It never
// waits. The caller must pass the ticket to leave. A sign-in enters before
// anything else, so that a refused one costs nothing, not even a look-up.
func (g *gate) enter(from netip.Addr) *ticket {
	path := path(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	network := g.queue.part(path[0])
	full := g.inside == g.room
	switch {
	case network.size() >= g.share && g.queue.someoneWaitsBeside(network),
		full && g.queue.most() <= network.size()+1:
		// The network has its full share. Room can only come from its own sources.
		s := network
		for _, narrower := range path[1:] {
			s = s.part(narrower)
		}
		if network.most() <= s.size()+1 {
			return nil
		}
		g.evict(network.newest())
	case full:
		g.evict(g.queue.newest())
	}
	g.inside++
	return g.queue.add(path)
}

// evict takes the place of a sign-in that does not hash yet. It does not
// interrupt a look-up: that sign-in gets errBusy when it comes to hash.
func (g *gate) evict(t *ticket) {
	t.remove()
	t.evicted = true
	g.inside--
	if t.turn != nil {
		t.turn <- errBusy
	}
}

func (g *gate) leave(t *ticket) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.evicted {
		return
	}
	if t.place != nil {
		t.remove()
	}
	g.inside--
}

// hash runs f when the sign-in has its turn. It returns errBusy, without
// running f, if another sign-in took the place, and the error of ctx if that
// ends first.
func (g *gate) hash(ctx context.Context, t *ticket, f func()) error {
	if err := g.wait(ctx, t); err != nil {
		return err
	}
	defer g.free()
	f()
	return nil
}

// wait returns nil once the sign-in has a place to hash. The caller must call
// free.
func (g *gate) wait(ctx context.Context, t *ticket) error {
	if now, err := g.begin(ctx, t); now || err != nil {
		return err
	}
	select {
	case err := <-t.turn:
		if err == nil && ctx.Err() != nil { // both channels were ready
			g.free()
			return ctx.Err()
		}
		return err
	case <-ctx.Done():
		if !g.withdraw(t) && <-t.turn == nil { // the turn came at the same moment
			g.free()
		}
		return ctx.Err()
	}
}

// begin reports whether the sign-in has a place to hash at once. Otherwise it
// queues the ticket, and the caller waits for t.turn.
func (g *gate) begin(ctx context.Context, t *ticket) (now bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case t.evicted:
		return false, errBusy
	case ctx.Err() != nil:
		return false, ctx.Err()
	case g.idle == 0:
		t.wait()
		return false, nil
	}
	g.idle--
	t.remove()
	return true, nil
}

// withdraw takes the ticket out of the queue. It returns false if the ticket
// was not queued any more.
func (g *gate) withdraw(t *ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.place == nil {
		return false
	}
	t.remove()
	return true
}

// hashIfFree runs f if a place is free now. It reports whether it did. So f
// never delays a sign-in that waits.
func (g *gate) hashIfFree(f func()) bool {
	g.mu.Lock()
	if g.idle == 0 {
		g.mu.Unlock()
		return false
	}
	g.idle--
	g.mu.Unlock()
	defer g.free()
	f()
	return true
}

// free passes a place on to the sign-in that has the next turn.
func (g *gate) free() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.queue.next(); t != nil {
		t.turn <- nil
	} else {
		g.idle++
	}
}
