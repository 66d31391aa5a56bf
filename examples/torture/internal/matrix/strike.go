package matrix

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// A strike is what goes wrong with a call of what the host provides.
type strike int

const (
	noStrike strike = iota
	failBefore
	failAfter
	hangBefore
	hangAfter
	panicBefore
	panicAfter
	otherRow   // it answers with somebody else's row
	staleRow   // with what the slot held before its last change
	corruptRow // that it cannot read what is there
)

func (s strike) String() string {
	return [...]string{
		"nothing", "fails, nothing done", "fails, all done", "hangs, nothing done", "hangs, all done",
		"panics, nothing done", "panics, all done", "answers with another's row", "answers with a stale row", "answers that it is corrupt",
	}[s]
}

func (s strike) hangs() bool  { return s == hangBefore || s == hangAfter }
func (s strike) panics() bool { return s == panicBefore || s == panicAfter }

// strikesOf are what can befall a call. That a fault is reported as ErrNotFound
// or ErrRejected is none of it: the contracts forbid to say so of a fault.
func strikesOf(call string) []strike {
	all := []strike{failBefore, failAfter, hangBefore, hangAfter, panicBefore, panicAfter}
	switch call {
	case "Find":
		return append(all, otherRow, staleRow, corruptRow)
	case "List":
		return append(all, otherRow, corruptRow)
	case "FindClient":
		return append(all, otherRow)
	}
	return all
}

// errStruck is what a call is told that was struck, and what one panics with.
var errStruck = errors.New("torture: struck")

// A blow is a strike at a call.
type blow struct {
	at   int // of the calls that an operation makes, from 0 on
	call string
	how  strike
}

// A striker counts the calls that an operation makes, and strikes some of them.
// It is safe for concurrent use.
type striker struct {
	mu       sync.Mutex
	armed    bool
	blows    []blow
	calls    []string // since it was armed
	applied  []string // those of them that did what they are for
	underWay int
	purges   int
	replaces int
}

// arm makes the blows fall from now on. Without any it only counts.
func (s *striker) arm(blows []blow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed, s.blows, s.calls, s.applied = true, blows, nil, nil
}

// disarm returns which calls were made, and how many of them have not returned.
func (s *striker) disarm() (calls []string, underWay int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	return s.calls, s.underWay
}

// did reports whether such a call did what it is for.
func (s *striker) did(call string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.applied, call)
}

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
		if b.at == len(s.calls) {
			how = b.how
		}
	}
	s.calls = append(s.calls, call)
	return how
}

func (s *striker) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.underWay--
}

// call does a call, or what befalls it.
func (s *striker) call(ctx context.Context, name string, do func() error) error {
	how := s.enter(name)
	defer s.leave()
	return s.befall(ctx, how, name, do)
}

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
