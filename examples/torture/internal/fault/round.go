package fault

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A call is a call of a replica, with its result.
type call struct {
	replica          int
	kind             op.Kind
	called, answered time.Time
	err              error
	wrong            string // why the result is a violation; "" if it is not
}

// promptly is the maximum time from the end of a fault until each call is answered
// right, apart from [trial.Env.Patience].
const promptly = 2 * time.Second

// A round is the record of a fleet before, during and after one fault.
type round struct {
	*timeline
	patience time.Duration // of the trial

	mu                       sync.Mutex
	right, unavailable, bad  int
	firstWrong               []string
	slowest                  time.Duration
	ended                    time.Time            // when the fault ended; zero before its end
	signedIn, validated      [trial.Replicas]bool // since the fault ended
	lastTrouble, lateTrouble time.Time            // of the failed calls since the fault ended
	cause                    error                // of the last failed call
	feeds                    time.Duration        // from the fault's end until all caches served
	heard                    time.Duration        // from a revocation after that until all replicas applied it
	unheard                  error                // why heard could not be measured
}

// record counts a call.
func (r *round) record(c call) {
	r.timeline.add(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slowest = max(r.slowest, c.answered.Sub(c.called))
	trouble := errors.Is(c.err, tokenauth.ErrUnavailable)
	switch {
	case c.wrong != "":
		r.bad++
		if len(r.firstWrong) < 3 {
			r.firstWrong = append(r.firstWrong, fmt.Sprintf("replica %d: %s", c.replica, c.wrong))
		}
	case trouble:
		r.unavailable++
	default:
		r.right++
	}
	if r.ended.IsZero() || c.called.Before(r.ended) {
		return
	}
	switch {
	case trouble:
		if c.answered.After(r.lastTrouble) {
			r.lastTrouble, r.cause = c.answered, c.err
		}
		if c.called.Sub(r.ended) > promptly+r.patience {
			r.lateTrouble = c.called
		}
	case c.kind == op.SignIn && c.err == nil:
		r.signedIn[c.replica] = true
	case c.kind == op.Validate && c.err == nil:
		r.validated[c.replica] = true
	}
}

func (r *round) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = time.Now()
}

// answered reports whether each replica has signed a user in and validated a token
// since the fault ended.
func (r *round) answered() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range trial.Replicas {
		if !r.signedIn[i] || !r.validated[i] {
			return false
		}
	}
	return true
}

// awaitRecovery returns true when each replica has answered and no call has failed for
// a moment. It returns false if the fault ended long ago and that is not so.
func (r *round) awaitRecovery(ctx context.Context, long time.Duration) bool {
	const calm = 400 * time.Millisecond
	for time.Since(r.ended) < long && ctx.Err() == nil {
		r.mu.Lock()
		calmed := time.Since(r.ended) > calm && time.Since(r.lastTrouble) > calm
		r.mu.Unlock()
		if calmed && r.answered() {
			return true
		}
		inject.Wait(ctx, 20*time.Millisecond)
	}
	return false
}

// A timeline counts the answers in each tick.
type timeline struct {
	began time.Time

	mu                    sync.Mutex
	answered, unavailable []float64 // by tick
}

const tick = 100 * time.Millisecond

func (t *timeline) add(c call) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := int(c.answered.Sub(t.began) / tick)
	for len(t.answered) <= at {
		t.answered, t.unavailable = append(t.answered, 0), append(t.unavailable, 0)
	}
	if errors.Is(c.err, tokenauth.ErrUnavailable) {
		t.unavailable[at]++
	} else {
		t.answered[at]++
	}
}

func (t *timeline) series() []report.Series {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := []report.Series{{Name: "answered"}, {Name: "503"}}
	for at := range t.answered {
		for i, y := range []float64{t.answered[at], t.unavailable[at]} {
			lines[i].X = append(lines[i].X, (time.Duration(at) * tick).Seconds())
			lines[i].Y = append(lines[i].Y, y/tick.Seconds())
		}
	}
	return lines
}
