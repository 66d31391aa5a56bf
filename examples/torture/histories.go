package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// replicas is how many services share the storage.
const replicas = 3

// lease is that of the caches: the shortest that there is, so that a history
// outlives it.
const lease = 100 * time.Millisecond

// allowance is what a validation may take longer than the lease: a goroutine
// that was just about to accept when its time ran out may have to wait for a
// processor.
const allowance = 50 * time.Millisecond

// strictly makes histories of services without a cache. They have to be
// linearizable. Every other one has faults.
func strictly(tb testing.TB, e *env) {
	var o outcomes
	before := e.histories.Load()
	var handles []tokenauth.Storage
	for range replicas {
		handles = append(handles, e.backend.connect(tb))
	}
	each(4, func(worker int) {
		for n := uint64(worker); !e.over(); n += 4 {
			rng := rand.New(rand.NewPCG(e.seed, n))
			p := drawPlan(rng, fmt.Sprintf("strict %d %d", e.seed, n), 0)
			rate := 0.0
			if n%2 == 1 {
				rate = 0.03
			}
			s := newSetting(e, &o, rate)
			for i := range replicas {
				s.add(tb, newChaos(e.planted(handles[i], p.seed), rate, rng.Uint64()), nil)
			}
			s.judge(tb, "strict", n, p, 0)
		}
	})
	e.report.add(o.section(e, "Strict histories", "Each is linearizable, or a violation.", before))
}

// bounded makes histories of services with a cache, many at a time on the same
// three replicas, so that feeds and caches live longer than one of them. A
// token that has ended may be accepted for as long as the lease, unless the
// replica knew already. Every other generation of replicas has faults.
func bounded(tb testing.TB, e *env) {
	var o outcomes
	before := e.histories.Load()
	var handles []tokenauth.Storage
	for range replicas {
		handles = append(handles, e.backend.connect(tb))
	}
	const perGeneration, atOnce = 40, 10
	for generation := uint64(0); !e.over(); generation++ {
		rng := rand.New(rand.NewPCG(e.seed, 1<<32+generation))
		rate := 0.0
		if generation%2 == 1 {
			rate = 0.02
		}
		ctx, cancel := context.WithCancel(tb.Context())
		s := newSetting(e, &o, rate)
		for i := range replicas {
			storage := e.planted(handles[i], rng.Uint64())
			s.add(tb, &watchedChaos{newChaos(storage, rate, rng.Uint64()), storage.(tokenauth.Watcher), 2 * lease}, &tokenauth.CacheOptions{Lease: lease})
		}
		var running sync.WaitGroup
		for _, auth := range s.replicas {
			running.Go(func() { auth.Run(ctx) })
		}
		s.awaitFeeds(ctx)
		each(atOnce, func(worker int) {
			for i := uint64(worker); i < perGeneration && !e.over(); i += atOnce {
				n := generation*perGeneration + i
				p := drawPlan(rand.New(rand.NewPCG(e.seed, n)), fmt.Sprintf("bounded %d %d", e.seed, n), 12*time.Millisecond)
				s.judge(tb, "bounded", n, p, lease+allowance)
			}
		})
		cancel()
		running.Wait()
	}
	e.report.add(o.section(e, "Bounded histories", fmt.Sprintf("With a cache whose lease is %v. A token that has ended is not accepted more than %v later, nor by a replica that has refused or ended it.", lease, lease+allowance), before))
}

// outcomes counts what histories did by kind and outcome.
type outcomes struct {
	mu     sync.Mutex
	counts [enable + 1][unknown + 1]int64
}

func (o *outcomes) count(operations []*operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, op := range operations {
		o.counts[op.kind][op.outcome]++
	}
}

// section is the part of the report about histories.
func (o *outcomes) section(e *env, title, about string, before int64) *section {
	s := &section{title: title, about: about, head: []string{"operation", "done", "refused", "unknown"}}
	for k, counts := range o.counts {
		s.row(kind(k), counts[done], counts[refused], counts[unknown])
	}
	s.note("%d histories on %s, half of them with faults; %d on which the checker ran out of time.", e.histories.Load()-before, e.backend.name, e.undecided.Load())
	return s
}

// A setting is the replicas of a history, or of many.
type setting struct {
	*env
	*outcomes
	faulty    bool
	directory *directory
	replicas  []*tokenauth.Service
}

func newSetting(e *env, o *outcomes, rate float64) *setting {
	return &setting{env: e, outcomes: o, faulty: rate > 0, directory: new(directory)}
}

// add adds a replica.
func (s *setting) add(tb testing.TB, storage tokenauth.Storage, cache *tokenauth.CacheOptions) {
	options := &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler), Cache: cache, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	}
	if s.faulty { // what hangs has to end, and what does not has to have time
		options.Timeout = 300 * time.Millisecond
		if s.backend.name == "memory" {
			options.Timeout = 30 * time.Millisecond
		}
	}
	auth, err := tokenauth.New(storage, s.plantedUsers(s.directory), options)
	if err != nil {
		tb.Fatal(err)
	}
	s.replicas = append(s.replicas, auth)
}

// awaitFeeds returns when all caches serve, or some time has passed.
func (s *setting) awaitFeeds(ctx context.Context) {
	for _, auth := range s.replicas {
		for deadline := time.Now().Add(5 * time.Second); !auth.CacheStats().FeedAlive && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// judge makes a history and checks it.
func (s *setting) judge(tb testing.TB, trial string, n uint64, p plan, leeway time.Duration) {
	h := &history{plan: p, replicas: s.replicas, directory: s.directory}
	operations := h.run(tb.Context())
	if tb.Context().Err() != nil {
		return
	}
	v := h.check(operations, leeway)
	if len(operations) < 200 {
		return // nobody could sign in for long
	}
	s.histories.Add(1)
	s.env.operations.Add(int64(len(operations)))
	s.count(operations)
	if v.undecided {
		s.undecided.Add(1)
	}
	if len(v.broken) == 0 {
		return
	}
	see := ""
	if v.info != nil {
		file := s.report.path(fmt.Sprintf("%s-%d-%d.html", trial, s.seed, n))
		if err := porcupine.VisualizePath(model, *v.info, file); err != nil {
			file = err.Error()
		}
		see = "; see " + file
	}
	for _, broken := range v.broken {
		s.violate("%s history %d of seed %d on %s: %s%s", trial, n, s.seed, s.backend.name, broken, see)
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
