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

// recoveryBound is how soon after a fault of the feed each cache must serve again.
// Run tries once a second at least; the rest is for a busy machine.
const recoveryBound = 5 * time.Second

// strikeBound is how long a fault, its end and the recovery may take. Whatever
// takes longer hangs.
const strikeBound = 30 * time.Second

// A breaker breaks the way of changes and mends it.
type breaker struct {
	*trial.Env
	faults   []*inject.Fault
	replicas []*tokenauth.Service

	mu      sync.Mutex
	strikes []*strike
}

// A strike is one fault that was there. Times are those of this process.
type strike struct {
	fault        *inject.Fault
	began, ended time.Time     // ended is zero while it is there
	stopped      bool          // whether a cache did not serve
	recovery     time.Duration // until all caches served again
}

func newBreaker(e *trial.Env, faults []*inject.Fault, replicas []*tokenauth.Service) *breaker {
	chosen := slices.DeleteFunc(slices.Clone(faults), func(f *inject.Fault) bool { return !strings.Contains(f.Name, e.Only) })
	return &breaker{Env: e, faults: chosen, replicas: replicas}
}

// run has one fault after another, each once in any order, then each once again,
// until the trial is over. It has one at least.
func (b *breaker) run(tb testing.TB, rng *rand.Rand) {
	for len(b.faults) > 0 {
		for _, i := range rng.Perm(len(b.faults)) {
			// In between the caches fill.
			inject.Wait(tb.Context(), rand.N(feedLease))
			if b.Over() && len(b.strikes) > 0 || tb.Context().Err() != nil {
				return
			}
			if err := b.strike(tb.Context(), rng, b.faults[i]); err != nil {
				if tb.Context().Err() == nil {
					tb.Errorf("%s: %v", b.faults[i].Name, err)
				}
				return
			}
		}
	}
}

// longestFault leaves a token that ends meanwhile time to be accepted for too long.
const longestFault = 5 * feedLease

// duration draws for how long a fault is there. Some are over between two
// heartbeats.
func duration(rng *rand.Rand) time.Duration {
	if rng.IntN(2) == 0 {
		return time.Duration(rng.Int64N(int64(feedLease) / 4))
	}
	return feedLease + time.Duration(rng.Int64N(int64(longestFault-feedLease)))
}

// strike makes the fault, ends it, and waits until the caches serve. Its error is
// that the fault could not begin or end.
func (b *breaker) strike(ctx context.Context, rng *rand.Rand, f *inject.Fault) error {
	ctx, cancel := context.WithTimeout(ctx, strikeBound)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	lasts := duration(rng)
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
			inject.Wait(ctx, min(time.Until(end), feedLease/20))
			stopped = stopped || slices.ContainsFunc(b.replicas, func(auth *tokenauth.Service) bool { return !auth.CacheStats().FeedAlive })
		}
	}
	if err := heal(); err != nil {
		return fmt.Errorf("its end: %w", err)
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
			if time.Since(ended) > recoveryBound {
				b.Violate("feeds of seed %d on %s: the cache of replica %d does not serve %v after the end of %q", b.Seed, b.Backend.Name, i, recoveryBound, f.Name)
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

// serves reports whether the replica validates from its cache.
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

// during returns the names of the faults that were there since that moment, or
// ended less than a lease before.
func (b *breaker) during(since time.Time) (names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.strikes {
		if s.ended.IsZero() || s.ended.After(since.Add(-feedLease)) {
			names = append(names, fmt.Sprintf("%q", s.fault.Name))
		}
	}
	return names
}

// section is the part of the report about the faults.
func (b *breaker) section() *report.Section {
	s := &report.Section{
		Title: "Faults of the feed", Head: []string{"fault", "times", "stopped a cache", "served again after, at most"},
		About: fmt.Sprintf("Each lasted up to %v. After it, all caches have to serve within %v.", longestFault, recoveryBound),
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
	s.Note("Of %d validations the caches answered %d.", asked, hits)
	return s
}
