package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// A ward is where a trial of faults takes place.
type ward struct {
	*env
	*patient
	*section
	*timeline
	fleets map[string]*fleet
	losses map[string]*losses // by the names of the faults
}

// fleet returns the replicas that a turn is for, made when they are needed
// first.
func (w *ward) fleet(ctx context.Context, tb testing.TB, t turn) *fleet {
	tb.Helper()
	name, far := "strict", t.overNetworks != nil
	if t.cached {
		name = "cached"
	}
	key := name
	if far {
		key += ", networks"
	}
	f := w.fleets[key]
	if f == nil {
		f = &fleet{name: key, cached: t.cached, timeline: w.timeline}
		f.open(ctx, tb, w.env, w.patient, far)
		w.fleets[key] = f
	}
	return f
}

// round lets one fault befall, and reports whether it makes sense to go on.
func (w *ward) round(ctx context.Context, tb testing.TB, t turn) bool {
	tb.Helper()
	if t.prepare != nil {
		if err := t.prepare(ctx); err != nil && ctx.Err() == nil {
			tb.Fatalf("%s: preparing it: %v", t.name, err)
		}
	}
	f := w.fleet(ctx, tb, t)
	r := &round{timeline: w.timeline}
	loading, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() { f.load(loading, r) })
	defer load.Wait()
	defer stop()
	wait(ctx, 500*time.Millisecond) // so that there are tokens, and caches that serve

	struck := time.Now()
	heal, err := w.begin(ctx, f, t)
	if err != nil {
		tb.Fatalf("%s: %v", t.name, err)
	}
	wait(ctx, min(t.lasts, max(500*time.Millisecond, time.Until(w.until)-time.Second)))
	if err := heal(); err != nil && ctx.Err() == nil {
		tb.Fatalf("%s: ending it: %v", t.name, err)
	}
	r.end()
	lasted := time.Since(struck)
	var feeds sync.WaitGroup
	feeds.Go(func() { f.awaitFeeds(ctx, r) })
	r.awaitRecovery(ctx, promptly)
	back := r.answered()
	// Calls that are made from now on must not fail. And how long it does take
	// is worth knowing.
	patience := promptly + 500*time.Millisecond
	if w.plant == nil {
		patience = 20 * time.Second
	}
	better := r.awaitRecovery(ctx, patience)
	feeds.Wait()
	stop()
	load.Wait()
	if f.cached && back && r.feeds < feedPatience {
		r.heard, r.unheard = f.hear(ctx)
	}
	if ctx.Err() != nil {
		return false
	}
	w.report(t, f, r, lasted, back)
	if t.losing != nil {
		w.settle(t, f)
	}
	if t.tidy != nil {
		if err := t.tidy(ctx); err != nil && ctx.Err() == nil {
			tb.Fatalf("%s: behind it: %v", t.name, err)
		}
	}
	return better
}

// begin begins the fault. Networks fail for all replicas without a cache, and
// for one of those with: it does not hear then of what the others do.
func (w *ward) begin(ctx context.Context, f *fleet, t turn) (heal func() error, err error) {
	switch {
	case t.losing != nil:
		return t.losing(ctx, f.witness)
	case t.overNetworks == nil:
		return t.strike(ctx)
	}
	var networks []*network
	for i, of := range f.networks {
		if i == 0 || !f.cached {
			networks = append(networks, of...)
		}
	}
	return t.overNetworks(networks)
}

// settle looks what became of the changes that the fault may have lost.
func (w *ward) settle(t turn, f *fleet) {
	if w.losses[t.name] == nil {
		w.losses[t.name] = new(losses)
	}
	for _, wrong := range w.losses[t.name].settle(f) {
		w.violate("%s: %s", w.where(t, f), wrong)
	}
}

func (w *ward) where(t turn, f *fleet) string {
	return fmt.Sprintf("%s, %s replicas on %s, seed %d", t.name, f.name, w.backend.name, w.seed)
}

func (w *ward) report(t turn, f *fleet, r *round, lasted time.Duration, back bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last, kind, serve, heard := "none", "strict", "-", "-"
	if f.cached {
		kind, serve = "cached", fmt.Sprintf("%.2f", r.feeds.Seconds())
		heard = fmt.Sprintf("%.1f", r.heard.Seconds()*1000)
	}
	if !r.lastTrouble.IsZero() {
		last = fmt.Sprintf("%.2f", r.lastTrouble.Sub(r.ended).Seconds())
	}
	w.row(t.name, kind, fmt.Sprintf("%.1f", lasted.Seconds()), r.right, r.unavailable, r.bad, fmt.Sprintf("%.2f", r.slowest.Seconds()), last, serve, heard)
	w.histories.Add(1)
	w.operations.Add(int64(r.right + r.unavailable + r.bad))
	where := w.where(t, f)
	for _, wrong := range r.firstWrong {
		w.violate("%s: %s (%d wrong or late in all)", where, wrong, r.bad)
	}
	switch {
	case !r.lateTrouble.IsZero():
		w.violate("%s: a call that was made %v after its end failed: %v", where, r.lateTrouble.Sub(r.ended), r.cause)
	case !back:
		w.violate("%s: %v after its end not every replica had signed somebody in and validated a token: %v", where, promptly, r.cause)
	case f.cached && r.feeds >= feedPatience:
		w.violate("%s: %v after its end not every cache serves again", where, r.feeds)
	case f.cached && r.unheard != nil:
		w.violate("%s: after its end, with all feeds back, a revocation was not heard of: %v", where, r.unheard)
	case f.cached && r.heard >= faultLease:
		w.violate("%s: after its end, with all feeds back, it took %v until all had heard of a revocation", where, r.heard)
	}
}
