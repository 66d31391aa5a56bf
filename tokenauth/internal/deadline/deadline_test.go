package deadline

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type valueKey struct{}

func TestCallEndsAfterItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const timeout = 2 * time.Second
		d := Timeout{Duration: timeout}
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), valueKey{}, "value"))
		ctx, end, _ := d.Call(parent)
		defer end()
		child, stop := context.WithCancel(ctx)
		defer stop()
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) != timeout {
			t.Errorf("got a deadline in %v (set: %v), want the timeout", time.Until(deadline), ok)
		}
		if got := ctx.Value(valueKey{}); got != "value" {
			t.Errorf("got the value %v, want that of the parent", got)
		}

		// A call that begins within the same moment ends with it, a little early.
		time.Sleep(timeout/momentsPerTimeout - time.Nanosecond)
		same, end, _ := d.Call(context.Background())
		defer end()
		time.Sleep(time.Nanosecond)
		other, end, _ := d.Call(context.Background())
		defer end()

		cancel()
		synctest.Wait()
		if err := errors.Join(ctx.Err(), child.Err()); err != nil {
			t.Errorf("the cancelled parent ended a call: %v", err)
		}
		time.Sleep(timeout - timeout/momentsPerTimeout)
		synctest.Wait()
		for _, c := range []context.Context{ctx, child, same} {
			if !errors.Is(c.Err(), context.DeadlineExceeded) {
				t.Errorf("after the timeout the error is %v, want DeadlineExceeded", c.Err())
			}
		}
		if other.Err() != nil {
			t.Errorf("a call that began a moment later has ended: %v", other.Err())
		}
		time.Sleep(timeout)
	})
}

// A call ends at the caller's own deadline if that is earlier.
func TestCallEndsAtAnEarlierDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := Timeout{Duration: 2 * time.Second}
		parent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		ctx, end, _ := d.Call(parent)
		defer end()
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("after the parent's deadline the error is %v, want DeadlineExceeded", ctx.Err())
		}
	})
}

func TestHalfLeavesTheOtherHalf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		half, cancel := Half(parent)
		defer cancel()
		<-half.Done()
		if deadline, _ := parent.Deadline(); time.Until(deadline) != time.Second || parent.Err() != nil {
			t.Errorf("%v are left of 2s, error %v", time.Until(deadline), parent.Err())
		}
		if unlimited, cancel := Half(t.Context()); unlimited != t.Context() {
			t.Error("without a deadline, the context is another one")
			cancel()
		}
	})
}

func TestConcurrentCallsKeepTheirDeadlines(t *testing.T) {
	t.Parallel()
	d := Timeout{Duration: 40 * time.Millisecond} // a moment is a millisecond
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				now := time.Now()
				ctx, end, _ := d.Call(context.Background())
				deadline, _ := ctx.Deadline()
				if left := deadline.Sub(now); left < 38*time.Millisecond {
					t.Errorf("the deadline is in %v, want at least 38ms", left)
				}
				end()
			}
		})
	}
	wg.Wait()
}
