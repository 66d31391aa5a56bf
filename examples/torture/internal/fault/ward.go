package fault

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
)

// A ward holds the state of a run of the trial: the target, its fleets, and the
// report.
type ward struct {
	*trial.Env
	*inject.Target
	*report.Section
	*timeline
	fleets map[string]*fleet
	losses map[string]*losses // by name of the fault
}

// fleet returns the replicas for a turn. It creates them when they are first needed.
func (w *ward) fleet(ctx context.Context, tb testing.TB, t turn) *fleet {
	tb.Helper()
	name, far := "strict", t.OverNetworks != nil
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
		f.open(ctx, tb, w.Env, w.Target, far)
		w.fleets[key] = f
	}
	return f
}

// round injects one fault, and reports whether the trial can continue.
func (w *ward) round(ctx context.Context, tb testing.TB, t turn) bool {
	tb.Helper()
	if t.Prepare != nil {
		if err := t.Prepare(ctx); err != nil && ctx.Err() == nil {
			tb.Fatalf("faults: preparing %q: %v", t.Name, err)
		}
	}
	f := w.fleet(ctx, tb, t)
	r := &round{timeline: w.timeline, patience: w.Patience}
	loading, stop := context.WithCancel(ctx)
	var load sync.WaitGroup
	load.Go(func() { f.load(loading, r) })
	defer load.Wait()
	defer stop()
	inject.Wait(ctx, 500*time.Millisecond) // so that tokens exist and caches serve

	struck := time.Now()
	heal, err := w.begin(ctx, f, t)
	if err != nil {
		tb.Fatalf("faults: beginning %q: %v", t.Name, err)
	}
	inject.Wait(ctx, min(t.Lasts, max(500*time.Millisecond, time.Until(w.Until)-time.Second)))
	if err := heal(); err != nil && ctx.Err() == nil {
		tb.Fatalf("faults: ending %q: %v", t.Name, err)
	}
	r.end()
	lasted := time.Since(struck)
	var feeds sync.WaitGroup
	feeds.Go(func() { f.awaitFeeds(ctx, r) })
	bound := promptly + w.Patience
	r.awaitRecovery(ctx, bound)
	back := r.answered()
	// From now on no call may fail. Without a plant, wait longer, to report how long
	// the recovery takes.
	long := bound + 500*time.Millisecond
	if w.Plant == nil {
		long = bound + 18*time.Second
	}
	better := r.awaitRecovery(ctx, long)
	feeds.Wait()
	stop()
	load.Wait()
	if f.cached && back && r.feeds < feedPatience+w.Patience {
		r.heard, r.unheard = f.hear(ctx)
	}
	if ctx.Err() != nil {
		return false
	}
	w.report(t, f, r, lasted, back)
	if t.Losing != nil {
		w.settle(t, f)
	}
	if t.Tidy != nil {
		if err := t.Tidy(ctx); err != nil && ctx.Err() == nil {
			tb.Fatalf("faults: tidying up after %q: %v", t.Name, err)
		}
	}
	return better
}

// begin begins the fault. A network fault affects all replicas without a cache, but
// only the first of those with a cache. That one misses the changes of the others.
func (w *ward) begin(ctx context.Context, f *fleet, t turn) (heal func() error, err error) {
	switch {
	case t.Losing != nil:
		return t.Losing(ctx, f.witness)
	case t.OverNetworks == nil:
		return t.Strike(ctx)
	}
	var networks []*network.Network
	for i, of := range f.networks {
		if i == 0 || !f.cached {
			networks = append(networks, of...)
		}
	}
	return t.OverNetworks(networks)
}

// settle finds out which changes the fault lost.
func (w *ward) settle(t turn, f *fleet) {
	if w.losses[t.Name] == nil {
		w.losses[t.Name] = new(losses)
	}
	for _, wrong := range w.losses[t.Name].settle(f) {
		w.Violate("%s: %s", w.where(t, f), wrong)
	}
}

func (w *ward) where(t turn, f *fleet) string {
	return fmt.Sprintf("%s, %s replicas on %s, seed %d", t.Name, f.name, w.Backend.Name, w.Seed)
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
	w.Row(t.Name, kind, fmt.Sprintf("%.1f", lasted.Seconds()), r.right, r.unavailable, r.bad, fmt.Sprintf("%.2f", r.slowest.Seconds()), last, serve, heard)
	w.Histories.Add(1)
	w.Operations.Add(int64(r.right + r.unavailable + r.bad))
	where := w.where(t, f)
	for _, wrong := range r.firstWrong {
		w.Violate("%s: %s (%d wrong or late in all)", where, wrong, r.bad)
	}
	switch {
	case !r.lateTrouble.IsZero():
		w.Violate("%s: a call made %v after the end of the fault failed: %v", where, r.lateTrouble.Sub(r.ended), r.cause)
	case !back:
		w.Violate("%s: %v after the end of the fault, not every replica had signed a user in and validated a token: %v", where, promptly+w.Patience, r.cause)
	case f.cached && r.feeds >= feedPatience+w.Patience:
		w.Violate("%s: %v after the end of the fault, not every cache serves again", where, r.feeds)
	case f.cached && r.unheard != nil:
		w.Violate("%s: after the end of the fault, with all feeds back, a revocation did not reach all replicas: %v", where, r.unheard)
	case f.cached && r.heard >= lease:
		w.Violate("%s: after the end of the fault, with all feeds back, a revocation took %v to reach all replicas", where, r.heard)
	}
}
