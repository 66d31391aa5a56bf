package batch

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// findBoth is like find, for two keys. The answers are those of two callers.
func (c *callers) findBoth(ctx context.Context, caller, first, second int) {
	c.wg.Go(func() {
		one, two, err := c.FindBoth(ctx, first, second)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers[caller] = answer{one, err, time.Since(c.began)}
		c.answers[caller+1] = answer{two, err, time.Since(c.began)}
	})
	synctest.Wait()
}

// Two keys go out in one call, whether at once or after waiting, and share the
// look-ups of other callers.
func TestBothKeysAreInOneCall(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		c.findBoth(t.Context(), 0, 1, 2)
		c.findBoth(t.Context(), 10, 3, 4)
		c.findBoth(t.Context(), 20, 5, 6)
		c.find(t.Context(), 30, 6)
		c.findBoth(t.Context(), 40, 6, 7)
		c.wg.Wait()
		want := [][]int{{1, 2}, {3, 4}, {5, 6, 7}}
		if !slices.EqualFunc(s.calls, want, slices.Equal) {
			t.Errorf("got the calls %v, want %v", s.calls, want)
		}
		for caller, key := range map[int]int{0: 1, 1: 2, 10: 3, 11: 4, 20: 5, 21: 6, 30: 6, 40: 6, 41: 7} {
			if a := c.answers[caller]; a.err != nil || a.result%1000 != key {
				t.Errorf("caller %d got %d, error %v, want key %d", caller, a.result, a.err, key)
			}
		}
	})
}

func TestBothKeysAreFoundIfOneFillsTheCall(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		for i := range maxInProgress + MaxKeys - 1 {
			c.find(t.Context(), i, i)
		}
		c.findBoth(t.Context(), 200, 500, 501)
		c.wg.Wait()
		for i, key := range []int{500, 501} {
			if a := c.answers[200+i]; a.err != nil || a.result%1000 != key {
				t.Errorf("got %d, error %v, want key %d", a.result, a.err, key)
			}
		}
	})
}

func TestErrorsOfBothKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		down := errors.New("down")
		s.during = func(context.Context, int) error { return down }
		c.findBoth(t.Context(), 0, 1, 2)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		c.findBoth(ended, 10, 1, 2)
		if a, b := c.answers[0].err, c.answers[10].err; a != down || b != context.Canceled || len(s.calls) != 1 {
			t.Errorf("got the errors %v and %v in %d calls", a, b, len(s.calls))
		}
	})
}

// A caller who leaves takes both look-ups back.
func TestLeavingCallerDropsBothKeys(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		c.find(t.Context(), 0, 0)
		c.find(t.Context(), 1, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		c.findBoth(ctx, 10, 5, 6)
		c.find(t.Context(), 2, 6)
		c.wg.Wait()
		if a := c.answers[10]; a.err != context.DeadlineExceeded || a.after != 5*time.Millisecond {
			t.Errorf("got the error %v after %v", a.err, a.after)
		}
		if want := [][]int{{0}, {1}, {6}}; !slices.EqualFunc(s.calls, want, slices.Equal) {
			t.Errorf("got the calls %v, want %v", s.calls, want)
		}
	})
}

// With a deadline, the call has a goroutine of its own.
func TestBothKeysWithADeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		s.during = takes(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		c.findBoth(ctx, 0, 1, 2)
		c.wg.Wait()
		if a := c.answers[0]; a.err != context.DeadlineExceeded || a.after != 20*time.Millisecond {
			t.Errorf("got the error %v after %v", a.err, a.after)
		}
	})
}
