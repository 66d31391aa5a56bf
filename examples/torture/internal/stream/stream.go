// Package stream has the trial "streams": replicas hold open streams while tokens are
// issued, replaced and revoked and expire, and while feeds are lost and come back.
package stream

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	// users is the number of users who sign in at the same time, each in a loop.
	users = 48
	// generation is how long the same replicas run.
	generation = 3 * time.Second
	// prompt is the maximum time from the end of a token to that of its streams while
	// feeds work, unless the lease is longer.
	prompt = time.Second
	// slack is for a check that fails by chance and is repeated, and for a busy machine.
	slack = 2 * time.Second
	// interval is [tokenauth.Options.StreamInterval] of replicas whose feeds are lost,
	// or that have none.
	interval = 500 * time.Millisecond
	// grace is [tokenauth.RefreshOptions.Grace].
	grace = time.Second
)

// Run makes one generation of replicas after the other until [trial.Env.Over]. In every
// other one, feeds are lost and look-ups fail. In half of both kinds, users refresh.
func Run(tb testing.TB, e *trial.Env) {
	c := newCounts()
	before := e.Histories.Load()
	var handles []tokenauth.Storage
	for range trial.Replicas + 1 {
		handles = append(handles, e.Backend.Connect(tb))
	}
	for n := uint64(0); n == 0 || !e.Over(); n++ {
		// A plant is found only while feeds are lost.
		f := newFleet(tb, e, handles, n, n%2 == 1 || e.Plant != nil, n%4 >= 2)
		f.run(tb.Context(), c)
	}
	e.Report.Add(c.section(e, before))
}

// A fleet is a generation of replicas.
type fleet struct {
	*trial.Env
	n        uint64
	faulty   bool
	refresh  bool
	replicas []*replica
	// late issues tokens that expire about a second later, because its clock is slow.
	late *tokenauth.Service
}

// A replica is a Service with a guard for streams.
type replica struct {
	*tokenauth.Service
	feed   *lossy // nil without a feed
	bound  time.Duration
	prompt time.Duration // the bound while the feed works
}

// backwards is how far the clock of [fleet.late] is behind.
const backwards = 58 * time.Second

func newFleet(tb testing.TB, e *trial.Env, handles []tokenauth.Storage, n uint64, faulty, refresh bool) *fleet {
	tb.Helper()
	f := &fleet{Env: e, n: n, faulty: faulty, refresh: refresh}
	rate := 0.0
	if faulty {
		rate = 0.03
	}
	serve := func(s tokenauth.Storage, o tokenauth.Options) *tokenauth.Service {
		o.Logger, o.Throttle.InsecureOff, o.Timeout = slog.New(slog.DiscardHandler), true, 10*time.Second
		if refresh {
			o.Refresh = &tokenauth.RefreshOptions{Grace: grace, Key: tokenauth.NewSecret("32 bytes that the replicas share")}
		}
		auth, err := tokenauth.New(s, new(host.Directory), &o)
		if err != nil {
			tb.Fatal(err)
		}
		return auth
	}
	for i := range trial.Replicas {
		r := &replica{bound: 2*interval + slack}
		storage, o := handles[i], tokenauth.Options{StreamInterval: interval}
		if e.Backend.Watched {
			r.feed = &lossy{failing: newFailing(storage, rate), watcher: storage.(tokenauth.Watcher), began: time.Now()}
			storage = e.Planted(r.feed, e.Seed+n)
			r.feed.lease = 2 * time.Second // the default, for streams without a cache
			if i > 0 {
				r.feed.lease = lease
				o.Cache = &tokenauth.CacheOptions{Lease: lease}
			}
			r.bound += r.feed.lease + r.feed.lease/4
			r.prompt = max(prompt, r.feed.lease) + e.Patience
		} else {
			f := newFailing(storage, rate)
			storage = &f
		}
		r.bound += e.Patience
		r.Service = serve(storage, o)
		r.Authorizer(tokenauth.Requirement{Stream: true}) // the feed is needed from now on
		f.replicas = append(f.replicas, r)
	}
	f.late = serve(handles[trial.Replicas], tokenauth.Options{
		Lifetime: time.Minute, Now: func() time.Time { return time.Now().Add(-backwards) },
	})
	return f
}

// lease is the lease of the caches. On a busy machine, a shorter one would often end.
const lease = 500 * time.Millisecond

// run runs the replicas, lets the users sign in, and then stops the replicas.
func (f *fleet) run(ctx context.Context, c *counts) {
	serving, stop := context.WithCancel(ctx)
	defer stop()
	var running, working, breaking sync.WaitGroup
	for _, r := range f.replicas {
		running.Go(func() { r.Run(serving) })
	}
	if f.Backend.Watched {
		var cached []*tokenauth.Service
		for _, r := range f.replicas[1:] {
			cached = append(cached, r.Service)
		}
		trial.AwaitFeeds(ctx, cached...)
		for f.replicas[0].feed.beat.Load() == 0 && ctx.Err() == nil {
			inject.Wait(ctx, time.Millisecond)
		}
	}
	over, end := context.WithTimeout(ctx, generation)
	defer end()
	if f.faulty && f.Backend.Watched {
		for i, r := range f.replicas {
			breaking.Go(func() {
				rng := rand.New(rand.NewPCG(f.Seed, f.n<<8+uint64(i)))
				for over.Err() == nil {
					inject.Wait(over, rand.N(500*time.Millisecond))
					r.feed.lose(over, rng, lease)
				}
			})
		}
	}
	var kept [users][]*stream // the streams that are open at the end
	for i := range users {
		working.Go(func() {
			u := &user{fleet: f, counts: c, name: fmt.Sprintf("streams %d %d %d", f.Seed, f.n, i), rng: rand.New(rand.NewPCG(f.Seed, 1<<35+f.n<<8+uint64(i)))}
			kept[i] = u.run(over, ctx)
		})
	}
	working.Wait()
	breaking.Wait()
	stopped := time.Now()
	for _, streams := range kept {
		for _, s := range streams {
			s.replicaStops()
		}
	}
	stop()
	running.Wait()
	for _, streams := range kept {
		for _, s := range streams {
			s.endsBy(ctx, stopped, "the stop of its replica", slack+f.Patience, nil)
			s.disconnect()
		}
	}
}

// counts sums up all streams of a run.
type counts struct {
	kinds     []*kind
	refreshed atomic.Int64 // refreshes of sign-ins with open streams
	slow      atomic.Int64 // streams whose feed failed although the trial did not break it
}

// A kind is a way in which a token ends.
type kind struct {
	name          string
	prompt, bound report.Spread // with working feeds, and with lost ones or none
}

func newCounts() *counts {
	c := new(counts)
	for _, name := range endings {
		c.kinds = append(c.kinds, &kind{name: name})
	}
	return c
}

func (c *counts) section(e *trial.Env, before int64) *report.Section {
	s := &report.Section{
		Title: "Open streams",
		About: fmt.Sprintf("%d users sign in, open streams at %d replicas, and end their tokens. Each stream must end with its token: within %v or the lease while the feeds work, and otherwise within the lease, two intervals of %v and %v. No stream of a valid token may end before its replica stops. Refreshes of a sign-in do not end its streams.", users, trial.Replicas, prompt, interval, slack),
		Head:  []string{"the token ended by", "with feeds: p50 ms", "p99 ms", "at most ms", "lost feeds or none: p50 ms", "p99 ms", "at most ms"},
	}
	for _, k := range c.kinds {
		row := []any{k.name}
		for _, spread := range []*report.Spread{&k.prompt, &k.bound} {
			for _, q := range []float64{0.5, 0.99, 1} {
				row = append(row, report.Milliseconds(spread.Quantile(q)))
			}
		}
		s.Row(row...)
	}
	if n := c.slow.Load(); n > 0 {
		s.Note("%d streams ended later than promised with a feed, because the machine was so busy that the feed failed.", n)
	}
	s.Note("%d sign-ins with streams on %s, in every other generation of replicas with lost feeds and failing look-ups. %d refreshes while streams were open, in half of the generations.", e.Histories.Load()-before, e.Backend.Name, c.refreshed.Load())
	return s
}
