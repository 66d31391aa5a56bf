package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// timeouts are both ways to make a context that ends after two seconds.
var timeouts = map[string]func(context.Context) (context.Context, func()){
	"context.WithTimeout": func(parent context.Context) (context.Context, func()) {
		ctx, cancel := context.WithTimeout(parent, 2*time.Second)
		return ctx, cancel
	},
	"withTimeout": func(parent context.Context) (context.Context, func()) {
		ctx := withTimeout(parent, 2*time.Second)
		return ctx, ctx.end
	},
}

type parentKey struct{}

// A life is the parent of a context, and what happens to both.
type life struct {
	name   string
	parent func() (context.Context, context.CancelFunc)
	steps  []func(cancelParent, end func())
	// steadily says that it is looked at after each step. Two things happen
	// unseen, and a deadlineContext does not know which came first.
	steadily bool
}

func sleep(d time.Duration) func(_, _ func()) {
	return func(_, _ func()) { time.Sleep(d); synctest.Wait() }
}

func cancelParent(cancel, _ func()) { cancel(); synctest.Wait() }

func end(_, end func()) { end(); synctest.Wait() }

func lives() []life {
	type steps = []func(_, _ func())
	plain := func() (context.Context, context.CancelFunc) {
		return context.WithCancel(context.WithValue(context.Background(), parentKey{}, "value"))
	}
	within := func(d time.Duration) func() (context.Context, context.CancelFunc) {
		return func() (context.Context, context.CancelFunc) { return context.WithTimeout(context.Background(), d) }
	}
	return []life{
		{"time passes", plain, steps{sleep(0), sleep(2*time.Second - 1), sleep(1), sleep(time.Hour)}, false},
		{"the parent is cancelled", plain, steps{sleep(time.Second), cancelParent, sleep(time.Hour)}, false},
		{"the parent was cancelled before", func() (context.Context, context.CancelFunc) {
			ctx, cancel := plain()
			cancel()
			return ctx, cancel
		}, steps{sleep(0), sleep(time.Hour)}, false},
		{"the parent ends first", within(time.Second), steps{sleep(time.Second - 1), sleep(1), sleep(time.Hour)}, false},
		{"the parent ends later", within(time.Hour), steps{sleep(2*time.Second - 1), sleep(1), sleep(time.Minute)}, false},
		{"the parent never ends", func() (context.Context, context.CancelFunc) {
			return context.WithoutCancel(context.Background()), func() {}
		}, steps{sleep(2*time.Second - 1), sleep(1)}, false},
		{"it is ended", plain, steps{sleep(time.Second), end}, false},
		{"it is ended, and then is the parent", plain, steps{end, cancelParent}, false},
		{"it is ended twice", plain, steps{end, end, sleep(time.Second)}, false},
		{"it is over, and then the parent is cancelled", plain, steps{sleep(2 * time.Second), cancelParent}, true},
		{"it is ended, and time passes", plain, steps{end, sleep(time.Second), sleep(time.Hour)}, true},
		{"it is ended too late", plain, steps{sleep(2 * time.Second), end}, false},
	}
}

// observe tells all that a context shows, its children included.
func observe(ctx context.Context) string {
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	closed := false
	select {
	case <-ctx.Done():
		closed = true
	default:
	}
	deadline, ok := ctx.Deadline()
	return fmt.Sprint("Err ", ctx.Err(), ", Done closed ", closed, ", Deadline ", deadline, ok,
		", Value ", ctx.Value(parentKey{}), ", Cause ", context.Cause(ctx), ", child's Err ", child.Err())
}

// live runs a life, and returns what was to be seen after each step, or after
// the last one only: the first look at Done changes how a deadlineContext is
// made.
func live(l life, from int, make func(context.Context) (context.Context, func())) (seen []string) {
	parent, cancel := l.parent()
	defer cancel()
	ctx, stop := make(parent)
	defer stop()
	for i, step := range l.steps {
		step(cancel, stop)
		if i >= from {
			seen = append(seen, observe(ctx))
		}
	}
	return seen
}

func TestDeadlineContextBehavesAsWithTimeout(t *testing.T) {
	t.Parallel()
	for _, l := range lives() {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			for from := range l.steps {
				if l.steadily && from > 0 {
					return
				}
				synctest.Test(t, func(t *testing.T) {
					start := time.Now()
					want := live(l, from, timeouts["context.WithTimeout"])
					// The second life begins later; both must tell the same.
					shift := time.Since(start)
					later := func(s context.Context) (context.Context, func()) {
						ctx, stop := timeouts["withTimeout"](s)
						return shifted{ctx, shift}, stop
					}
					got := live(l, from, later)
					for i := range want {
						if got[i] != want[i] {
							t.Errorf("first looked at after step %d, then after step %d\n got: %s\nwant: %s", from, from+i, got[i], want[i])
						}
					}
				})
			}
		})
	}
}

// shifted tells a deadline that is earlier by the shift.
type shifted struct {
	context.Context
	by time.Duration
}

func (s shifted) Deadline() (time.Time, bool) {
	d, ok := s.Context.Deadline()
	return d.Add(-s.by), ok
}

// A storage that never asks for Done learns by Err that its time is over.
func TestErrReportsTheDeadlineWithoutDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx := withTimeout(parent, time.Second)
		defer ctx.end()
		other := withTimeout(parent, time.Hour)
		defer other.end()

		time.Sleep(time.Second - 1)
		if err := ctx.Err(); err != nil {
			t.Errorf("a nanosecond before the deadline: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("at the deadline: %v", err)
		}
		if err := other.Err(); err != nil {
			t.Errorf("with an hour left: %v", err)
		}
		if other.timed != nil {
			t.Error("a timer was made that nobody asked for")
		}
		cancel()
		if err := other.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("after the parent was cancelled: %v", err)
		}
		if err := ctx.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it was over before the parent was, and now says %v", err)
		}
	})
}

// What waits on the context, or on a child of it, goes on when it is ended: a
// goroutine left behind would fail the bubble.
func TestEndReleasesWaitersAndChildren(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		ctx := withTimeout(t.Context(), time.Hour)
		var released atomic.Int32
		context.AfterFunc(ctx, func() { released.Add(1) })
		child, cancel := context.WithTimeout(context.WithValue(ctx, parentKey{}, "child"), time.Minute)
		defer cancel()
		for _, done := range []<-chan struct{}{ctx.Done(), child.Done()} {
			go func() { <-done; released.Add(1) }()
			synctest.Wait()
		}
		if n := released.Load(); n != 0 {
			t.Errorf("%d released before the end", n)
		}
		ctx.end()
		synctest.Wait()
		if n := released.Load(); n != 3 || time.Since(start) != 0 {
			t.Errorf("%d of 3 released, after %v", n, time.Since(start))
		}
		if !errors.Is(child.Err(), context.Canceled) {
			t.Errorf("the child's error is %v", child.Err())
		}
	})
}

func TestCauseOfTheParentReachesChildren(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithCancelCause(t.Context())
		ctx := withTimeout(parent, time.Hour)
		defer ctx.end()
		child, cancelChild := context.WithCancel(ctx)
		defer cancelChild()
		gone := errors.New("the client has gone away")
		cancel(gone)
		<-child.Done()
		for name, c := range map[string]context.Context{"context": ctx, "child": child} {
			if context.Cause(c) != gone || !errors.Is(c.Err(), context.Canceled) {
				t.Errorf("%s: error %v, cause %v", name, c.Err(), context.Cause(c))
			}
		}
	})
}

// Not parallel, for it counts the goroutines of the process.
func TestChildrenNeedNoGoroutine(t *testing.T) {
	ctx := withTimeout(t.Context(), time.Hour)
	defer ctx.end()
	before := runtime.NumGoroutine()
	for range 10 {
		_, cancel := context.WithCancel(ctx)
		defer cancel()
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines for 10 children", n-before)
	}
}
