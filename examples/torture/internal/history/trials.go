package history

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// lease is the lease of the caches. It is the minimum, so that histories last longer.
const lease = 100 * time.Millisecond

// Strict runs the trial "strict", of services without a cache. Each history must be
// linearizable. Every other history has faults, half of both kinds have devices, and
// half of all these kinds have refresh tokens.
func Strict(tb testing.TB, e *trial.Env) {
	var o outcomes
	before := e.Histories.Load()
	var handles []tokenauth.Storage
	for range trial.Replicas {
		handles = append(handles, e.Backend.Connect(tb))
	}
	each(4, func(worker int) {
		for n := uint64(worker); n < 4 || !e.Over(); n += 4 { // each worker makes at least one history
			rng := rand.New(rand.NewPCG(e.Seed, n))
			p := drawPlan(rng, fmt.Sprintf("strict %d %d", e.Seed, n), 0)
			rate := 0.0
			if n%2 == 1 {
				rate = 0.03
			}
			s := newSetting(e, &o, rate)
			if n/2%2 == 1 {
				s.max = []int{2, 2, 3, 10}[n/8%4]
			}
			if n/4%2 == 1 {
				s.refreshes(rng, n/8, 1)
			}
			for i := range trial.Replicas {
				s.add(tb, newDeviceChaos(e.Planted(handles[i], p.seed), rate, rng.Uint64()), nil)
			}
			s.judge(tb, "strict", n, p, 0)
		}
	})
	e.Report.Add(o.section(e, "Strict histories", "Each history must be linearizable.", halfDevices, before))
}

// Bounded runs the trial "bounded", of services with a cache. Many concurrent histories
// use the same replicas, so that feeds and caches live longer than a history. A replica
// may accept an ended token for as long as the lease, unless it refused or ended the
// token itself. Every other generation of replicas has faults, every other history has
// devices, and half of both kinds have refresh tokens.
func Bounded(tb testing.TB, e *trial.Env) {
	var o outcomes
	before := e.Histories.Load()
	var handles []tokenauth.Storage
	for range trial.Replicas {
		handles = append(handles, e.Backend.Connect(tb))
	}
	const perGeneration, atOnce = 40, 10
	for generation := uint64(0); generation == 0 || !e.Over(); generation++ {
		rng := rand.New(rand.NewPCG(e.Seed, 1<<32+generation))
		rate := 0.0
		if generation%2 == 1 {
			rate = 0.02
		}
		ctx, cancel := context.WithCancel(tb.Context())
		var settings []*setting
		for i := range uint64(2) {
			s := newSetting(e, &o, rate)
			if i == 1 {
				s.max = 2
			}
			if (generation/2+i)%2 == 0 {
				s.refreshes(rng, generation/4*2+generation%2, atOnce/2)
			}
			settings = append(settings, s)
		}
		var running sync.WaitGroup
		for _, s := range settings {
			for i := range trial.Replicas {
				storage := e.Planted(handles[i], rng.Uint64())
				s.add(tb, &watchedChaos{newDeviceChaos(storage, rate, rng.Uint64()), storage.(tokenauth.Watcher), 2 * lease}, &tokenauth.CacheOptions{Lease: lease})
			}
			for _, auth := range s.replicas {
				running.Go(func() { auth.Run(ctx) })
			}
		}
		for _, s := range settings {
			trial.AwaitFeeds(ctx, s.replicas...)
		}
		each(atOnce, func(worker int) {
			for i := uint64(worker); i < perGeneration; i += atOnce {
				n := generation*perGeneration + i
				if n >= atOnce && e.Over() { // each worker makes at least one history
					return
				}
				p := drawPlan(rand.New(rand.NewPCG(e.Seed, n)), fmt.Sprintf("bounded %d %d", e.Seed, n), 12*time.Millisecond)
				settings[n%2].judge(tb, "bounded", n, p, lease+trial.Allowance)
			}
		})
		cancel()
		running.Wait()
	}
	e.Report.Add(o.section(e, "Bounded histories", fmt.Sprintf("The caches have a lease of %v. No replica may accept a token later than %v after its end, or after the replica itself refused or ended it.", lease, lease+trial.Allowance), halfDevices, before))
}

// outcomes counts the operations of all histories, by kind and outcome.
type outcomes struct {
	beyond    atomic.Int64 // tokens that sign-ins ended beyond the bound
	refreshed atomic.Int64 // histories in which clients refreshed
	repeated  atomic.Int64 // refreshes that returned the current pair again
	reused    atomic.Int64 // sign-ins that ended because a refresh token was used again
	mu        sync.Mutex
	counts    [op.RevokeRefresh + 1][unknown + 1]int64
}

func (o *outcomes) count(operations []*operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range operations {
		o.counts[one.kind][one.outcome]++
	}
}

const halfFaulty = "half of them with faults"

const (
	halfDevices = halfFaulty + ", half of both kinds with devices, and half of all these with refresh tokens"
	halfRefresh = halfFaulty + ", and half of both kinds with refresh tokens"
)

// section returns the section of the report about histories. Faults says which of
// them had faults, and before is the number of histories of earlier trials.
func (o *outcomes) section(e *trial.Env, title, about, faults string, before int64) *report.Section {
	s := &report.Section{Title: title, About: about, Head: []string{"operation", "done", "refused", "unknown"}}
	for k, counts := range o.counts {
		s.Row(op.Kind(k), counts[done], counts[refused], counts[unknown])
	}
	s.Row("refresh: a repetition", o.repeated.Load(), "", "")
	s.Row("refresh: reuse that ended a sign-in", "", o.reused.Load(), "")
	if n := o.refreshed.Load(); n > 0 {
		s.Note("In %d histories, clients refreshed.", n)
	}
	if n := o.beyond.Load(); n > 0 {
		s.Note("Sign-ins on devices ended %d tokens beyond the bound.", n)
	}
	s.Note("%d histories on %s, %s. The checker ran out of time on %d.", e.Histories.Load()-before, e.Backend.Name, faults, e.Undecided.Load())
	return s
}

// A setting holds the replicas that one or more histories share.
type setting struct {
	*trial.Env
	*outcomes
	faulty    bool
	max       int         // [tokenauth.DeviceOptions.Max], or 0 without devices
	refresh   *refreshing // nil without refresh tokens
	directory *host.Directory
	// during returns the names of the faults since the moment. It is nil if faults are
	// not recorded.
	during func(since time.Time) []string
	// answers makes a validation that fails at once without a fault a violation.
	answers  bool
	replicas []*tokenauth.Service
	keys     *tokenauth.KeyOptions // nil without API keys
	keyrings []*tokenauth.Keys     // of the replicas
}

func newSetting(e *trial.Env, o *outcomes, rate float64) *setting {
	return &setting{Env: e, outcomes: o, faulty: rate > 0, directory: new(host.Directory)}
}

// refreshes gives the replicas refresh tokens, of a kind of [newRefreshing]. Sharers is
// the number of concurrent histories that share the replicas. Call it before add, after
// max was set.
func (s *setting) refreshes(rng *rand.Rand, kind uint64, sharers int) {
	s.refresh = newRefreshing(rng, kind, s.max > 0, sharers)
	s.refresh.plant, s.refresh.shared = s.Plant, &s.State
}

// add adds a replica. It has no cache if cache is nil.
func (s *setting) add(tb testing.TB, storage tokenauth.Storage, cache *tokenauth.CacheOptions) {
	options := &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler), Cache: cache, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	}
	if s.max > 0 {
		options.Devices = &tokenauth.DeviceOptions{Max: s.max}
	}
	if s.refresh != nil {
		s.refresh.configure(options, len(s.replicas))
	}
	options.Keys = s.keys
	options.Observers = append(options.Observers, func(_ context.Context, e tokenauth.Event) {
		switch {
		case e.Kind == event.Revoked && e.Reason == event.ReasonDevices:
			s.beyond.Add(1)
		case e.Kind == event.Revoked && e.Reason == event.ReasonReused:
			s.reused.Add(1)
		case e.Kind == event.Refreshed && e.Reason != "":
			s.repeated.Add(1)
		}
	})
	if s.faulty { // short enough to end hanging calls soon, long enough for all others
		options.Timeout = 300*time.Millisecond + s.Patience/30
		if s.Backend.Name == "memory" {
			options.Timeout = 30 * time.Millisecond
		}
	}
	auth, err := tokenauth.New(storage, s.PlantedUsers(s.directory), options)
	if err != nil {
		tb.Fatal(err)
	}
	s.replicas = append(s.replicas, auth)
	if s.keys != nil {
		keys, err := tokenauth.NewKeys(auth)
		if err != nil {
			tb.Fatal(err)
		}
		s.keyrings = append(s.keyrings, keys)
	}
}

// judge makes a history and checks it.
func (s *setting) judge(tb testing.TB, trial string, n uint64, p plan, leeway time.Duration) {
	s.record(tb, trial, n, p, leeway)()
}

// record makes a history and returns the function that checks it.
func (s *setting) record(tb testing.TB, trial string, n uint64, p plan, leeway time.Duration) (check func()) {
	h := &history{plan: p, max: s.max, refresh: s.refresh, replicas: s.replicas, directory: s.directory, endsKept: s.Plant != nil && s.Plant.EndsKept}
	operations := h.run(tb.Context())
	if tb.Context().Err() != nil || len(operations) < 200 { // too short: users were disabled for most of the time
		return func() {}
	}
	s.Histories.Add(1)
	s.Env.Operations.Add(int64(len(operations)))
	s.count(operations)
	if s.refresh != nil && !p.plain {
		s.refreshed.Add(1)
	}
	faults := s.faultsSince(h.began)
	return func() {
		v := h.check(operations, leeway)
		if s.answers && !s.faulty {
			v.broken = append(v.broken, failedForNothing(operations)...)
		}
		s.settle(trial, n, v, faults)
	}
}

// faultsSince returns text about the faults since the moment, for [setting.settle].
func (s *setting) faultsSince(moment time.Time) string {
	if s.during == nil {
		return ""
	}
	return ", during the faults " + strings.Join(s.during(moment), ", ")
}

// settle reports the violations of a history that was checked. Faults is text about the
// faults during the history.
func (s *setting) settle(trial string, n uint64, v verdict, faults string) {
	if v.undecided {
		s.Undecided.Add(1)
	}
	see := ""
	if v.info != nil {
		file := s.Report.Path(fmt.Sprintf("%s-%d-%d.html", trial, s.Seed, n))
		if err := porcupine.VisualizePath(*v.model, *v.info, file); err != nil {
			file = err.Error()
		}
		see = "; see " + file
	}
	for _, broken := range v.broken {
		s.Violate("%s history %d of seed %d on %s: %s%s%s", trial, n, s.Seed, s.Backend.Name, broken, faults, see)
	}
}

// each runs the number of workers and waits for them.
func each(workers int, work func(worker int)) {
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() { work(worker) })
	}
	wg.Wait()
}
