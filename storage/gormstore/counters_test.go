package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Purge removes counters that no longer affect a limit.
func TestPurgeRemovesExpiredCounters(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		now := time.Now().UnixMilli()
		want := []throttle.Counter{
			{Failures: 3, FailedAt: now},
			{Failures: 9, FailedAt: now - (101 * 24 * time.Hour).Milliseconds()},
			{Failures: 150, FailedAt: now - (364 * 24 * time.Hour).Milliseconds()},
			{Failures: 100, FailedAt: now - (364 * 24 * time.Hour).Milliseconds()},
		}
		keys := []throttle.Key{{1}, {2}, {5, 1}, {5, 2}}
		if err := s.UpdateCounters(t.Context(), keys, func(c []throttle.Counter) { copy(c, want) }); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Purge(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		var got []throttle.Counter
		if err := s.UpdateCounters(t.Context(), keys, func(c []throttle.Counter) { got = slices.Clone(c) }); err != nil {
			t.Fatal(err)
		}
		if want[1], want[3] = (throttle.Counter{}), (throttle.Counter{}); !slices.Equal(got, want) {
			t.Errorf("the table has the counters %+v, want %+v", got, want)
		}
	})
}

// counted is an Authenticator that counts its calls.
type counted struct{ atomic.Int64 }

func (c *counted) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	c.Add(1)
	time.Sleep(20 * time.Millisecond)
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// Replicas that share counters allow the same number of attempts in all as one replica.
// Without the database, each replica counts for itself and allows its share.
func TestReplicasThrottleTogether(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		var asked counted
		now := time.Now() // the clock stands still, so no throttling ends during the test
		o := tokenauth.Options{Logger: quiet, Timeout: 10 * time.Second, Now: func() time.Time { return now }, Throttle: tokenauth.ThrottleOptions{
			Key: tokenauth.NewSecret("the same thirty-two bytes or more on all replicas"), PerAccountAndSource: 6, Replicas: 3,
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
						UserName: user, Password: tokenauth.NewSecret(fmt.Sprint("guess", i)), RemoteAddr: netip.MustParseAddr("192.0.2.1"),
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
			t.Errorf("%d of 30 guesses reached the Authenticator, %d were throttled", asked.Load(), throttled)
		}
		if err := db.Exec(`DROP TABLE tokenauth_counters`).Error; err != nil {
			t.Fatal(err)
		}
		asked.Store(0)
		if throttled := guess("bob"); asked.Load() != 6 || throttled != 24 {
			t.Errorf("without the storage, %d of 30 guesses reached the Authenticator, %d were throttled", asked.Load(), throttled)
		}
	})
}

// codes is an Authenticator whose users have the password "right" and a one-time
// code. It counts the codes that it verified.
type codes struct{ atomic.Int64 }

func (v *codes) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := c.CountAttempt(ctx, c.UserName); err != nil {
		return tokenauth.Principal{}, err
	}
	c.PasswordMatched()
	code, err := c.Code(ctx, "otp")
	if err != nil {
		return tokenauth.Principal{}, err
	}
	v.Add(1)
	if code.Reveal() != "123456" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName}, nil
}

// Replicas that share counters allow the same number of wrong codes in all as one
// replica, in a row and in a year, and a right code resets only those in a row.
func TestReplicasLimitCodesTogether(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		var verified codes
		var clock atomic.Int64 // nanoseconds since the start
		began := time.Now()
		o := tokenauth.Options{Logger: quiet, Timeout: 10 * time.Second, Now: func() time.Time { return began.Add(time.Duration(clock.Load())) }}
		o.Throttle.Key = tokenauth.NewSecret("the same thirty-two bytes or more on all replicas")
		replicas := make([]*tokenauth.Service, 3)
		for i := range replicas {
			auth, err := tokenauth.New(s, &verified, &o)
			if err != nil {
				t.Fatal(err)
			}
			replicas[i] = auth
		}
		try := func(i int, code string) error {
			_, err := replicas[i%3].SignIn(t.Context(), tokenauth.Credentials{
				UserName: "alice", Password: tokenauth.NewSecret("right"), RemoteAddr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}),
				Parameters: map[string]tokenauth.Secret{"otp": tokenauth.NewSecret(code)},
			})
			return err
		}
		together := func(want int64) {
			t.Helper()
			before := verified.Load()
			var wg sync.WaitGroup
			for i := range 15 {
				wg.Go(func() {
					if err := try(i, "1"); !errors.Is(err, tokenauth.ErrThrottled) && !errors.Is(err, tokenauth.ErrRejected) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if n := verified.Load() - before; n != want {
				t.Errorf("%d of 15 wrong codes were verified, want %d", n, want)
			}
		}
		together(5)
		for i := range 35 {
			clock.Add(int64(15 * time.Minute))
			if err := try(i, "123456"); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				if err := try(i, "1"); !errors.Is(err, tokenauth.ErrRejected) {
					t.Fatal(err)
				}
			}
		}
		clock.Add(int64(15 * time.Minute))
		if err := try(0, "123456"); err != nil {
			t.Fatal(err)
		}
		together(5) // the 150th of a year, and the fifth in a row
		clock.Add(int64(15 * time.Minute))
		together(0)
		if err := try(2, "123456"); !errors.Is(err, tokenauth.ErrThrottled) {
			t.Errorf("after 150 wrong codes, the right one: error %v, want ErrThrottled", err)
		}
		clock.Store(int64(365 * 24 * time.Hour / 150))
		together(1)
	})
}

// Attempts with different spellings of a name count for one account.
func TestThrottleCountsByNormalizedName(t *testing.T) {
	t.Parallel()
	s, _ := engines[0].store(t)
	create(t, s, "alice")
	auth, err := tokenauth.New(s, s.Users(), nil)
	if err != nil {
		t.Fatal(err)
	}
	throttled := 0
	for i, name := range []string{"alice", "ALICE", "ＡＬＩＣＥ", "Alice", "aLICE", "alicE", "alice"} {
		if _, err := signIn(t.Context(), auth, name, fmt.Sprint("wrong", i)); errors.Is(err, tokenauth.ErrThrottled) {
			throttled++
		}
	}
	if throttled != 2 {
		t.Errorf("%d of 7 were throttled, want 2", throttled)
	}
	if got := s.Users().NormalizeUserName("not a name"); got != "not a name" {
		t.Errorf("NormalizeUserName of an invalid name returns %q", got)
	}
}
