package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// leaseOf returns the lease of the caches. It is longer than the minimum, so that the
// caches serve on a busy machine, and still longer with [trial.Env.Patience].
func leaseOf(e *trial.Env) time.Duration {
	if e.Patience > 0 {
		return 600 * time.Millisecond
	}
	return 200 * time.Millisecond
}

// FeedsFits reports whether [Feeds] can break the feed of the storage.
func FeedsFits(b *store.Backend) bool { return inject.HasFeed(b) }

// Feeds runs the trial "feeds". While services with a cache run, it breaks and repairs
// the path on which changes reach the caches. A cache may accept an ended token for as
// long as the lease. After each fault the same services must serve from their caches
// again. A fifth of the histories are of API keys. In half of the others, clients refresh.
func Feeds(tb testing.TB, e *trial.Env) {
	var o outcomes
	before, lease := e.Histories.Load(), leaseOf(e)
	target := inject.OpenFeed(tb, e.Backend, e.Plant != nil && e.Plant.OwnHeartbeat)
	s := newSetting(e, &o, 1)
	var keys keyOutcomes
	s.keys = &tokenauth.KeyOptions{Max: 4}
	const atOnce = 5
	rng := rand.New(rand.NewPCG(e.Seed, 1<<33))
	s.refreshes(rng, e.Seed, atOnce/2)
	for range trial.Replicas {
		s.add(tb, e.Planted(target.Connect(tb, nil), rng.Uint64()), &tokenauth.CacheOptions{Lease: lease})
	}
	ctx, cancel := context.WithCancel(tb.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	for _, auth := range s.replicas {
		running.Go(func() { auth.Run(ctx) })
	}
	b := newBreaker(e, target.Faults, s.replicas)
	s.during = b.during
	const perRound = 40
	for first := uint64(0); first == 0 || !e.Over(); first += perRound {
		trial.AwaitFeeds(ctx, s.replicas...)
		var checks [perRound]func()
		made := make(chan struct{})
		var breaking sync.WaitGroup
		breaking.Go(func() { b.run(tb, rng, made) })
		each(atOnce, func(worker int) {
			for i := worker; i < perRound && (first == 0 && i < atOnce || !e.Over()); i += atOnce {
				n := first + uint64(i)
				p := drawPlan(rand.New(rand.NewPCG(e.Seed, n)), fmt.Sprintf("feeds %d %d", e.Seed, n), 12*time.Millisecond)
				p.recent, p.plain = true, n%2 == 0
				if worker == 0 {
					checks[i] = s.recordKeys(tb, &keys, "feeds", n, p, lease+trial.Allowance)
				} else {
					checks[i] = s.record(tb, "feeds", n, p, lease+trial.Allowance)
				}
			}
		})
		close(made)
		breaking.Wait()
		// Check only now. Some histories take a processor and much memory for many seconds,
		// and caches that lack them do not serve again in time.
		each(runtime.GOMAXPROCS(0), func(worker int) {
			for i := worker; i < perRound; i += runtime.GOMAXPROCS(0) {
				if checks[i] != nil {
					checks[i]()
				}
			}
		})
	}
	e.Report.Add(o.section(e, "Histories with broken feeds", fmt.Sprintf("The caches have a lease of %v, and the path on which changes reach them is broken and repaired. No replica may accept a token later than %v after its end, or after the replica itself refused or ended it.", lease, lease+trial.Allowance), "all of them with faults of the feed, a fifth of them of API keys, and half of the others with refreshes", before))
	e.Report.Add(b.section())
	e.Report.Add(keys.section(e, "API keys with broken feeds", fmt.Sprintf("A validation may show the key and its owner as they were %v before.", lease+trial.Allowance), "all of them with faults of the feed"))
	keys.triedSomething(tb, "feeds")
}
