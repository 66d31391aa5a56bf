package tokenauth_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A slowUsers is an Authenticator that counts its calls, of which each would
// hash a password. The password is "right", and a call takes a second.
type slowUsers struct {
	hashed atomic.Int64
	err    error
}

func (g *slowUsers) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	g.hashed.Add(1)
	time.Sleep(time.Second)
	switch {
	case g.err != nil:
		return tokenauth.Principal{}, g.err
	case c.Password.Reveal() == "panic":
		panic("a bug in the host's code")
	case c.Password.Reveal() == "right":
		return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName}, nil
	}
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// A throttleTest is a Service with a throttle, in a synctest bubble.
type throttleTest struct {
	*testing.T
	*slowUsers
	auth    *tokenauth.Service
	guesses atomic.Int64
}

func testThrottle(t *testing.T, o tokenauth.Options, test func(d *throttleTest)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &throttleTest{T: t, slowUsers: new(slowUsers)}
		d.auth = newService(t, new(memory.Store), d.slowUsers, &o)
		test(d)
	})
}

// try signs in and returns "in", "rejected", "unavailable" or the time to wait.
// Each attempt with "wrong" uses a different password, because a repetition
// would not count.
func (d *throttleTest) try(userName, password, from string) string {
	if password == "wrong" {
		password = fmt.Sprint("wrong", d.guesses.Add(1))
	}
	addr, _ := netip.ParseAddr(from) // the zero Addr for ""
	_, err := d.auth.SignIn(d.Context(), tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(password), RemoteAddr: addr})
	var throttled *tokenauth.ThrottledError
	switch {
	case err == nil:
		return "in"
	case errors.As(err, &throttled):
		if !errors.Is(err, tokenauth.ErrThrottled) || errors.Is(err, tokenauth.ErrRejected) || errors.Is(err, tokenauth.ErrUnavailable) {
			d.Errorf("a ThrottledError that matches another sentinel, or not ErrThrottled: %v", err)
		}
		return throttled.RetryAfter.String()
	}
	return reason(err)
}

func (d *throttleTest) expect(userName, password, from, want string) {
	d.Helper()
	if got := d.try(userName, password, from); got != want {
		d.Errorf("sign-in of %s with %s from %s: %s, want %s", userName, password, from, got, want)
	}
}

// fail makes the given number of failed sign-ins, waiting as long as required.
func (d *throttleTest) fail(userName, from string, times int) {
	d.Helper()
	for range times {
		for {
			got := d.try(userName, "wrong", from)
			if got == "rejected" {
				break
			}
			wait, err := time.ParseDuration(got)
			if err != nil {
				d.Fatalf("failing sign-in of %s from %s: %s", userName, from, got)
			}
			time.Sleep(wait)
		}
	}
}

const here, there = "192.0.2.1", "198.51.100.1"

func TestThrottleLimitsAnAccountFromOneSource(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		for range 5 {
			d.expect("alice", "wrong", here, "rejected")
		}
		hashed := d.hashed.Load()
		// The wait began when the last attempt failed, a second ago.
		for range 3 {
			d.expect("alice", "wrong", here, "1s")
			d.expect("alice", "right", here, "1s")
			d.expect("ALICE", "right", here, "1s")
		}
		if n := d.hashed.Load(); n != hashed {
			d.Errorf("%d passwords were hashed while throttled, want 0", n-hashed)
		}
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
			time.Sleep(wait*time.Second - time.Millisecond)
			d.expect("alice", "right", here, "1ms")
			time.Sleep(time.Millisecond)
			d.expect("alice", "wrong", here, "rejected")
		}
		d.expect("alice", "wrong", there, "rejected") // another source
		d.expect("bob", "right", here, "in")          // another account
		time.Sleep(15 * time.Minute)
		d.expect("alice", "right", here, "in")
		for range 5 {
			d.expect("alice", "wrong", here, "rejected")
		}
	})
}

// A day without failures resets the counters.
func TestFailuresExpireAfterADay(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		d.fail("alice", here, 7)
		time.Sleep(24 * time.Hour)
		for range 5 {
			d.expect("alice", "wrong", here, "rejected")
		}
		d.expect("alice", "wrong", here, "1s")
	})
}

// Of very many concurrent wrong guesses, only the free failures are hashed.
// Right passwords all succeed.
func TestConcurrentGuessesAreLimited(t *testing.T) {
	for name, test := range map[string]struct {
		password string
		want     map[string]int
		hashed   int64
	}{
		"wrong": {"wrong", map[string]int{"rejected": 5, "1s": 995}, 5},
		"right": {"right", map[string]int{"in": 1000}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
				var mu sync.Mutex
				got := make(map[string]int)
				var wg sync.WaitGroup
				for range 1000 {
					wg.Go(func() {
						outcome := d.try("alice", test.password, here)
						mu.Lock()
						defer mu.Unlock()
						got[outcome]++
					})
				}
				wg.Wait()
				if fmt.Sprint(got) != fmt.Sprint(test.want) || d.hashed.Load() != test.hashed {
					d.Errorf("the results are %v with %d hashes, want %v with %d", got, d.hashed.Load(), test.want, test.hashed)
				}
			})
		})
	}
}

func TestThrottleLimitsAnAccountFromAllSources(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		d.expect("alice", "right", here, "in") // a known source
		source := 0
		elsewhere := func() string { source++; return fmt.Sprintf("203.0.113.%d", source) }
		for range 20 {
			d.expect("alice", "wrong", elsewhere(), "rejected")
		}
		d.expect("alice", "right", elsewhere(), "1s")
		d.expect("alice", "right", here, "in") // also resets the account's failures in a row
		for range 20 {
			d.expect("alice", "wrong", elsewhere(), "rejected")
		}
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600} {
			d.expect("alice", "right", elsewhere(), (wait * time.Second).String())
			time.Sleep(wait * time.Second)
			d.expect("alice", "wrong", elsewhere(), "rejected")
		}
	})
}

// After 100 failures in a row, over any number of sources and days, only
// sources from which the user recently signed in may try.
func TestAccountCeilingAdmitsOnlyKnownSources(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		d.expect("alice", "right", here, "in")
		for i := range 100 {
			d.fail("alice", fmt.Sprintf("203.0.%d.1", i), 1)
			time.Sleep(20 * time.Hour)
			if i%20 == 0 {
				// Bob's success does not reset the failures of alice.
				d.expect("bob", "right", here, "in")
			}
		}
		time.Sleep(48 * time.Hour)
		d.expect("alice", "right", there, "1h0m0s")
		d.expect("alice", "right", here, "1h0m0s") // the success was 85 days ago
		if err := d.auth.Unthrottle(d.Context(), "17", "alice"); err != nil {
			d.Fatal(err)
		}
		d.expect("alice", "right", there, "in")
	})
}

// The owner signs in from a known source during an attack from ten thousand
// addresses, each time at once.
func TestOwnerSignsInDuringAnAttack(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		d.expect("alice", "right", here, "in")
		for i := range 10_000 {
			d.try("alice", "wrong", fmt.Sprintf("10.%d.%d.1", i/256, i%256))
			if i%100 == 0 {
				d.expect("alice", "right", here, "in")
			}
		}
		// The owner's own wrong passwords still count for the source.
		d.fail("alice", here, 5)
		d.expect("alice", "right", here, "1s")
	})
}

// Addresses that one customer typically has count as one source.
func TestThrottleCountsPrefixesAsOneSource(t *testing.T) {
	t.Run("64", func(t *testing.T) {
		testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
			for i := range 5 {
				d.expect("alice", "wrong", fmt.Sprintf("2001:db8:1:1::%x", i), "rejected")
			}
			d.expect("alice", "right", "2001:db8:1:1:ffff::1", "1s")
			d.expect("alice", "right", "2001:db8:1:2::1", "in")
		})
	})
	t.Run("48", func(t *testing.T) {
		testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
			for i := range 1000 {
				d.expect(fmt.Sprint("user", i), "wrong", fmt.Sprintf("2001:db8:1:%x::1", i), "rejected")
			}
			d.expect("alice", "right", "2001:db8:1:ffff::1", "1s")
			d.expect("alice", "right", "2001:db8:2:1::1", "in")
		})
	})
	t.Run("32", func(t *testing.T) {
		testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
			for i := range 100 {
				d.expect(fmt.Sprint("user", i), "wrong", here, "rejected")
			}
			d.expect("alice", "right", here, "1s")
			d.expect("alice", "right", "192.0.2.2", "in")
			time.Sleep(time.Hour)
			d.expect("alice", "right", here, "in")
		})
	})
	// A success of another account does not reset the failures of the source.
	t.Run("interleaved", func(t *testing.T) {
		testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
			for i := range 100 {
				d.expect(fmt.Sprint("user", i), "wrong", here, "rejected")
				if i%10 == 0 {
					d.expect("mallory", "right", here, "in")
				}
			}
			d.expect("alice", "right", here, "1s")
		})
	})
	for name, spellings := range map[string][]string{
		"IPv4":    {here, "::ffff:192.0.2.1", "::ffff:c000:201"},
		"zone":    {"fe80::1%eth0", "fe80::2%eth1", "FE80:0:0:0::3"},
		"unknown": {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
				for i := range 5 {
					d.expect("alice", "wrong", spellings[i%3], "rejected")
				}
				for _, spelling := range spellings {
					d.expect("alice", "right", spelling, "1s")
				}
			})
		})
	}
}

// A success resets the failures of the account at that source, and no others.
func TestSuccessResetsOnlyItsOwnFailures(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		d.fail("alice", here, 4)
		d.fail("alice", there, 5)
		d.expect("alice", "right", here, "in")
		for range 5 {
			d.expect("alice", "wrong", here, "rejected")
		}
		d.fail("bob", here, 5)
		d.expect("bob", "right", here, "1s")
	})
}

// Errors and panics of the Authenticator do not count as failures.
func TestErrorsAndPanicsCountAsNoFailure(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		d.err = errors.New("the directory is down")
		for range 20 {
			d.expect("alice", "wrong", here, "unavailable")
		}
		d.err = nil
		for range 20 {
			func() {
				defer func() {
					if recover() == nil {
						d.Error("no panic")
					}
				}()
				d.try("alice", "panic", here)
			}()
		}
		for range 5 {
			d.expect("alice", "wrong", here, "rejected")
		}
	})
}

// A sign-in waits while five others, the number of free failures, are in
// progress. It stops waiting when its client leaves.
func TestWaitingSignInEndsWithItsClient(t *testing.T) {
	testThrottle(t, tokenauth.Options{}, func(d *throttleTest) {
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { d.expect("alice", "right", here, "in") })
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(d.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := d.auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("right"), RemoteAddr: netip.MustParseAddr(here)})
		if !errors.Is(err, tokenauth.ErrUnavailable) || time.Since(began) != 100*time.Millisecond {
			d.Errorf("after %v: error %v, want ErrUnavailable after 100ms", time.Since(began), err)
		}
		wg.Wait()
		if n := d.hashed.Load(); n != 5 {
			d.Errorf("%d passwords were hashed, want 5", n)
		}
	})
}

// A wall clock that is set back does not make a wait longer.
func TestClockSetBackLengthensNoWait(t *testing.T) {
	now := time.Date(2026, 3, 29, 1, 59, 59, 0, time.UTC)
	testThrottle(t, tokenauth.Options{Now: func() time.Time { return now }}, func(d *throttleTest) {
		for range 8 {
			d.expect("alice", "wrong", here, "rejected")
			now = now.Add(time.Minute)
		}
		now = now.Add(-10 * time.Hour)
		d.expect("alice", "right", here, "8s")
		now = now.Add(10*time.Hour + 8*time.Second)
		d.expect("alice", "right", here, "in")
	})
}

func TestInsecureOffThrottlesNothing(t *testing.T) {
	testThrottle(t, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{InsecureOff: true}}, func(d *throttleTest) {
		for range 100 {
			d.expect("alice", "wrong", here, "rejected")
		}
	})
}

func TestThrottleUsesTheHostsLimits(t *testing.T) {
	testThrottle(t, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{PerAccountAndSource: 2, PerAccount: 3, AccountCeiling: 4, PerSource: 6}}, func(d *throttleTest) {
		d.fail("alice", here, 2)
		d.expect("alice", "wrong", here, "1s")
		d.expect("alice", "wrong", there, "rejected")
		d.expect("alice", "wrong", "203.0.113.1", "1s")
		time.Sleep(time.Second)
		d.expect("alice", "wrong", "203.0.113.2", "rejected")
		time.Sleep(time.Hour)
		d.expect("alice", "right", "203.0.113.3", "1h0m0s")
	})
}

// Attempts at any number of names take a bounded part of the memory. They evict
// neither counters with more failures nor known sources, and do not throttle
// new users.
func TestThrottleMemoryIsBounded(t *testing.T) {
	testThrottle(t, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{MaxCounters: 1000}}, func(d *throttleTest) {
		d.expect("owner", "right", here, "in")
		d.fail("alice", here, 6)
		for i := range 20_000 {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], 0x0b000000+uint32(i))
			d.expect(fmt.Sprint("user", i), "wrong", netip.AddrFrom4(b).String(), "rejected")
		}
		if n := tokenauth.LocalCounters(d.auth); n > 2*1000 {
			d.Errorf("%d counters are kept, want at most 2000", n)
		}
		d.expect("owner", "right", here, "in")
		// Hours later the failures of alice are still counted.
		d.expect("alice", "wrong", here, "rejected")
		d.expect("alice", "right", here, "4s")
		d.expect("newcomer", "right", "172.16.0.1", "in")
		hashed := d.hashed.Load()
		for range 1000 {
			d.try("victim", "wrong", "172.16.0.1")
		}
		if n := d.hashed.Load() - hashed; n > 10 {
			d.Errorf("%d of 1000 guesses were hashed, want at most 10", n)
		}
	})
}

// A table that is full of failures from other networks does not block a user
// with the right password and an address of its own, neither at once nor half a
// day later.
func TestFullTableDoesNotBlockNewUsers(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)
	users := people{}
	auth := newService(t, new(memory.Store), users, &tokenauth.Options{
		Now:      func() time.Time { return now },
		Throttle: tokenauth.ThrottleOptions{MaxCounters: 20_000},
	})
	try := func(userName, password, from string) error {
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr(from)})
		return err
	}
	refused := 0
	for i := range 20_000 { // from 120 customers' networks
		if errors.Is(try(fmt.Sprint("made-up", i), "wrong", fmt.Sprintf("2001:db8:%x:%x::1", i%120, i/120)), tokenauth.ErrThrottled) {
			refused++
		}
	}
	for _, pause := range []time.Duration{0, time.Second, 12 * time.Hour} {
		now = now.Add(pause)
		for i := range 300 {
			if err := try("alice", "correct horse", fmt.Sprintf("2001:db8:ffff:%x::1", i)); err != nil {
				t.Fatalf("after %v, with %d guesses throttled: error %v", pause, refused, err)
			}
		}
	}
}

// Successful sign-ins do not fill the table of counters.
func TestSuccessfulSignInsFillNoTable(t *testing.T) {
	testThrottle(t, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{MaxCounters: 1000}}, func(d *throttleTest) {
		for range 3 {
			outcomes := atOnce(1000, func(i int) string {
				return d.try(fmt.Sprint("user", i), "right", fmt.Sprintf("198.51.%d.%d", i/256, i%256))
			})
			if outcomes["in"] != 1000 {
				d.Errorf("the results are %v, want 1000 in", outcomes)
			}
		}
	})
}

func TestNewRefusesThrottleOptionsOutOfRange(t *testing.T) {
	t.Parallel()
	for field, o := range map[string]tokenauth.ThrottleOptions{
		"PerAccountAndSource": {PerAccountAndSource: -1},
		"PerAccount":          {PerAccount: 1001},
		"AccountCeiling":      {AccountCeiling: 19},
		"PerSource":           {PerSource: 100_001},
		"MaxCounters":         {MaxCounters: 999},
		"Replicas":            {Replicas: 1001},
		"Throttle.Key":        {Key: tokenauth.NewSecret(strings.Repeat("k", 31))},
		"throttle.Storage":    {Key: tokenauth.NewSecret(strings.Repeat("k", 32))},
	} {
		noCounter := struct{ tokenauth.Storage }{new(memory.Store)}
		if _, err := tokenauth.New(noCounter, new(staff), &tokenauth.Options{Throttle: o}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: error %v, want one that names the field", o, err)
		}
	}
}

// countersThatPanic is a throttle.Storage in memory. Each call decrements
// turns, and panics when that reaches zero.
type countersThatPanic struct {
	memory.Store
	mu       sync.Mutex
	counters map[throttle.Key]throttle.Counter
	turns    int // 0 or less: no panic
}

func (c *countersThatPanic) panicAfter(turns int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turns = turns
}

func (c *countersThatPanic) UpdateCounters(_ context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turns--; c.turns == 0 {
		panic("a bug in the host's storage")
	}
	counters := make([]throttle.Counter, len(keys))
	for i, key := range keys {
		counters[i] = c.counters[key]
	}
	change(counters)
	if c.counters == nil {
		c.counters = make(map[throttle.Key]throttle.Counter)
	}
	for i, key := range keys {
		c.counters[key] = counters[i]
	}
	return nil
}

// A panic of the storage does not block later sign-ins: neither those that wait
// for another replica, nor those that wait for the sign-in that panicked.
func TestThrottleSurvivesAPanicOfTheStorage(t *testing.T) {
	t.Parallel()
	attempt := func(t *testing.T, auth *tokenauth.Service, password string) (got string) {
		defer func() {
			if recover() != nil {
				got = "panic"
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr(here)})
		return reason(err)
	}
	options := &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{PerAccountAndSource: 1, Key: tokenauth.NewSecret(strings.Repeat("k", 32))}}

	t.Run("at the end of a sign-in", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			storage := new(countersThatPanic)
			one, other := newService(t, storage, new(slowUsers), options), newService(t, storage, new(slowUsers), options)
			storage.panicAfter(2)
			if got := attempt(t, one, "right"); got != "panic" {
				t.Fatalf("the sign-in: %s, want panic", got)
			}
			time.Sleep(2 * time.Minute) // until the pending attempt expires
			var elsewhere sync.WaitGroup
			elsewhere.Go(func() { attempt(t, other, "right") })
			synctest.Wait()
			began := time.Now()
			if got := attempt(t, one, "right"); got != "valid" || time.Since(began) > 3*time.Second {
				t.Errorf("the next sign-in at the same replica, while the other replica has one in progress: %s after %v", got, time.Since(began))
			}
			elsewhere.Wait()
		})
	})
	t.Run("when a waiting sign-in starts", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			storage := new(countersThatPanic)
			auth := newService(t, storage, new(slowUsers), options)
			var all sync.WaitGroup
			var first, second, third string
			all.Go(func() { first = attempt(t, auth, "right") })
			synctest.Wait()
			all.Go(func() { second = attempt(t, auth, "right") })
			synctest.Wait()
			began := time.Now()
			all.Go(func() { third = attempt(t, auth, "right") })
			synctest.Wait()
			storage.panicAfter(2) // the calls at the end of the first and the start of the second sign-in
			all.Wait()
			if first != "valid" || second != "panic" || third != "valid" || time.Since(began) > 4*time.Second {
				t.Errorf("the results are %s, %s and %s after %v", first, second, third, time.Since(began))
			}
		})
	})
}
