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
			t.Errorf("the deadline is in %v, %v", time.Until(deadline), ok)
		}
		if got := ctx.Value(valueKey{}); got != "value" {
			t.Errorf("the parent's value is %v", got)
		}

		// What begins within a moment ends with it, a little early.
		time.Sleep(timeout/momentsPerTimeout - time.Nanosecond)
		same, end, _ := d.Call(context.Background())
		defer end()
		time.Sleep(time.Nanosecond)
		other, end, _ := d.Call(context.Background())
		defer end()

		cancel()
		synctest.Wait()
		if err := errors.Join(ctx.Err(), child.Err()); err != nil {
			t.Errorf("a call is interrupted: %v", err)
		}
		time.Sleep(timeout - timeout/momentsPerTimeout)
		synctest.Wait()
		for _, c := range []context.Context{ctx, child, same} {
			if !errors.Is(c.Err(), context.DeadlineExceeded) {
				t.Errorf("after the timeout: %v", c.Err())
			}
		}
		if other.Err() != nil {
			t.Errorf("a moment later: %v", other.Err())
		}
		time.Sleep(timeout)
	})
}

// Who calls from Go with a deadline of its own has it heeded.
func TestCallHeedsAnEarlierDeadline(t *testing.T) {
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
			t.Errorf("after the parent's deadline: %v", ctx.Err())
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
					t.Errorf("only %v are left", left)
				}
				end()
			}
		})
	}
	wg.Wait()
}
