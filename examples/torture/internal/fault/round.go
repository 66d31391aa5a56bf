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

// A call is what a replica was asked and what it answered.
type call struct {
	replica          int
	kind             op.Kind
	called, answered time.Time
	err              error
	wrong            string // what is wrong with it, or ""
}

// promptly is how soon after a fault each call has to be answered right.
const promptly = 2 * time.Second

// A round is what a fleet did before, during and after one fault.
type round struct {
	*timeline

	mu                       sync.Mutex
	right, unavailable, bad  int
	firstWrong               []string
	slowest                  time.Duration
	ended                    time.Time            // when the fault had; zero before
	signedIn, validated      [trial.Replicas]bool // since then
	lastTrouble, lateTrouble time.Time            // of the calls since then
	cause                    error
	feeds                    time.Duration // until all caches served again
	heard                    time.Duration // then, until all have heard of a revocation
	unheard                  error         // why that could not be measured
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
		if c.called.Sub(r.ended) > promptly {
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

// answered reports whether, since the fault ended, all replicas have signed
// somebody in and validated a token.
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

// awaitRecovery returns true when all replicas have, and nothing has failed for
// a moment; and false if that is not so long after the fault.
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

// A timeline counts answers by when they came.
type timeline struct {
	began time.Time

	mu                    sync.Mutex
	answered, unavailable []float64 // in each tick
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
