package history

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/host"
	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// recoveryBound is the maximum time from a fault of the feed until each cache serves
// again, apart from [trial.Env.Patience]. [tokenauth.Service.Run] tries at least once a
// second; the rest is for a busy machine.
const recoveryBound = 5 * time.Second

// strikeBound is the maximum time of a fault, its end and the recovery together, apart
// from [trial.Env.Patience]. If they take longer, something hangs.
const strikeBound = 30 * time.Second

// A breaker injects each [inject.Fault] of the feeds, the path on which changes reach
// the caches.
type breaker struct {
	*trial.Env
	faults   []*inject.Fault
	replicas []*tokenauth.Service
	left     []int // the faults that are still to inject before each is injected once more

	mu      sync.Mutex
	strikes []*strike
}

// A strike is one injected fault. Its times are of this process's clock.
type strike struct {
	fault        *inject.Fault
	began, ended time.Time     // ended is zero while the fault lasts
	stopped      bool          // whether the fault stopped a cache
	recovery     time.Duration // from the fault's end until all caches served
}

func newBreaker(e *trial.Env, faults []*inject.Fault, replicas []*tokenauth.Service) *breaker {
	chosen := slices.DeleteFunc(slices.Clone(faults), func(f *inject.Fault) bool { return !strings.Contains(f.Name, e.Only) })
	return &breaker{Env: e, faults: chosen, replicas: replicas}
}

// run injects one fault after the other until the histories of a round are made, and at
// least one. Over several rounds it injects each fault once in a random order, then each
// once more in another order.
func (b *breaker) run(tb testing.TB, rng *rand.Rand, made <-chan struct{}) {
	for n := 0; len(b.faults) > 0; n++ {
		// The caches fill between two faults.
		inject.Wait(tb.Context(), rand.N(leaseOf(b.Env)))
		select {
		case <-made:
			if n > 0 {
				return
			}
		default:
		}
		if tb.Context().Err() != nil {
			return
		}
		if len(b.left) == 0 {
			b.left = rng.Perm(len(b.faults))
		}
		f := b.faults[b.left[0]]
		b.left = b.left[1:]
		if err := b.strike(tb.Context(), rng, f); err != nil {
			if tb.Context().Err() == nil {
				tb.Errorf("feeds: injecting %q: %v", f.Name, err)
			}
			return
		}
	}
}

// longestFault is the maximum time of a fault, in leases. It is several, so that a
// token that ends during the fault could be accepted for too long.
const longestFault = 5

// duration draws how long a fault lasts. Some faults fit between two heartbeats.
func duration(rng *rand.Rand, lease time.Duration) time.Duration {
	if rng.IntN(2) == 0 {
		return time.Duration(rng.Int64N(int64(lease) / 4))
	}
	return lease + time.Duration(rng.Int64N(int64((longestFault-1)*lease)))
}

// strike injects the fault, ends it, and waits until the caches serve. It returns an
// error if the fault could not begin or end.
func (b *breaker) strike(ctx context.Context, rng *rand.Rand, f *inject.Fault) error {
	ctx, cancel := context.WithTimeout(ctx, strikeBound+b.Patience)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	lease := leaseOf(b.Env)
	lasts := duration(rng, lease)
	var witnesses []*witness
	for n := range b.replicas {
		if w := b.witness(ctx, rng, n, lasts); w != nil {
			witnesses = append(witnesses, w)
		}
	}
	s := &strike{fault: f, began: time.Now()}
	b.mu.Lock()
	b.strikes = append(b.strikes, s)
	b.mu.Unlock()
	heal, err := f.Strike(ctx)
	if err != nil {
		return err
	}
	for _, w := range witnesses {
		following.Go(func() { b.follow(ctx, w, f.Name) })
	}
	stopped := false
	if f.Lasts > 0 {
		for end := time.Now().Add(lasts); time.Now().Before(end) && ctx.Err() == nil; {
			inject.Wait(ctx, min(time.Until(end), lease/20))
			stopped = stopped || slices.ContainsFunc(b.replicas, func(auth *tokenauth.Service) bool { return !auth.CacheStats().FeedAlive })
		}
	}
	if err := heal(); err != nil {
		return fmt.Errorf("ending it: %w", err)
	}
	ended := time.Now()
	b.mu.Lock()
	s.ended, s.stopped = ended, stopped
	b.mu.Unlock()
	for i, auth := range b.replicas {
		for !b.serves(ctx, i, auth) {
			if ctx.Err() != nil {
				return nil
			}
			if bound := recoveryBound + b.Patience; time.Since(ended) > bound {
				b.Violate("feeds of seed %d on %s: the cache of replica %d does not serve %v after the end of %q", b.Seed, b.Backend.Name, i, bound, f.Name)
				break
			}
			inject.Wait(ctx, 5*time.Millisecond)
		}
	}
	b.mu.Lock()
	s.recovery = time.Since(ended)
	b.mu.Unlock()
	following.Wait()
	return nil
}

// serves reports whether the replica answers a validation from its cache.
func (b *breaker) serves(ctx context.Context, replica int, auth *tokenauth.Service) bool {
	before := auth.CacheStats()
	if !before.FeedAlive {
		return false
	}
	user := fmt.Sprint("canary ", replica)
	g, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: user, Password: tokenauth.NewSecret(user), ClientID: host.Client(0)})
	for range 2 {
		if err == nil {
			_, err = auth.Validate(ctx, g.AccessToken.Reveal())
		}
	}
	return err == nil && auth.CacheStats().Hits > before.Hits
}

// during returns the names of the faults that lasted at or after the moment, or ended
// less than a lease before it.
func (b *breaker) during(since time.Time) (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.strikes {
		if s.ended.IsZero() || s.ended.After(since.Add(-leaseOf(b.Env))) {
			names = append(names, fmt.Sprintf("%q", s.fault.Name))
		}
	}
	return names
}

// section returns the section of the report about the faults.
func (b *breaker) section() *report.Section {
	s := &report.Section{
		Title: "Faults of the feed", Head: []string{"fault", "times", "stopped a cache", "served again after, at most"},
		About: fmt.Sprintf("Each fault lasted up to %v. Within %v after it, all caches had to serve again.", longestFault*leaseOf(b.Env), recoveryBound+b.Patience),
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.faults {
		times, stopped, longest := 0, 0, time.Duration(0)
		for _, one := range b.strikes {
			if one.fault == f {
				times++
				longest = max(longest, one.recovery)
				if one.stopped {
					stopped++
				}
			}
		}
		s.Row(f.Name, times, stopped, longest.Round(time.Millisecond))
	}
	var hits, asked uint64
	for _, auth := range b.replicas {
		c := auth.CacheStats()
		hits, asked = hits+c.Hits, asked+c.Hits+c.Misses+c.Bypasses
	}
	s.Note("Of %d validations, the caches answered %d.", asked, hits)
	return s
}
