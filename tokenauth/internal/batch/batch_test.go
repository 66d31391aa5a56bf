package batch

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

const timeout = 2 * time.Second

// A source is looked up by the tests. It records the keys of each call. Its
// result for a key is 1000 times the number of the call, plus the key.
type source struct {
	mu    sync.Mutex
	calls [][]int
	now   int // calls in progress
	most  int // maximum of calls in progress
	// during is called in each call, with its number.
	during func(ctx context.Context, call int) error
}

func (s *source) find(ctx context.Context, keys []int) ([]int, error) {
	s.mu.Lock()
	call := len(s.calls)
	s.calls = append(s.calls, slices.Clone(keys))
	s.now++
	s.most = max(s.most, s.now)
	s.mu.Unlock()
	defer func() { s.mu.Lock(); s.now--; s.mu.Unlock() }()
	var err error
	if s.during != nil {
		err = s.during(ctx, call)
	}
	results := make([]int, len(keys))
	for i := range results {
		results[i] = 1000*call + keys[i]
	}
	return results, err
}

// takes makes each call last that long, or until its context ends.
func takes(d time.Duration) func(context.Context, int) error {
	return func(ctx context.Context, _ int) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// An answer is the result of one caller, and when it came.
type answer struct {
	result int
	err    error
	after  time.Duration
}

type callers struct {
	*Batcher[int, int]
	wg      sync.WaitGroup
	mu      sync.Mutex
	answers map[int]answer
	began   time.Time
}

func newCallers(s *source) *callers {
	return &callers{Batcher: New(&deadline.Timeout{Duration: timeout}, s.find), answers: make(map[int]answer), began: time.Now()}
}

// find starts a caller who looks up the key, and returns when the caller is
// waiting.
func (c *callers) find(ctx context.Context, caller, key int) {
	c.wg.Go(func() {
		r, err := c.Find(ctx, key)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.answers[caller] = answer{r, err, time.Since(c.began)}
	})
	synctest.Wait()
}

// inBubble runs a test in which each call takes 10 ms by default.
func inBubble(t *testing.T, test func(t *testing.T, s *source, c *callers)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{during: takes(10 * time.Millisecond)}
		c := newCallers(s)
		test(t, s, c)
		c.wg.Wait()
		time.Sleep(timeout) // for calls whose callers have all left
	})
}

func TestLookupGoesOutAloneAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		for i := range maxInProgress {
			c.find(t.Context(), i, i)
		}
		if len(s.calls) != maxInProgress {
			t.Errorf("got %d calls, want one for each look-up", len(s.calls))
		}
	})
}

// Look-ups that arrive while calls are in progress share the next call, in
// order of arrival.
func TestWaitingLookupsGoOutTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		for i := range maxInProgress + 3*MaxKeys/2 {
			c.find(t.Context(), i, i)
		}
		c.wg.Wait()
		if len(s.calls) != maxInProgress+2 {
			t.Fatalf("got %d calls, want two more than those in progress", len(s.calls))
		}
		if s.most != maxInProgress {
			t.Errorf("%d calls were in progress at once, want %d", s.most, maxInProgress)
		}
		next := maxInProgress
		slices.SortFunc(s.calls[maxInProgress:], slices.Compare) // they were sent at the same moment
		for _, call := range s.calls[maxInProgress:] {
			for _, key := range call {
				if key != next {
					t.Fatalf("got key %d, want %d", key, next)
				}
				next++
			}
		}
		if n := len(s.calls[maxInProgress]); n != MaxKeys {
			t.Errorf("the first batch has %d keys, want %d", n, MaxKeys)
		}
		for i := range next {
			if a := c.answers[i]; a.err != nil || a.result%1000 != i {
				t.Errorf("caller %d got %d, error %v", i, a.result, a.err)
			}
		}
	})
}

func TestManyLookupsShareAFewCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		for i := range 1000 {
			c.find(t.Context(), i, i)
		}
		time.Sleep(15 * time.Millisecond) // the calls with one key returned
		s.mu.Lock()
		s.most = s.now
		s.mu.Unlock()
		c.wg.Wait()
		if s.most != maxInProgress {
			t.Errorf("%d calls were in progress at once, want %d", s.most, maxInProgress)
		}
	})
}

// Several callers of one key share one look-up, but never one in a call that
// was sent before they asked.
func TestLookupJoinsOnlyAnUnsentCall(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		for i := range maxInProgress {
			c.find(t.Context(), i, 7)
		}
		for i := range 3 {
			c.find(t.Context(), maxInProgress+i, 7)
		}
		c.wg.Wait()
		if len(s.calls) != maxInProgress+1 || len(s.calls[maxInProgress]) != 1 {
			t.Fatalf("got the calls %v, want one more, with one key", s.calls)
		}
		for i := range 3 {
			if a := c.answers[maxInProgress+i]; a.result != 1000*maxInProgress+7 || a.err != nil {
				t.Errorf("a late caller got %d, error %v", a.result, a.err)
			}
		}
	})
}

func TestLeavingCallerDoesNotAffectOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		leaving, leave := context.WithCancel(t.Context())
		c.find(ctx, 0, 0) // in a call that was sent
		for i := 1; i < maxInProgress; i++ {
			c.find(t.Context(), i, i)
		}
		c.find(leaving, 4, 4) // the only caller of its key
		c.find(leaving, 5, 5) // shares its key with caller 6
		c.find(t.Context(), 6, 5)
		c.find(t.Context(), 7, 7)
		leave()
		synctest.Wait()
		for _, caller := range []int{4, 5} {
			if a := c.answers[caller]; !errors.Is(a.err, context.Canceled) || a.after != 0 {
				t.Errorf("caller %d left after %v with error %v", caller, a.after, a.err)
			}
		}
		c.find(t.Context(), 8, 4) // asks again for the dropped key
		c.wg.Wait()
		if a := c.answers[0]; !errors.Is(a.err, context.DeadlineExceeded) || a.after != 5*time.Millisecond {
			t.Errorf("the caller with a deadline left after %v with error %v", a.after, a.err)
		}
		if got := s.calls[maxInProgress]; !slices.Equal(got, []int{5, 7, 4}) {
			t.Errorf("the batch has the keys %v, want 5, 7 and 4", got)
		}
		for _, caller := range []int{1, 2, 3, 6, 7, 8} {
			if err := c.answers[caller].err; err != nil {
				t.Errorf("caller %d: %v", caller, err)
			}
		}
		if _, err := c.Find(leaving, 9); !errors.Is(err, context.Canceled) || len(s.calls) != maxInProgress+1 {
			t.Errorf("with an ended context, got error %v and the calls %v; want context.Canceled and no further call", err, s.calls)
		}
	})
}

// Look-ups whose callers all left take no memory, even while no call returns.
func TestLookupsWithoutCallersAreDropped(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		s.during = takes(time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 3000 {
			c.wg.Go(func() { c.Find(ctx, i) })
		}
		synctest.Wait()
		cancel()
		c.wg.Wait()
		c.Batcher.mu.Lock()
		defer c.Batcher.mu.Unlock()
		if n, left := len(c.queue), len(c.unsent); left != 0 || n > MaxKeys {
			t.Errorf("%d look-ups are in the queue, %d of them to be sent", n, left)
		}
	})
}

// If two connections are dead, their callers fail at their deadline. All other
// callers wait only until those calls count as slow.
func TestSlowCallsDoNotBlockOthers(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		s.during = func(ctx context.Context, call int) error {
			if call < maxInProgress {
				<-ctx.Done()
				return ctx.Err()
			}
			return takes(10*time.Millisecond)(ctx, call)
		}
		for i := range 200 {
			c.find(t.Context(), i, i)
		}
		c.wg.Wait()
		for i := range 200 {
			a := c.answers[i]
			if i < maxInProgress {
				if !errors.Is(a.err, context.DeadlineExceeded) || a.after > timeout {
					t.Errorf("caller %d on a dead connection got error %v after %v", i, a.err, a.after)
				}
			} else if a.err != nil || a.after > 200*time.Millisecond {
				t.Errorf("caller %d got error %v after %v, want none within 200ms", i, a.err, a.after)
			}
		}
	})
}

// If no call returns, at most maxCalls are in progress, and each caller fails
// at its deadline. When the source works again, look-ups succeed again.
func TestDeadSourceHasFewCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		s.during = func(ctx context.Context, _ int) error {
			if time.Since(c.began) < time.Minute {
				<-ctx.Done()
			}
			return ctx.Err()
		}
		for i := range 600 {
			began := time.Since(c.began)
			c.wg.Go(func() {
				_, err := c.Find(t.Context(), i)
				if took := time.Since(c.began) - began; !errors.Is(err, context.DeadlineExceeded) || took > timeout {
					t.Errorf("a caller got error %v after %v, want DeadlineExceeded within the timeout", err, took)
				}
			})
			time.Sleep(50 * time.Millisecond)
		}
		c.wg.Wait()
		if s.most != maxCalls {
			t.Errorf("%d calls were in progress at once, want %d", s.most, maxCalls)
		}
		time.Sleep(time.Minute)
		for i := range 2 * maxInProgress {
			c.find(t.Context(), i, i)
		}
		c.wg.Wait()
		for i := range 2 * maxInProgress {
			if a := c.answers[i]; a.err != nil {
				t.Errorf("when the source works again, a caller got error %v", a.err)
			}
		}
		if len(c.calls) != 0 || c.slow != 0 {
			t.Errorf("%d calls and %d slow calls are left, want none", len(c.calls), c.slow)
		}
	})
}

// If a call fails, all of its callers get the error, and the next call is sent.
func TestFailedCallFailsForAllItsCallers(t *testing.T) {
	failed := errors.New("the connection broke")
	for name, test := range map[string]struct {
		fail func() error
		want error
	}{
		"an error":                 {func() error { return failed }, failed},
		"the end of the goroutine": {func() error { runtime.Goexit(); return nil }, errExit},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *source, c *callers) {
				s.during = func(ctx context.Context, call int) error {
					s.mu.Lock()
					fails := s.calls[call][0] == maxInProgress
					s.mu.Unlock()
					takes(10*time.Millisecond)(ctx, call)
					if fails {
						return test.fail()
					}
					return nil
				}
				for i := range maxInProgress + MaxKeys + 1 {
					c.find(t.Context(), i, i)
				}
				c.wg.Wait()
				for i := range maxInProgress + MaxKeys + 1 {
					want := error(nil)
					if maxInProgress <= i && i < maxInProgress+MaxKeys {
						want = test.want
					}
					if err := c.answers[i].err; !errors.Is(err, want) {
						t.Errorf("caller %d got %v, want %v", i, err, want)
					}
				}
			})
		})
	}
}

func TestWrongNumberOfResultsIsAnError(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 2} {
		b := New(&deadline.Timeout{Duration: timeout}, func(context.Context, []int) ([]int, error) { return make([]int, n), nil })
		if _, err := b.Find(t.Context(), 1); err == nil {
			t.Errorf("%d results for one look-up: got no error", n)
		}
	}
}

type valueKey struct{}

func TestCallContextHasTheTimeoutAndNoValues(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		s.during = func(ctx context.Context, _ int) error {
			deadline, ok := ctx.Deadline()
			if v := ctx.Value(valueKey{}); v != nil || !ok || time.Until(deadline) > timeout || time.Until(deadline) < timeout*9/10 {
				t.Errorf("the context of the call has the value %v and ends in %v, want no value and the timeout", v, time.Until(deadline))
			}
			return nil
		}
		c.find(context.WithValue(t.Context(), valueKey{}, "of a request"), 0, 0)
	})
}

// A call ends at the last deadline of its callers, because after that it would
// only occupy a connection. A caller that leaves does not end it.
func TestCallEndsWithTheLastDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T, s *source, c *callers) {
		ends := make(map[int]time.Duration) // when each call ended, by its first key
		s.during = func(ctx context.Context, call int) error {
			s.mu.Lock()
			first := s.calls[call][0]
			s.mu.Unlock()
			if first < maxInProgress {
				time.Sleep(10 * time.Millisecond)
				return nil
			}
			<-ctx.Done()
			s.mu.Lock()
			defer s.mu.Unlock()
			ends[first] = time.Since(c.began)
			return ctx.Err()
		}
		within := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		leaving, leave := context.WithCancel(t.Context())
		for i := range maxInProgress {
			c.find(t.Context(), i, i)
		}
		c.find(within(100*time.Millisecond), 10, 10)
		c.find(within(500*time.Millisecond), 11, 11)
		c.find(within(700*time.Millisecond), 12, 10)
		time.Sleep(20 * time.Millisecond) // now that call is sent
		c.find(within(200*time.Millisecond), 20, 20)
		time.Sleep(time.Millisecond)
		c.find(leaving, 30, 30)
		c.find(within(250*time.Millisecond), 31, 30)
		time.Sleep(20 * time.Millisecond)
		leave()
		c.wg.Wait()
		time.Sleep(2 * timeout)
		s.mu.Lock()
		defer s.mu.Unlock()
		for first, want := range map[int]time.Duration{10: 700 * time.Millisecond, 20: 220 * time.Millisecond} {
			if ends[first] != want {
				t.Errorf("the call with key %d ended after %v, want %v", first, ends[first], want)
			}
		}
		if end := ends[30]; end < timeout*9/10 { // one of its callers had no deadline
			t.Errorf("the call with key 30 ended after %v, want at the timeout", end)
		}
	})
}
