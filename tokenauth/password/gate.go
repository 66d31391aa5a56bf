package password

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
)

// A gate bounds how many passwords are hashed at once, and how many sign-ins
// are in progress in all. Without it a burst of sign-ins takes all cores from the
// requests that only show a token, and 19 MiB for each; with it they queue, and
// what waits holds no such memory.
//
// No source keeps the others out. Turns to hash go round by source. When the gate
// is full, a source that has fewer sign-ins in the queue takes a place from the
// one that has most.
type gate struct {
	room  int // how many sign-ins may be in progress
	share int // how many of one network may be in the queue while another waits

	mu     sync.Mutex
	inside int // sign-ins in progress
	idle   int // free places to hash; 0 while anybody waits
	queue  queue
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

// shares is how many networks divide the queue.
const shares = 8

func newGate(hashing, waiting int) *gate {
	return &gate{room: hashing + waiting, share: max(1, waiting/shares), idle: hashing}
}

// enter returns the ticket of a sign-in, or nil if there is no room, and never
// waits. The caller leaves with the ticket. It is the first thing a sign-in does,
// so that what is refused costs nothing, not even a look-up.
func (g *gate) enter(from netip.Addr) *ticket {
	path := path(from)
	g.mu.Lock()
	defer g.mu.Unlock()
	network := g.queue.part(path[0])
	full := g.inside == g.room
	switch {
	case network.size() >= g.share && g.queue.someoneWaitsBeside(network),
		full && g.queue.most() <= network.size()+1:
		// The network has what it may have. It divides that among its sources.
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

// evict takes the place of a sign-in that does not hash. It never interrupts a
// call: a sign-in that is in one learns of it when it comes to hash.
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

// hash runs f when it is the sign-in's turn. It returns errBusy, without running
// f, if the sign-in lost its place, and the context's error if that ends first.
func (g *gate) hash(ctx context.Context, t *ticket, f func()) error {
	if err := g.wait(ctx, t); err != nil {
		return err
	}
	defer g.free()
	f()
	return nil
}

// wait returns nil with a place to hash, which the caller frees.
func (g *gate) wait(ctx context.Context, t *ticket) error {
	if now, err := g.begin(ctx, t); now || err != nil {
		return err
	}
	select {
	case err := <-t.turn:
		if err == nil && ctx.Err() != nil { // both were ready
			g.free()
			return ctx.Err()
		}
		return err
	case <-ctx.Done():
		if !g.withdraw(t) && <-t.turn == nil { // the turn came just then
			g.free()
		}
		return ctx.Err()
	}
}

// begin reports whether the sign-in has a place to hash at once. If not, it waits
// for t.turn.
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

// withdraw reports whether the ticket still waited.
func (g *gate) withdraw(t *ticket) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.place == nil {
		return false
	}
	t.remove()
	return true
}

// hashIfFree runs f if a place is free now, so that nobody waits for one.
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

// free hands a place to whoever has the next turn.
func (g *gate) free() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.queue.next(); t != nil {
		t.turn <- nil
	} else {
		g.idle++
	}
}
