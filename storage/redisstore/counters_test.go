package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

func counterName(prefix string, k throttle.Key) string {
	return fmt.Sprintf("{%s}%x", prefix, k[:])
}

// count is a change that counts a failure.
func count(c []throttle.Counter) {
	for i := range c {
		c[i].Failures++
		c[i].FailedAt = time.Now().UnixMilli()
	}
}

// With more processes and goroutines than cores, no update is lost, and none runs
// into its timeout.
func TestConcurrentUpdatesAllCount(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		const processes, goroutines, rounds = 3, 64, 10
		client := open(t, o)
		prefix := newPrefix(t, client)
		stores := []*redisstore.Store{newStore(t, client, prefix)}
		for range processes - 1 {
			stores = append(stores, newStore(t, open(t, o), prefix))
		}
		keys := []throttle.Key{{1}, {2}, {3}, {4}}
		var longest atomic.Int64
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for range rounds {
					began := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					if err := stores[g%processes].UpdateCounters(ctx, keys, count); err != nil {
						t.Error(err)
					}
					cancel()
					for took := int64(time.Since(began)); ; {
						if was := longest.Load(); took <= was || longest.CompareAndSwap(was, took) {
							break
						}
					}
				}
			})
		}
		began := time.Now()
		wg.Wait()
		t.Logf("%d updates in %v, the longest in %v", goroutines*rounds, time.Since(began), time.Duration(longest.Load()))
		var got []throttle.Counter
		if err := stores[0].UpdateCounters(t.Context(), keys, func(c []throttle.Counter) { got = slices.Clone(c) }); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i].Failures != goroutines*rounds {
				t.Errorf("counter %d has %d failures, want %d", i, got[i].Failures, goroutines*rounds)
			}
		}
	})
}

// Redis keeps a counter as long as the counter affects a limit, even if the
// clocks differ. The zero counter is not stored.
func TestCountersExpire(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	key := throttle.Key{1}
	const day = 24 * time.Hour
	set := func(c throttle.Counter) {
		t.Helper()
		if err := s.UpdateCounters(t.Context(), []throttle.Key{key, {2}}, func(all []throttle.Counter) { all[0] = c }); err != nil {
			t.Fatal(err)
		}
	}
	for _, clock := range []time.Duration{0, -1000 * day, 1000 * day} {
		now := time.Now().Add(clock).UnixMilli()
		for _, test := range []struct {
			counter throttle.Counter
			want    time.Duration
		}{
			{throttle.Counter{Pending: 1, PendingAt: now}, time.Minute},
			{throttle.Counter{SucceededAt: now}, 30 * day},
			{throttle.Counter{SucceededAt: now, Pending: 1, PendingAt: now}, 30 * day},
			{throttle.Counter{Failures: 1, FailedAt: now, SucceededAt: now - 1000}, 100 * day},
		} {
			set(test.counter)
			ms, err := client.Do(t.Context(), client.B().Pttl().Key(counterName(prefix, key)).Build()).AsInt64()
			if err != nil {
				t.Fatal(err)
			}
			if got := time.Duration(ms) * time.Millisecond; got > test.want || got < test.want-30*time.Second {
				t.Errorf("%+v stays for %v, want %v", test.counter, got, test.want)
			}
		}
	}
	if names := keys(t, client, "{"+prefix); len(names) != 1 {
		t.Errorf("the keys of counters are %v, want one", names)
	}
	set(throttle.Counter{})
	if names := keys(t, client, "{"+prefix); len(names) != 0 {
		t.Errorf("the keys of counters are %v, want none", names)
	}
}

// UpdateCounters returns an error for a value that it cannot decode, and does not
// overwrite the value.
func TestCorruptCounterIsAnErrorAndStays(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	name := counterName(prefix, throttle.Key{1})
	for _, value := range []string{"", "\x01", "\x02\x02\x02\x02\x02\x02", "\x01\x02\x02\x02\x02\x02\x02", "\x01\x00\x00\x00\x00\x00", "text"} {
		if err := client.Do(t.Context(), client.B().Set().Key(name).Value(value).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		err := s.UpdateCounters(t.Context(), []throttle.Key{{2}, {1}}, count)
		if err == nil || !strings.HasPrefix(err.Error(), "redisstore: a counter") {
			t.Errorf("UpdateCounters with the value %q returns error %v, want one about a counter", value, err)
		}
		if now, err := client.Do(t.Context(), client.B().Get().Key(name).Build()).ToString(); now != value || err != nil {
			t.Errorf("the value %q has changed to %q, error %v", value, now, err)
		}
	}
}

// The feed does not report changes of counters.
func TestCountersDoNotInvalidateTheCache(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		prefix := newPrefix(t, client)
		auth := cached(t, o, prefix, tokenauth.Options{})
		s := newStore(t, client, prefix)
		before := auth.CacheStats().Flushes
		for n := range 100 {
			if err := s.UpdateCounters(t.Context(), []throttle.Key{{1}, {2}, {3, byte(n)}}, count); err != nil {
				t.Fatal(err)
			}
		}
		// Changes of users on the same server arrive later. Once they have
		// arrived, a report of the counters would have arrived too.
		for i := range 20 {
			accessToken := issue(t, auth, fmt.Sprint("user", i), "")
			intoCache(t, auth, accessToken)
			if err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf(fmt.Sprint("user", i))); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the token is refused", func() bool { return refused(t, auth, accessToken) })
		}
		if flushes := auth.CacheStats().Flushes - before; flushes > 0 {
			t.Errorf("the cache was flushed %d times, want 0", flushes)
		}
	})
}

// asked is an Authenticator that rejects all passwords, and counts its calls.
type asked struct{ atomic.Int64 }

func (a *asked) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	a.Add(1)
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// replicas returns n services that count failures together in Redis, each with a
// client of its own.
func replicas(t *testing.T, n int, o rueidis.ClientOption, prefix string, a *asked) (all []*tokenauth.Service) {
	t.Helper()
	now := time.Now() // the clock stands still, so that no throttling ends during the test
	for range n {
		auth, err := tokenauth.New(newStore(t, open(t, o), prefix), a, &tokenauth.Options{
			Logger: slog.New(slog.DiscardHandler), Timeout: 5 * time.Second, Now: func() time.Time { return now },
			Throttle: tokenauth.ThrottleOptions{
				Key: tokenauth.NewSecret("the same thirty-two bytes or more on all replicas"), PerAccountAndSource: 6, Replicas: n,
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, auth)
	}
	return all
}

// guess makes n concurrent sign-ins with wrong passwords. It returns how many
// were throttled, and how many failed with ErrUnavailable.
func guess(t *testing.T, user string, n int, replicas []*tokenauth.Service) (throttled, unavailable int64) {
	t.Helper()
	var wg sync.WaitGroup
	var count, failed atomic.Int64
	for i := range n {
		wg.Go(func() {
			_, err := replicas[i%len(replicas)].SignIn(t.Context(), tokenauth.Credentials{
				UserName: user, Password: tokenauth.NewSecret(fmt.Sprint("guess", i)), RemoteAddr: netip.MustParseAddr("2001:db8::1"),
			})
			switch {
			case errors.Is(err, tokenauth.ErrThrottled):
				count.Add(1)
			case errors.Is(err, tokenauth.ErrUnavailable):
				failed.Add(1)
			case !errors.Is(err, tokenauth.ErrRejected):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	return count.Load(), failed.Load()
}

// Replicas that count together allow the same number of guesses as one replica.
func TestReplicasThrottleTogether(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		var a asked
		replicas := replicas(t, 3, o, newPrefix(t, open(t, o)), &a)
		if throttled, _ := guess(t, "alice", 30, replicas); a.Load() != 6 || throttled != 24 {
			t.Errorf("of 30 guesses, %d were checked and %d throttled, want 6 and 24", a.Load(), throttled)
		}
	})
}

// While the server is down, each replica counts alone and allows its share of the
// guesses. When the server is back, they count together again.
func TestReplicasThrottleAloneWithoutTheServer(t *testing.T) {
	t.Parallel()
	server := throwaway.StartRedis(t)
	var a asked
	replicas := replicas(t, 3, option(t, server.DSN()), "", &a)
	if throttled, _ := guess(t, "alice", 30, replicas); a.Load() != 6 || throttled != 24 {
		t.Errorf("of 30 guesses, %d were checked and %d throttled, want 6 and 24", a.Load(), throttled)
	}
	server.Stop(t)
	a.Store(0)
	// Some sign-ins may fail with ErrUnavailable until their replica has detected
	// that the server is down.
	if throttled, unavailable := guess(t, "bob", 30, replicas); a.Load() > 6 || a.Load()+throttled+unavailable != 30 {
		t.Errorf("without the server, of 30 guesses %d were checked, %d throttled and %d unavailable, want at most 6 checked", a.Load(), throttled, unavailable)
	}
	server.Start(t)
	s := newStore(t, open(t, option(t, server.DSN())), "")
	eventually(t, "the server counts", func() bool { return s.UpdateCounters(t.Context(), []throttle.Key{{}}, count) == nil })
	a.Store(0)
	if throttled, _ := guess(t, "alice", 30, replicas); a.Load() != 0 || throttled != 30 {
		t.Errorf("with the server back, of 30 guesses %d were checked and %d throttled, want 0 and 30", a.Load(), throttled)
	}
}
