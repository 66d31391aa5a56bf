package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/op"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Keys runs the trial "keys", of API keys. The generations of replicas have no cache or,
// if the storage is a [tokenauth.Watcher], a cache by turns. In each generation, half of
// the histories are at replicas whose storage and feed fail at random.
func Keys(tb testing.TB, e *trial.Env) {
	var o keyOutcomes
	var handles []tokenauth.Storage
	for range trial.Replicas {
		handles = append(handles, e.Backend.Connect(tb))
	}
	for generation := uint64(0); generation < 2 || !e.Over(); generation++ {
		rng := rand.New(rand.NewPCG(e.Seed, 1<<35+generation))
		cached := e.Backend.Watched && generation%2 == 1
		leeway, pause, lasts := time.Duration(0), time.Duration(0), 500*time.Millisecond
		if cached {
			leeway, pause, lasts = lease+trial.Allowance, 12*time.Millisecond, 2*time.Second
		}
		ctx, cancel := context.WithCancel(tb.Context())
		var running sync.WaitGroup
		var settings []*setting
		for _, rate := range []float64{0, 0.02} {
			s := newSetting(e, new(outcomes), rate)
			s.keys = &tokenauth.KeyOptions{Max: 2 + rng.IntN(4)}
			s.max = 2 * rng.IntN(2)
			batched := generation/2%2 == 0
			for i := range trial.Replicas {
				storage, seed := e.Planted(handles[i], rng.Uint64()), rng.Uint64()
				if cached {
					s.add(tb, watchedKeyStorage(storage, rate, seed), &tokenauth.CacheOptions{Lease: lease})
				} else {
					s.add(tb, keyStorage(storage, rate, seed, batched), nil)
				}
			}
			for _, auth := range s.replicas {
				running.Go(func() { auth.Run(ctx) })
			}
			settings = append(settings, s)
		}
		if cached {
			for _, s := range settings {
				trial.AwaitFeeds(ctx, s.replicas...)
			}
		}
		const atOnce = 6
		end := time.Now().Add(lasts)
		each(atOnce, func(worker int) {
			s := settings[worker%2]
			for i := uint64(0); i == 0 || !e.Over() && time.Now().Before(end); i++ { // each worker makes at least one history
				n := generation<<16 + i*atOnce + uint64(worker)
				p := drawPlan(rand.New(rand.NewPCG(e.Seed, n)), fmt.Sprintf("keys %d %d", e.Seed, n), pause)
				s.recordKeys(tb, &o, "keys", n, p, leeway)()
			}
		})
		cancel()
		running.Wait()
	}
	about := fmt.Sprintf("Users make API keys, use, rename and end them, while the host disables users, takes roles away and changes passwords. Without a cache, each validation must show the key and its owner as they are. With a cache, it may show what they were %v before.", lease+trial.Allowance)
	e.Report.Add(o.section(e, "API keys", about, halfFaulty))
	o.triedSomething(tb, "keys")
}

// recordKeys makes a history of API keys and returns the function that checks it.
func (s *setting) recordKeys(tb testing.TB, o *keyOutcomes, trial string, n uint64, p plan, leeway time.Duration) (check func()) {
	h := &keyHistory{plan: p, max: s.keys.Max, faulty: s.faulty, devices: s.max > 0, replicas: s.replicas, keyrings: s.keyrings, directory: s.directory}
	operations := h.run(tb.Context())
	if tb.Context().Err() != nil {
		return func() {}
	}
	s.Histories.Add(1)
	s.Env.Operations.Add(int64(len(operations)))
	o.count(operations)
	faults := s.faultsSince(h.began)
	return func() { s.settle(trial, n, h.check(operations, int64(leeway)), faults) }
}

// keyOutcomes counts the operations of all histories of API keys, by kind and outcome.
type keyOutcomes struct {
	mu                          sync.Mutex
	counts                      [op.SetPassword + 1][unknown + 1]int64
	histories, without, tooMany int64
}

func (o *keyOutcomes) count(operations []*keyOperation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.histories++
	for _, one := range operations {
		o.counts[one.kind][one.outcome]++
		if one.kind == op.ValidateKey && one.outcome == done && !one.has {
			o.without++
		}
		if one.tooMany {
			o.tooMany++
		}
	}
}

// triedSomething fails the trial if no key was valid at any time.
func (o *keyOutcomes) triedSomething(tb testing.TB, trial string) {
	if o.histories > 0 && o.counts[op.ValidateKey][done] == 0 && tb.Context().Err() == nil {
		tb.Errorf("%s: the trial tested nothing: none of the keys was valid in %d histories", trial, o.histories)
	}
}

// section returns the section of the report about the histories. Faults says which of
// them had faults.
func (o *keyOutcomes) section(e *trial.Env, title, about, faults string) *report.Section {
	s := &report.Section{Title: title, About: about, Head: []string{"operation", "done", "refused", "unknown"}}
	for k, counts := range o.counts {
		if counts != [unknown + 1]int64{} {
			s.Row(op.Kind(k), counts[done], counts[refused], counts[unknown])
		}
	}
	s.Note("Of the accepted validations, %d were without the role. %d keys were refused because their users had too many.", o.without, o.tooMany)
	s.Note("%d histories on %s, %s. The checker ran out of time on %d.", o.histories, e.Backend.Name, faults, e.Undecided.Load())
	return s
}
