package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Updates at once lose nothing, whichever counters they share.
func TestCountersAreAtomic(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		key := func(n int) tokenauth.CounterKey { return tokenauth.CounterKey{byte(n)} }
		const workers, rounds = 8, 10
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for worker := range workers {
			wg.Go(func() {
				for range rounds {
					// Each in another order, so that locks could cross.
					keys := []tokenauth.CounterKey{key(worker%3 + 1), key((worker+1)%3 + 1), key(100 + worker)}
					err := s.UpdateCounters(ctx, keys, func(c []tokenauth.Counter) {
						for i := range c {
							c[i].Failures++
							c[i].FailedAt = time.Now().UnixMilli()
						}
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		sum := int64(0)
		keys := []tokenauth.CounterKey{key(1), key(2), key(3)}
		for worker := range workers {
			keys = append(keys, key(100+worker))
		}
		if err := s.UpdateCounters(ctx, keys, func(c []tokenauth.Counter) {
			sum = 0
			for i := range c {
				sum += c[i].Failures
			}
		}); err != nil {
			t.Fatal(err)
		}
		if sum != 3*workers*rounds {
			t.Errorf("%d of %d were counted", sum, 3*workers*rounds)
		}
	})
}

func TestCountersRoundTripAndPurge(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		now := time.Now().UnixMilli()
		long := now - (101 * 24 * time.Hour).Milliseconds()
		want := []tokenauth.Counter{
			{Failures: 3, FailedAt: now, Pending: 2, PendingAt: now + 1, SucceededAt: now + 2},
			{Failures: 9, FailedAt: long},
		}
		keys := []tokenauth.CounterKey{{0xff, 0, 1}, {0, 0xff, '\'', '\\'}}
		if err := s.UpdateCounters(t.Context(), keys, func(c []tokenauth.Counter) { copy(c, want) }); err != nil {
			t.Fatal(err)
		}
		expect := func(what string, want ...tokenauth.Counter) {
			t.Helper()
			var got []tokenauth.Counter
			if err := s.UpdateCounters(t.Context(), keys, func(c []tokenauth.Counter) { got = append([]tokenauth.Counter(nil), c...) }); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		expect("stored", want...)
		if _, err := s.Purge(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		expect("purged", want[0], tokenauth.Counter{})
	})
}

// counted is an Authenticator that counts how often it is asked.
type counted struct{ atomic.Int64 }

func (c *counted) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	c.Add(1)
	time.Sleep(20 * time.Millisecond)
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// Replicas that count together let through together what one would alone; when
// the database is gone each counts for itself, its part.
func TestThrottleOfReplicas(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		var asked counted
		now := time.Now() // and it stays so: no wait is over before the end
		o := tokenauth.Options{Logger: quiet, Timeout: 10 * time.Second, Now: func() time.Time { return now }, Throttle: tokenauth.ThrottleOptions{
			Key: tokenauth.NewSecret("the same thirty-two bytes or more on all replicas"), SourceFailures: 6, Replicas: 3,
		}}
		replicas := make([]*tokenauth.Service, 3)
		for i := range replicas {
			auth, err := tokenauth.New(s, &asked, &o)
			if err != nil {
				t.Fatal(err)
			}
			replicas[i] = auth
		}
		guess := func(user string) (throttled int64) {
			var wg sync.WaitGroup
			var n atomic.Int64
			for i := range 30 {
				wg.Go(func() {
					_, err := replicas[i%3].SignIn(t.Context(), tokenauth.Credentials{
						UserName: user, Password: tokenauth.NewSecret("guess"), RemoteAddr: netip.MustParseAddr("192.0.2.1"),
					})
					switch {
					case errors.Is(err, tokenauth.ErrThrottled):
						n.Add(1)
					case !errors.Is(err, tokenauth.ErrRejected):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return n.Load()
		}
		if throttled := guess("alice"); asked.Load() != 6 || throttled != 24 {
			t.Errorf("%d of 30 guesses were looked at, %d throttled", asked.Load(), throttled)
		}
		if err := db.Exec(`DROP TABLE tokenauth_counters`).Error; err != nil {
			t.Fatal(err)
		}
		asked.Store(0)
		if throttled := guess("bob"); asked.Load() != 6 || throttled != 24 {
			t.Errorf("without the storage %d of 30 guesses were looked at, %d throttled", asked.Load(), throttled)
		}
	})
}

// All spellings of a name count as one account's.
func TestThrottleCountsByTheNormalisedName(t *testing.T) {
	t.Parallel()
	s, _ := engines[0].store(t)
	create(t, s, "alice")
	auth, err := tokenauth.New(s, s.Users(), nil)
	if err != nil {
		t.Fatal(err)
	}
	throttled := 0
	for _, name := range []string{"alice", "ALICE", "ＡＬＩＣＥ", "Alice", "aLICE", "alicE", "alice"} {
		if _, err := signIn(t.Context(), auth, name, "wrong"); errors.Is(err, tokenauth.ErrThrottled) {
			throttled++
		}
	}
	if throttled != 2 {
		t.Errorf("%d of 7 were throttled, want 2", throttled)
	}
	if got := s.Users().NormalizeUserName("not a name"); got != "not a name" {
		t.Errorf("what is no name became %q", got)
	}
}
