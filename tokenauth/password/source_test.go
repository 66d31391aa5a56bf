package password_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// hashTime is the duration of a hash in the tests of this file.
const hashTime = 50 * time.Millisecond

// sleepyService returns a Service that hashes one password at a time, in the
// time of a synctest bubble. Each user name has an account, and the name is
// also its password.
func sleepyService(t *testing.T) *tokenauth.Service {
	t.Helper()
	lookup := func(_ context.Context, userName string) (password.Account, error) {
		return password.Account{UserID: userName, UserName: userName, PasswordHash: "sleepy:" + userName}, nil
	}
	sleepy := func(stored string) func(string) bool {
		right := strings.TrimPrefix(stored, "sleepy:")
		return func(text string) bool {
			time.Sleep(hashTime)
			return text == right
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	users, err := password.New(lookup, &password.Options{MaxHashing: 1, Formats: []func(string) func(string) bool{sleepy}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// signInFrom signs in with the right password. It returns how long that took.
func signInFrom(ctx context.Context, auth *tokenauth.Service, userName string, from netip.Addr) (time.Duration, error) {
	began := time.Now()
	_, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(userName), RemoteAddr: from})
	return time.Since(began), err
}

// An attacker with valid accounts signs in all the time, from one address or
// from all addresses of a /64. Each other source waits for one turn per waiting
// source, and not for the whole queue.
func TestOneSourceCannotDelayOthers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		accounts, each int
		from           func(i int) netip.Addr
	}{
		{10, 30, func(int) netip.Addr { return netip.MustParseAddr("192.0.2.1") }},
		{60, 6, func(int) netip.Addr { return netip.MustParseAddr("192.0.2.1") }},
		{60, 6, func(int) netip.Addr { return netip.Addr{} }},
		{60, 6, func(i int) netip.Addr {
			return netip.MustParseAddr(fmt.Sprintf("2001:db8:1:%x::1", i))
		}},
	} {
		t.Run(fmt.Sprintf("%d accounts from %v", test.accounts, test.from(1)), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				auth := sleepyService(t)
				attack, end := context.WithCancel(t.Context())
				var attackers, others sync.WaitGroup
				for i := range test.accounts * test.each {
					attackers.Go(func() {
						for attack.Err() == nil {
							if _, err := signInFrom(attack, auth, fmt.Sprint("mallory", i%test.accounts), test.from(i)); err != nil {
								time.Sleep(4 * hashTime)
							}
						}
					})
				}
				time.Sleep(3 * time.Second)

				// Usually one at a time, but five at once each second.
				const most = 5
				for second := range 6 {
					for i := range most {
						others.Go(func() {
							from := netip.AddrFrom4([4]byte{198, 51, byte(second), byte(i)})
							took, err := signInFrom(t.Context(), auth, fmt.Sprint("alice", second, i), from)
							// A hash is in progress. Then the attacker and each other source have a turn.
							if err != nil || took > (1+1+most)*hashTime {
								t.Errorf("sign-in %d in second %d: got error %v after %v", i, second, err, took)
							}
						})
					}
					time.Sleep(600 * time.Millisecond)
					took, err := signInFrom(t.Context(), auth, fmt.Sprint("bob", second), netip.AddrFrom4([4]byte{203, 0, 113, byte(second)}))
					if err != nil || took > 3*hashTime {
						t.Errorf("the only other source: got error %v after %v", err, took)
					}
					time.Sleep(400*time.Millisecond - took)
				}
				others.Wait()
				end()
				attackers.Wait()
			})
		})
	}
}

// Many sources at once share the turns with a source that fills the queue.
func TestManySourcesShareTheTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := sleepyService(t)
		var wg sync.WaitGroup
		crowd := func(n int, prefix string, from func(i int) netip.Addr) (longest *time.Duration, failed *int) {
			longest, failed = new(time.Duration), new(int)
			var mu sync.Mutex
			for i := range n {
				wg.Go(func() {
					took, err := signInFrom(t.Context(), auth, fmt.Sprint(prefix, i), from(i))
					mu.Lock()
					defer mu.Unlock()
					if *longest = max(*longest, took); err != nil {
						*failed++
					}
				})
			}
			synctest.Wait()
			return longest, failed
		}
		_, lost := crowd(257, "mallory", func(int) netip.Addr { return netip.MustParseAddr("192.0.2.1") })
		longest, failed := crowd(200, "alice", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}) })
		wg.Wait()
		if *failed != 0 || *longest > 202*hashTime {
			t.Errorf("%d of 200 sign-ins failed, and the longest took %v", *failed, *longest)
		}
		if *lost != 200 {
			t.Errorf("the source that filled the queue lost %d places to 200 other sources", *lost)
		}
	})
}

// Users who share one address may use the whole queue while no other source
// waits.
func TestSharedAddressUsesAllOfTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		auth := sleepyService(t)
		var wg sync.WaitGroup
		for i := range 250 {
			wg.Go(func() {
				took, err := signInFrom(t.Context(), auth, fmt.Sprint("alice", i), netip.MustParseAddr("192.0.2.1"))
				if err != nil || took > 250*hashTime {
					t.Errorf("sign-in %d: got error %v after %v", i, err, took)
				}
			})
		}
		wg.Wait()
	})
}

// A source cannot fill the gate by slow look-ups, either.
func TestSlowLookupsOfOneSourceLeaveRoomForOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		lookup := func(ctx context.Context, userName string) (password.Account, error) {
			if strings.HasPrefix(userName, "mallory") {
				<-ctx.Done()
				return password.Account{}, ctx.Err()
			}
			return password.Account{}, tokenauth.ErrNotFound
		}
		users, err := password.New(lookup, &password.Options{MaxHashing: 1, MaxWaiting: 31, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		signIn := func(userName, from string) error {
			_, err := users.Authenticate(t.Context(), tokenauth.Credentials{UserName: userName, RemoteAddr: netip.MustParseAddr(from)})
			return err
		}
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() { signIn("mallory", "192.0.2.1") })
		}
		synctest.Wait()
		if err := signIn("mallory", "192.0.2.1"); !errors.Is(err, tokenauth.ErrBusy) {
			t.Errorf("sign-in beyond the limit: got error %v", err)
		}
		if err := signIn("alice", "198.51.100.1"); !errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("another source: got error %v", err)
		}
		wg.Wait()
	})
}
