package history

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// lease is that of the caches: the shortest that there is, so that a history
// outlives it.
const lease = 100 * time.Millisecond

// Strict runs the trial of services without a cache. Each history must be
// linearizable. Every other history has faults.
func Strict(tb testing.TB, e *trial.Env) {
	var o outcomes
	before := e.Histories.Load()
	var handles []tokenauth.Storage
	for range trial.Replicas {
		handles = append(handles, e.Backend.Connect(tb))
	}
	each(4, func(worker int) {
		for n := uint64(worker); !e.Over(); n += 4 {
			rng := rand.New(rand.NewPCG(e.Seed, n))
			p := drawPlan(rng, fmt.Sprintf("strict %d %d", e.Seed, n), 0)
			rate := 0.0
			if n%2 == 1 {
				rate = 0.03
			}
			s := newSetting(e, &o, rate)
			for i := range trial.Replicas {
				s.add(tb, newChaos(e.Planted(handles[i], p.seed), rate, rng.Uint64()), nil)
			}
			s.judge(tb, "strict", n, p, 0)
		}
	})
	e.Report.Add(o.section(e, "Strict histories", "Each is linearizable, or a violation.", halfFaulty, before))
}

// Bounded runs the trial of services with a cache, many histories at a time on the
// three replicas, so that feeds and caches live longer than one of them. A
// token that has ended may be accepted for as long as the lease, unless the
// replica knew already. Every other generation of replicas has faults.
func Bounded(tb testing.TB, e *trial.Env) {
	var o outcomes
	before := e.Histories.Load()
	var handles []tokenauth.Storage
	for range trial.Replicas {
		handles = append(handles, e.Backend.Connect(tb))
	}
	const perGeneration, atOnce = 40, 10
	for generation := uint64(0); !e.Over(); generation++ {
		rng := rand.New(rand.NewPCG(e.Seed, 1<<32+generation))
		rate := 0.0
		if generation%2 == 1 {
			rate = 0.02
		}
		ctx, cancel := context.WithCancel(tb.Context())
		s := newSetting(e, &o, rate)
		for i := range trial.Replicas {
			storage := e.Planted(handles[i], rng.Uint64())
			s.add(tb, &watchedChaos{newChaos(storage, rate, rng.Uint64()), storage.(tokenauth.Watcher), 2 * lease}, &tokenauth.CacheOptions{Lease: lease})
		}
		var running sync.WaitGroup
		for _, auth := range s.replicas {
			running.Go(func() { auth.Run(ctx) })
		}
		trial.AwaitFeeds(ctx, s.replicas...)
		each(atOnce, func(worker int) {
			for i := uint64(worker); i < perGeneration && !e.Over(); i += atOnce {
				n := generation*perGeneration + i
				p := drawPlan(rand.New(rand.NewPCG(e.Seed, n)), fmt.Sprintf("bounded %d %d", e.Seed, n), 12*time.Millisecond)
				s.judge(tb, "bounded", n, p, lease+trial.Allowance)
			}
		})
		cancel()
		running.Wait()
	}
	e.Report.Add(o.section(e, "Bounded histories", fmt.Sprintf("With a cache whose lease is %v. A token that has ended is not accepted more than %v later, nor by a replica that has refused or ended it.", lease, lease+trial.Allowance), halfFaulty, before))
}

// outcomes counts what histories did by kind and outcome.
type outcomes struct {
	mu     sync.Mutex
	counts [op.Enable + 1][unknown + 1]int64
}

func (o *outcomes) count(operations []*operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, one := range operations {
		o.counts[one.kind][one.outcome]++
	}
}

const halfFaulty = "half of them with faults"

// section is the part of the report about histories, and says which had faults.
func (o *outcomes) section(e *trial.Env, title, about, faults string, before int64) *report.Section {
	s := &report.Section{Title: title, About: about, Head: []string{"operation", "done", "refused", "unknown"}}
	for k, counts := range o.counts {
		s.Row(op.Kind(k), counts[done], counts[refused], counts[unknown])
	}
	s.Note("%d histories on %s, %s; %d on which the checker ran out of time.", e.Histories.Load()-before, e.Backend.Name, faults, e.Undecided.Load())
	return s
}

// A setting is the replicas of a history, or of many.
type setting struct {
	*trial.Env
	*outcomes
	faulty    bool
	directory *host.Directory
	// during returns the faults that were there since that moment. Nil if they are
	// not recorded.
	during func(since time.Time) []string
	// answers is whether a validation that fails at once without a fault is a
	// violation.
	answers  bool
	replicas []*tokenauth.Service
}

func newSetting(e *trial.Env, o *outcomes, rate float64) *setting {
	return &setting{Env: e, outcomes: o, faulty: rate > 0, directory: new(host.Directory)}
}

// add adds a replica.
func (s *setting) add(tb testing.TB, storage tokenauth.Storage, cache *tokenauth.CacheOptions) {
	options := &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler), Cache: cache, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	}
	if s.faulty { // what hangs has to end, and what does not has to have time
		options.Timeout = 300 * time.Millisecond
		if s.Backend.Name == "memory" {
			options.Timeout = 30 * time.Millisecond
		}
	}
	auth, err := tokenauth.New(storage, s.PlantedUsers(s.directory), options)
	if err != nil {
		tb.Fatal(err)
	}
	s.replicas = append(s.replicas, auth)
}

// judge makes a history and checks it.
func (s *setting) judge(tb testing.TB, trial string, n uint64, p plan, leeway time.Duration) {
	h := &history{plan: p, replicas: s.replicas, directory: s.directory}
	operations := h.run(tb.Context())
	if tb.Context().Err() != nil {
		return
	}
	v := h.check(operations, leeway)
	if s.answers && !s.faulty {
		v.broken = append(v.broken, failedForNothing(operations)...)
	}
	if len(operations) < 200 {
		return // nobody could sign in for long
	}
	s.Histories.Add(1)
	s.Env.Operations.Add(int64(len(operations)))
	s.count(operations)
	if v.undecided {
		s.Undecided.Add(1)
	}
	if len(v.broken) == 0 {
		return
	}
	see := ""
	if v.info != nil {
		file := s.Report.Path(fmt.Sprintf("%s-%d-%d.html", trial, s.Seed, n))
		if err := porcupine.VisualizePath(model, *v.info, file); err != nil {
			file = err.Error()
		}
		see = "; see " + file
	}
	if s.during != nil {
		see = fmt.Sprintf(", while there were the faults %s%s", strings.Join(s.during(h.began), ", "), see)
	}
	for _, broken := range v.broken {
		s.Violate("%s history %d of seed %d on %s: %s%s", trial, n, s.Seed, s.Backend.Name, broken, see)
	}
}

// each runs so many workers and waits for them.
func each(workers int, work func(worker int)) {
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() { work(worker) })
	}
	wg.Wait()
}
