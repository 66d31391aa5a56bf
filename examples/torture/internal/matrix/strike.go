package matrix

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// A strike is a kind of fault of a call to the storage or the host.
type strike int

const (
	noStrike strike = iota
	failBefore
	failAfter
	hangBefore
	hangAfter
	panicBefore
	panicAfter
	otherRow   // return another user's row
	staleRow   // return what the slot held before its last change
	corruptRow // return an error for a corrupt row
)

func (s strike) String() string {
	return [...]string{
		"nothing", "fails, nothing done", "fails, all done", "hangs, nothing done", "hangs, all done",
		"panics, nothing done", "panics, all done", "returns another's row", "returns a stale row", "returns that the row is corrupt",
	}[s]
}

func (s strike) hangs() bool  { return s == hangBefore || s == hangAfter }
func (s strike) panics() bool { return s == panicBefore || s == panicAfter }

// strikesOf returns the strikes that a call can get. No strike makes a failing call
// return ErrNotFound or ErrRejected, because the contracts forbid it.
func strikesOf(call string) []strike {
	all := []strike{failBefore, failAfter, hangBefore, hangAfter, panicBefore, panicAfter}
	switch call {
	case "Find", "FindRefresh":
		return append(all, otherRow, staleRow, corruptRow)
	case "List":
		return append(all, otherRow, corruptRow)
	case "FindClient":
		return append(all, otherRow)
	}
	return all
}

// errStruck is the error or the panic value of a call that a strike makes fail.
var errStruck = errors.New("torture: injected fault")

// A blow is a strike at one call of an operation.
type blow struct {
	at   int // index of the call among the calls of the operation
	call string
	how  strike
}

// A striker counts the calls that an operation makes, and injects faults into some of
// them. It is safe for concurrent use.
type striker struct {
	mu       sync.Mutex
	armed    bool
	blows    []blow
	calls    []string // all calls since arm
	applied  []string // those of calls that did their work
	underWay int      // calls in progress
	shared   int      // those that several requests may share
	purges   int
	replaces int
}

// arm starts counting calls. The blows apply to the calls from now on.
func (s *striker) arm(blows []blow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed, s.blows, s.calls, s.applied = true, blows, nil, nil
}

// disarm returns the calls since arm, and how many calls are still in progress. Later
// calls get no blow. A look-up that several requests may share has a deadline of its own
// and may end a moment after the operation. So disarm waits for it, for at most a second
// and the patience.
func (s *striker) disarm(patience time.Duration) (calls []string, underWay int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	for deadline := time.Now().Add(time.Second + patience); s.shared > 0 && time.Now().Before(deadline); {
		s.mu.Unlock()
		time.Sleep(time.Millisecond)
		s.mu.Lock()
	}
	return s.calls, s.underWay
}

// did reports whether such a call did its work since arm.
func (s *striker) did(call string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.applied, call)
}

// enter begins a call and returns its strike.
func (s *striker) enter(call string) (how strike) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay++
	switch call {
	case "Purge":
		s.purges++
	case "Replace":
		s.replaces++
	}
	if !s.armed {
		return noStrike
	}
	for _, b := range s.blows {
		// After a call that hung, another call than in the run before may be here.
		if b.at == len(s.calls) && b.call == call {
			how = b.how
		}
	}
	s.calls = append(s.calls, call)
	return how
}

// sharing counts a call that several requests may share. The caller calls the result
// after the call.
func (s *striker) sharing() (end func()) {
	add := func(n int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.shared += n
	}
	add(1)
	return func() { add(-1) }
}

func (s *striker) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay--
}

// call makes a call, with its strike if it gets one.
func (s *striker) call(ctx context.Context, name string, do func() error) error {
	how := s.enter(name)
	defer s.leave()
	return s.befall(ctx, how, name, do)
}

// befall makes a call with the strike.
func (s *striker) befall(ctx context.Context, how strike, name string, do func() error) error {
	switch how {
	case failBefore:
		return errStruck
	case hangBefore:
		<-ctx.Done()
		return ctx.Err()
	case panicBefore:
		panic(errStruck)
	}
	err := do()
	if err == nil {
		s.apply(name)
	}
	switch how {
	case failAfter:
		return errStruck
	case hangAfter:
		<-ctx.Done()
		return ctx.Err()
	case panicAfter:
		panic(errStruck)
	}
	return err
}

func (s *striker) apply(call string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.armed {
		s.applied = append(s.applied, call)
	}
}
