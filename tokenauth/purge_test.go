package tokenauth_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// clocked is a storage with its own clock.
type clocked struct {
	memory.Store
	ahead  time.Duration // ahead of the clock of the process
	broken atomic.Bool
	purges atomic.Int64
}

func (s *clocked) Now(ctx context.Context) (time.Time, error) {
	if s.broken.Load() {
		return time.Time{}, errors.New("connection refused")
	}
	return time.Now().Add(s.ahead), ctx.Err()
}

func (s *clocked) Purge(ctx context.Context, before time.Time) (int64, error) {
	s.purges.Add(1)
	return s.Store.Purge(ctx, before)
}

// Purge uses the earlier of the two clocks. Run does not purge while they
// differ by more than a few minutes, and logs that.
func TestPurgeUsesTheEarlierClock(t *testing.T) {
	t.Parallel()
	const years = 10 * 365 * 24 * time.Hour
	for _, test := range []struct {
		name             string
		process, storage time.Duration // how far each clock is ahead
		runs             bool          // whether Run purges
	}{
		{"the same", 0, 0, true},
		{"a little apart", 4 * time.Minute, 0, true},
		{"a little apart the other way", 0, 4 * time.Minute, true},
		{"the process is ahead", years, 0, false},
		{"the storage is ahead", 0, years, false},
		{"the process is behind", 0, 6 * time.Minute, false},
		{"the process is slightly ahead", 6 * time.Minute, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				storage := &clocked{ahead: test.storage}
				good := newService(t, storage, &staff{}, nil)
				expired := issue(t, good, bob(), "")
				time.Sleep(16 * 24 * time.Hour)
				live := issue(t, good, alice(), "")

				logger, printed := logInto()
				auth := newService(t, storage, &staff{}, &tokenauth.Options{Logger: logger, Now: func() time.Time { return time.Now().Add(test.process) }})
				ctx, cancel := context.WithCancel(t.Context())
				go auth.Run(ctx)
				time.Sleep(90 * time.Minute) // enough for two purges
				cancel()
				synctest.Wait()
				if want := map[bool]int64{true: 2}[test.runs]; storage.purges.Load() != want {
					t.Errorf("Run purged %d times, want %d", storage.purges.Load(), want)
				}
				if n := strings.Count(printed.String(), "level=ERROR"); (n == 0) != test.runs || n > 0 && !strings.Contains(printed.String(), "clock") {
					t.Errorf("logged an error about the clocks, or did not: %s", printed)
				}
				if _, err := auth.Purge(t.Context()); err != nil {
					t.Error(err)
				}
				expect(t, good, live, "valid")
				expect(t, good, expired, "invalid") // the expired token was purged
			})
		})
	}
}

// If the storage cannot return its time, nothing is purged.
func TestPurgeNeedsTheStoragesClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(clocked)
		storage.broken.Store(true)
		logger, printed := logInto()
		auth := newService(t, storage, &staff{}, &tokenauth.Options{Logger: logger})
		if _, err := auth.Purge(t.Context()); !errors.Is(err, tokenauth.ErrUnavailable) || storage.purges.Load() != 0 {
			t.Errorf("%d purges, error %v; want 0 and ErrUnavailable", storage.purges.Load(), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go auth.Run(ctx)
		synctest.Wait()
		storage.broken.Store(false)
		time.Sleep(90 * time.Minute) // enough for one more purge
		cancel()
		synctest.Wait()
		if strings.Count(printed.String(), "purge failed") != 1 || storage.purges.Load() != 1 {
			t.Errorf("%d purges, want 1; want one failure in the log: %s", storage.purges.Load(), printed)
		}
	})
}

// If no one purges, the log warns once that Run was not called. It does so when
// a token is stored or found expired, after the time in which Run would have
// purged.
func TestWarnsIfNothingPurges(t *testing.T) {
	t.Parallel()
	const missed = "because Service.Run was not called"
	for _, test := range []struct {
		name    string
		storage tokenauth.Storage
		options tokenauth.Options
		purge   bool // the host calls Purge itself
		wait    time.Duration
		warned  bool
	}{
		{"a short test", new(memory.Store), tokenauth.Options{}, false, time.Hour - 1, false},
		{"a long time", new(memory.Store), tokenauth.Options{}, false, time.Hour, true},
		{"expired tokens", new(memory.Store), tokenauth.Options{}, false, 16 * 24 * time.Hour, true},
		{"a short interval", new(memory.Store), tokenauth.Options{PurgeInterval: time.Second}, false, 30 * time.Second, true},
		{"a host that purges", new(memory.Store), tokenauth.Options{}, true, 16 * 24 * time.Hour, false},
		{"a storage without Purge", struct{ tokenauth.Storage }{new(memory.Store)}, tokenauth.Options{}, false, 16 * 24 * time.Hour, false},
	} {
		for _, how := range []string{"stored", "expired"} {
			synctest.Test(t, func(t *testing.T) {
				logger, printed := logInto()
				test.options.Logger = logger
				test.options.Lifetime = time.Minute
				auth := newService(t, test.storage, &staff{}, &test.options)
				first := issue(t, auth, alice(), "")
				printed.Reset()
				if test.purge {
					if _, err := auth.Purge(t.Context()); err != nil {
						t.Error(err)
					}
				}
				time.Sleep(test.wait)
				for range 3 {
					if how == "stored" {
						issue(t, auth, bob(), "")
					} else if test.wait >= time.Minute {
						expect(t, auth, first, "invalid expired")
					} else {
						return
					}
				}
				if n := strings.Count(printed.String(), missed); n != map[bool]int{true: 1}[test.warned] {
					t.Errorf("%s, %s: the warning was logged %d times: %s", test.name, how, n, printed)
				}
			})
		}
	}
}

// One log record lists everything that does not happen without Run.
func TestMissingRunIsLoggedInOneRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		logger, printed := logInto()
		auth := newService(t, new(memory.Store), new(outbox), &tokenauth.Options{Cache: new(tokenauth.CacheOptions), Logger: logger})
		accessToken := issue(t, auth, alice(), "")
		time.Sleep(time.Hour)
		printed.Reset()
		for range 2 {
			expect(t, auth, accessToken, "valid")
			accessToken = issue(t, auth, alice(), "")
		}
		if n := strings.Count(printed.String(), "level=WARN"); n != 1 {
			t.Errorf("%d warnings, want 1: %s", n, printed)
		}
		for _, undone := range []string{"the cache is not used", "a change of a user or a client", "expired tokens"} {
			if !strings.Contains(printed.String(), undone) {
				t.Errorf("the warning lacks %q: %s", undone, printed)
			}
		}
	})
}

// A replica whose clock is wrong does not end other replicas' tokens as idle.
func TestWrongClockEndsNoIdleTokens(t *testing.T) {
	t.Parallel()
	for _, purges := range []bool{true, false} {
		for _, ahead := range []time.Duration{72 * time.Hour, 0} {
			synctest.Test(t, func(t *testing.T) { wrongClockEndsNoIdleTokens(t, purges, ahead) })
		}
	}
}

// expiring is a storage with a clock that removes expired tokens by itself.
type expiring struct {
	tokenauth.Storage
	tokenauth.UseRecorder
	clock interface {
		Now(context.Context) (time.Time, error)
	}
}

func (e *expiring) Now(ctx context.Context) (time.Time, error) { return e.clock.Now(ctx) }

func wrongClockEndsNoIdleTokens(t *testing.T, purges bool, ahead time.Duration) {
	all := new(clocked)
	var storage tokenauth.Storage = all
	if !purges {
		storage = &expiring{all, all, all}
	}
	o := &tokenauth.Options{IdleTimeout: 2 * time.Hour, Now: time.Now}
	good := newService(t, storage, anyoneIsAlice{}, o)
	issued := signInOn(t, good, "", "")
	if ahead == 0 {
		time.Sleep(72 * time.Hour) // the token is idle by all clocks
	}
	o.Now = func() time.Time { return time.Now().Add(ahead) }
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { newService(t, storage, anyoneIsAlice{}, o).Run(ctx) })
	synctest.Wait()
	stop()
	wg.Wait()
	if valid := isValid(t, good, issued); valid != (ahead > 0) {
		t.Errorf("a clock that is %v ahead: the token is valid: %t", ahead, valid)
	}
}
