package password

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
)

// A gate limits how many passwords are hashed at once, and how many sign-ins
// are in progress. Without it, a burst of sign-ins would take all processors
// from requests that only present a token, and each sign-in would take 19 MiB
// of memory. A sign-in that waits for its turn does not take this memory yet.
//
// No source can keep others out, because sources take turns to hash. If the
// gate is full, a new sign-in from a source with fewer sign-ins replaces a
// sign-in from the source with the most.
type gate struct {
	room  int // the maximum number of sign-ins in progress
	share int // the maximum number of sign-ins of one network in the queue while another network waits

	mu     sync.Mutex
	inside int // sign-ins in progress
	idle   int // free hashing slots; 0 while a sign-in waits for one
	queue  queue
}

// The defaults of [Options.MaxHashing] and [Options.MaxWaiting].
//
// Hashes run on half of the processors. If they occupied all of them, any other
// goroutine would wait 10 milliseconds or more until it is scheduled.
//
// The length of the queue limits the wait. A hash takes about 25 milliseconds,
// so 256 sign-ins per hashing slot wait about six seconds at most. Users and
// clients still accept that wait. On a big machine, the maximum of 1,024 limits
// the memory that waiting requests take.
func defaultHashing() int            { return max(1, runtime.GOMAXPROCS(0)/2) }
func defaultWaiting(hashing int) int { return min(256*hashing, 1024) }

// The maximum values of [Options.MaxHashing] and [Options.MaxWaiting].
const (
	mostHashing = 1 << 10
	mostWaiting = 1 << 16
)

// shares is the number of parts into which the queue is divided. While another
// network waits, each network gets at most one part.
const shares = 8

func newGate(hashing, waiting int) *gate {
	return &gate{room: hashing + waiting, share: max(1, waiting/shares), idle: hashing}
}

// enter returns the ticket of a sign-in, or nil if there is no room. It never
// waits. The caller must pass the ticket to leave. Authenticate calls enter
// before the look-up, so that refusing a sign-in costs nothing.
func (g *gate) enter(from netip.Addr) *ticket {
	path := path(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	network := g.queue.part(path[0])
	full := g.inside == g.room
	switch {
	case network.size() >= g.share && g.queue.someoneWaitsBeside(network),
		full && g.queue.most() <= network.size()+1:
		// The network has its full share, or no other network has at least two
		// sign-ins more. So only the network's own sources can make room.
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

// evict removes a sign-in that is not hashing yet, to make room for another. If
// it waits, it gets errBusy at once. If it is still looking up its account, it
// gets errBusy when it is ready to hash.
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

// hash waits for the sign-in's turn, and runs f. If another sign-in took its
// place, it returns errBusy without running f. If ctx ends first, it returns
// the error of ctx.
func (g *gate) hash(ctx context.Context, t *ticket, f func()) error {
	if err := g.wait(ctx, t); err != nil {
		return err
	}
	defer g.free()
	f()
	return nil
}

// wait returns nil once the sign-in has a hashing slot. The caller must then
// call free.
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

// begin reports whether the sign-in gets a hashing slot at once. Otherwise it
// queues the ticket, and the caller must wait for t.turn.
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

// withdraw takes the ticket out of the queue. It returns false if the ticket is
// no longer in the queue.
func (g *gate) withdraw(t *ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.place == nil {
		return false
	}
	t.remove()
	return true
}

// hashIfFree runs f if a hashing slot is free now, and reports whether it did.
// No slot is free while a sign-in waits, so f never runs in place of a waiting
// sign-in.
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

// free passes a hashing slot on to the sign-in that has the next turn. If none
// waits, the slot is free.
func (g *gate) free() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.queue.next(); t != nil {
		t.turn <- nil
	} else {
		g.idle++
	}
}
