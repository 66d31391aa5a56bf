// Package trial repeats a test if the machine was too slow for it.
//
// Some tests can only measure what they check: whether a feed stays alive, or
// whether a call returns in time. A busy machine may delay one run of such a
// test, but a fault delays each run.
package trial

import (
	"context"
	"testing"
)

// runs is how often a test may run.
const runs = 3

// A T is one run of a test. It can do all that a [testing.T] can do.
type T struct {
	*testing.T
	ctx      context.Context
	cleanups []func()
}

// late is the value of the panic with which Late ends a run.
type late struct{ error }

// Run runs the test. If the test calls [T.Late], Run runs it again, up to two more
// times. If it calls Late in each run, Run fails the test t.
func Run(t *testing.T, test func(t *T)) {
	t.Helper()
	for n := 1; ; n++ {
		err := once(t, test)
		if err == nil {
			return
		}
		if n == runs {
			t.Fatalf("too late in each of %d runs, the last time: %v", runs, err)
		}
		t.Logf("too late in run %d of %d: %v", n, runs, err)
	}
}

// once returns the argument of Late, or nil if the test did not call it.
func once(t *testing.T, test func(t *T)) (err error) {
	ctx, cancel := context.WithCancel(t.Context())
	one := &T{T: t, ctx: ctx}
	defer func() {
		if r := recover(); r != nil {
			l, ok := r.(late)
			if !ok {
				panic(r)
			}
			err = l.error
		}
	}()
	defer one.clean()
	defer cancel()
	test(one)
	return nil
}

func (t *T) clean() {
	if n := len(t.cleanups); n > 0 {
		last := t.cleanups[n-1]
		t.cleanups = t.cleanups[:n-1]
		defer t.clean() // even if last panics or fails the test
		last()
	}
}

// Late ends this run, because something took too long for the given reason. Only
// the goroutine that runs the test may call it.
func (t *T) Late(err error) { panic(late{err}) }

// Context returns a context that ends just before the functions of Cleanup run.
func (t *T) Context() context.Context { return t.ctx }

// Cleanup registers a function to be called at the end of this run. The last one
// is called first.
func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }
