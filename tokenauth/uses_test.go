package tokenauth_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// recording is a storage in memory that counts the uses that it is asked to record.
type recording struct {
	memory.Store
	mu    sync.Mutex
	uses  []tokenauth.Use
	calls int
	fail  error
}

func (r *recording) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.fail != nil {
		return r.fail
	}
	r.uses = append(r.uses, uses...)
	return r.Store.RecordUses(ctx, uses)
}

func (r *recording) recorded() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.uses)
}

func (r *recording) setFail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = err
}

// whileRunning runs a test with replicas of a Service that all run, in a bubble whose
// clock the test moves by sleeping.
func whileRunning(t *testing.T, replicas int, o tokenauth.Options, test func(t *testing.T, storage *recording, replicas []*tokenauth.Service)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		storage := new(recording)
		ctx, stop := context.WithCancel(t.Context())
		var all []*tokenauth.Service
		var wg sync.WaitGroup
		for range replicas {
			o := o
			o.Now = time.Now
			auth := newService(t, storage, anyoneIsAlice{}, &o)
			all = append(all, auth)
			wg.Go(func() { auth.Run(ctx) })
		}
		synctest.Wait()
		test(t, storage, all)
		stop()
		wg.Wait()
	})
}

// use validates the token at each replica.
func use(t *testing.T, replicas []*tokenauth.Service, issued tokenauth.IssuedToken) error {
	t.Helper()
	for _, auth := range replicas {
		if _, err := auth.Validate(t.Context(), issued.AccessToken.Reveal()); err != nil {
			return err
		}
	}
	return nil
}

// All replicas together record a token once an hour, and no request waits for it.
func TestUsesAreRecordedOnceAnHour(t *testing.T) {
	t.Parallel()
	for name, cache := range map[string]*tokenauth.CacheOptions{"strict": nil, "cached": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whileRunning(t, 3, tokenauth.Options{Devices: &tokenauth.DeviceOptions{}, Cache: cache}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
				issued := signInOn(t, replicas[0], "phone", "")
				start := time.Now()
				for range 24 * 60 { // a day, with a request each minute at each replica
					if err := use(t, replicas, issued); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				seen := make(map[time.Time]bool)
				for _, u := range storage.uses {
					if u.Digest != issued.Token.Digest || u.Slot != issued.Token.Slot || !u.ExpiresAt.IsZero() {
						t.Fatalf("recorded %+v, want only uses of the token", u)
					}
					seen[u.At] = true
				}
				if len(seen) < 23 || len(seen) > 25 || len(storage.uses) > 3*len(seen) {
					t.Errorf("recorded %d times with %d different hours, want one for each of 24 hours and replica", len(storage.uses), len(seen))
				}
				tokens, err := replicas[1].Tokens(t.Context(), "17")
				if err != nil || len(tokens) != 1 {
					t.Fatalf("listed %d tokens, error %v", len(tokens), err)
				}
				if ago := time.Since(tokens[0].LastSeen); ago < 0 || ago > time.Hour+2*time.Minute {
					t.Errorf("the token in use was last seen %v ago, want at most an hour", ago)
				}
				if tokens[0].LastSeen.Before(start.Add(22 * time.Hour)) {
					t.Errorf("last seen %v, want a time of today", tokens[0].LastSeen)
				}
			})
		})
	}
}

// A sign-in counts as seen, even if the token was never used.
func TestSignInCountsAsSeen(t *testing.T) {
	t.Parallel()
	whileRunning(t, 1, tokenauth.Options{Devices: &tokenauth.DeviceOptions{}}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
		issued := signInOn(t, replicas[0], "phone", "")
		use(t, replicas, issued)
		time.Sleep(3 * time.Minute)
		tokens, err := replicas[0].Tokens(t.Context(), "17")
		if err != nil || len(tokens) != 1 || !tokens[0].LastSeen.Equal(issued.Token.IssuedAt) {
			t.Errorf("listed %+v, error %v, want the sign-in as the last use", tokens, err)
		}
		if n := storage.recorded(); n != 0 {
			t.Errorf("recorded %d uses in the hour of the sign-in, want none", n)
		}
	})
}

// Without an option that needs them, uses are neither recorded nor listed.
func TestUsesAreNotRecordedByDefault(t *testing.T) {
	t.Parallel()
	whileRunning(t, 1, tokenauth.Options{}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
		issued := signInOn(t, replicas[0], "", "")
		time.Sleep(5 * time.Hour)
		use(t, replicas, issued)
		time.Sleep(5 * time.Hour)
		tokens, _ := replicas[0].Tokens(t.Context(), "17")
		if storage.calls != 0 || len(tokens) != 1 || !tokens[0].LastSeen.IsZero() {
			t.Errorf("%d calls of RecordUses, tokens %+v, want none and a token without LastSeen", storage.calls, tokens)
		}
	})
}

// The last uses are recorded when Run ends.
func TestRunRecordsUsesBeforeItReturns(t *testing.T) {
	t.Parallel()
	storage := new(recording)
	synctest.Test(t, func(t *testing.T) {
		auth := newService(t, storage, anyoneIsAlice{}, &tokenauth.Options{Now: time.Now, Devices: &tokenauth.DeviceOptions{}})
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		issued := signInOn(t, auth, "phone", "")
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		use(t, []*tokenauth.Service{auth}, issued)
		stop()
		wg.Wait()
	})
	if storage.recorded() != 1 {
		t.Errorf("recorded %d uses, want 1", storage.recorded())
	}
}

func TestIdleTokensEnd(t *testing.T) {
	t.Parallel()
	var printed lockedBuffer
	whileRunning(t, 2, tokenauth.Options{
		Devices: &tokenauth.DeviceOptions{}, IdleTimeout: 2 * time.Hour, Cache: &tokenauth.CacheOptions{},
		Logger: slog.New(slog.NewTextHandler(&printed, nil)),
	}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
		inUse, idle := signInOn(t, replicas[0], "phone", ""), signInOn(t, replicas[0], "laptop", "")
		start := time.Now()
		var ended time.Duration
		for time.Since(start) < 20*time.Hour {
			time.Sleep(100 * time.Minute)
			if err := use(t, replicas[:1], inUse); err != nil {
				t.Fatalf("a token that is used every 100 minutes: %v after %v", err, time.Since(start))
			}
			if ended == 0 && len(devicesOf(t, replicas[1])) == 1 {
				ended = time.Since(start)
			}
		}
		if use(t, replicas, idle) == nil {
			t.Error("a token that was not used for 20 hours is valid")
		}
		if ended < 2*time.Hour || ended > 7*time.Hour {
			t.Errorf("the idle token ended after %v, want soon after 2 hours", ended)
		}
		if err := use(t, replicas, inUse); err != nil {
			t.Errorf("the token in use: %v", err)
		}
	})
	if !strings.Contains(printed.String(), "idle tokens ended") {
		t.Errorf("logged %q, want that idle tokens ended", printed.String())
	}
}

// While uses cannot be recorded, no token ends as idle.
func TestOutageEndsNoIdleToken(t *testing.T) {
	t.Parallel()
	var printed lockedBuffer
	whileRunning(t, 1, tokenauth.Options{IdleTimeout: 2 * time.Hour, Logger: slog.New(slog.NewTextHandler(&printed, nil))}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
		issued := signInOn(t, replicas[0], "", "")
		storage.setFail(errors.New("connection refused"))
		for range 12 {
			time.Sleep(time.Hour)
			if err := use(t, replicas, issued); err != nil {
				t.Fatal(err)
			}
		}
		storage.setFail(nil)
		time.Sleep(30 * time.Minute)
		if err := use(t, replicas, issued); err != nil {
			t.Errorf("after the outage: %v", err)
		}
		if storage.recorded() == 0 {
			t.Error("the uses of the outage were not recorded after it")
		}
	})
	if n := strings.Count(printed.String(), "it could not be recorded when tokens were used"); n != 1 {
		t.Errorf("logged the outage %d times, want once:\n%s", n, printed.String())
	}
	if !strings.Contains(printed.String(), "connection refused") || !strings.Contains(printed.String(), "it is recorded again") {
		t.Errorf("logged %s, want the error, and that it works again", printed.String())
	}
}

// A token in use lives on, the same string, up to MaxLifetime after the sign-in.
func TestTokenInUseLivesOn(t *testing.T) {
	t.Parallel()
	const lifetime, longest = 3 * time.Hour, 48 * time.Hour
	for name, cache := range map[string]*tokenauth.CacheOptions{"strict": nil, "cached": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whileRunning(t, 2, tokenauth.Options{Lifetime: lifetime, MaxLifetime: longest, Cache: cache}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
				issued := signInOn(t, replicas[0], "", "")
				var err error
				for err == nil && time.Since(issued.Token.IssuedAt) < 100*time.Hour {
					time.Sleep(lifetime - time.Second)
					// Only one replica sees the use. The other must know, too.
					if err = use(t, replicas[:1], issued); err == nil {
						time.Sleep(time.Second)
						err = use(t, replicas[1:], issued)
					}
				}
				if lived := time.Since(issued.Token.IssuedAt); lived < longest || lived > longest+lifetime || !errors.Is(err, tokenauth.ErrExpiredToken) {
					t.Errorf("the token in use lived %v, then error %v; want %v and ErrExpiredToken", lived, err, longest)
				}
			})
		})
	}
}

func TestUnusedTokenExpires(t *testing.T) {
	t.Parallel()
	const lifetime = 3 * time.Hour
	whileRunning(t, 1, tokenauth.Options{Lifetime: lifetime, MaxLifetime: 48 * time.Hour, Cache: &tokenauth.CacheOptions{}}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
		issued := signInOn(t, replicas[0], "", "")
		time.Sleep(time.Minute)
		use(t, replicas, issued)
		time.Sleep(lifetime + time.Hour)
		if err := use(t, replicas, issued); !errors.Is(err, tokenauth.ErrExpiredToken) {
			t.Errorf("an hour and the lifetime after its last use: error %v, want ErrExpiredToken", err)
		}
		// A refused request does not count as a use.
		time.Sleep(2 * time.Minute)
		if err := use(t, replicas, issued); !errors.Is(err, tokenauth.ErrExpiredToken) {
			t.Errorf("the second time: error %v, want ErrExpiredToken", err)
		}
	})
}

// A token whose lifetime is less than an hour lives on only by Extend.
func TestShortTokensLiveOnByExtendOnly(t *testing.T) {
	t.Parallel()
	whileRunning(t, 2, tokenauth.Options{MaxLifetime: 30 * 24 * time.Hour, Cache: &tokenauth.CacheOptions{}}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
		issue := func() tokenauth.IssuedToken {
			issued, err := replicas[0].Issue(t.Context(), alice(), &tokenauth.IssueOptions{Lifetime: 30 * time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			return issued
		}
		issued := issue()
		for range 31 {
			time.Sleep(time.Minute)
			use(t, replicas, issued)
		}
		if err := use(t, replicas, issued); !errors.Is(err, tokenauth.ErrExpiredToken) {
			t.Errorf("a token of 30 minutes after 31: error %v, want ErrExpiredToken", err)
		}
		if _, err := replicas[0].Extend(t.Context(), issued.Token); !errors.Is(err, tokenauth.ErrExpiredToken) {
			t.Errorf("Extend of an expired token: error %v, want ErrExpiredToken", err)
		}
		issued = issue()
		for range 10 {
			time.Sleep(25 * time.Minute)
			if err := use(t, replicas, issued); err != nil { // both replicas have it in their caches
				t.Fatal(err)
			}
			extended, err := replicas[0].Extend(t.Context(), issued.Token)
			if err != nil || !extended.ExpiresAt.Equal(time.Now().Truncate(time.Second).Add(30*time.Minute)) {
				t.Fatalf("extended until %v, error %v, want 30 minutes from now", extended.ExpiresAt, err)
			}
		}
	})
}

// Extend never revives a token that ended meanwhile, and has an end.
func TestExtendChangesValidTokensOnly(t *testing.T) {
	t.Parallel()
	const lifetime, longest = 3 * time.Hour, 4 * time.Hour
	whileRunning(t, 1, tokenauth.Options{Lifetime: lifetime, MaxLifetime: longest}, func(t *testing.T, storage *recording, replicas []*tokenauth.Service) {
		auth := replicas[0]
		revoked := signInOn(t, auth, "", "")
		if err := auth.RevokeToken(t.Context(), revoked.Token); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.Extend(t.Context(), revoked.Token); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("a revoked token: error %v, want ErrInvalidToken", err)
		}
		newer := signInOn(t, auth, "", "")
		time.Sleep(2 * time.Hour)
		if _, err := auth.Extend(t.Context(), revoked.Token); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("a token of an earlier sign-in: error %v, want ErrInvalidToken", err)
		}
		if tokens, _ := auth.Tokens(t.Context(), "17"); len(tokens) != 1 || !tokens[0].ExpiresAt.Equal(newer.Token.ExpiresAt) {
			t.Errorf("listed %+v, want the newer token as it was", tokens)
		}
		if got, err := auth.Extend(t.Context(), newer.Token); err != nil || !got.ExpiresAt.Equal(newer.Token.IssuedAt.Truncate(time.Second).Add(longest)) {
			t.Errorf("extended until %v, error %v, want the end of MaxLifetime", got.ExpiresAt, err)
		}
		if _, err := auth.Extend(t.Context(), tokenauth.Token{Principal: alice()}); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("a token of Options.Fallback: error %v, want ErrInvalidToken", err)
		}
	})
	auth := newService(t, new(memory.Store), &staff{}, nil)
	if _, err := auth.Extend(t.Context(), signInOn(t, auth, "", "").Token); !errors.Is(err, tokenauth.ErrUnavailable) {
		t.Errorf("without MaxLifetime: error %v, want ErrUnavailable", err)
	}
}

// The warning about a missing Run says that uses are not recorded.
func TestWarnsThatUsesAreNotRecordedWithoutRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var printed strings.Builder
		auth := newService(t, new(memory.Store), anyoneIsAlice{}, &tokenauth.Options{IdleTimeout: 2 * time.Hour, Logger: slog.New(slog.NewTextHandler(&printed, nil))})
		time.Sleep(time.Minute)
		signInOn(t, auth, "", "")
		if !strings.Contains(printed.String(), "it is not recorded when tokens are used") {
			t.Errorf("logged %q, want that uses are not recorded", printed.String())
		}
	})
}

// A lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Run returns soon, even if it has many uses to record and the storage does not
// answer.
func TestRunEndsWhileUsesCannotBeRecorded(t *testing.T) {
	t.Parallel()
	var printed lockedBuffer
	synctest.Test(t, func(t *testing.T) {
		storage := new(hangingUses)
		auth := newService(t, storage, anyoneIsAlice{}, &tokenauth.Options{
			Now: time.Now, IdleTimeout: 2 * time.Hour, Logger: slog.New(slog.NewTextHandler(&printed, nil)),
		})
		var all []tokenauth.IssuedToken
		for i := range 1000 {
			issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: fmt.Sprint(i), UserName: "x"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, issued)
		}
		time.Sleep(90 * time.Minute)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		synctest.Wait()
		began := time.Now()
		for _, issued := range all {
			if err := use(t, []*tokenauth.Service{auth}, issued); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute + time.Second) // uses are being recorded
		if waited := time.Since(began); waited != time.Minute+time.Second {
			t.Errorf("requests waited %v for the storage", waited-time.Minute-time.Second)
		}
		stop()
		began = time.Now()
		wg.Wait()
		if took := time.Since(began); took > 2*auth.Options().Timeout {
			t.Errorf("Run returned after %v, want at most two timeouts", took)
		}
	})
	if n := strings.Count(printed.String(), context.DeadlineExceeded.Error()); n != 1 || strings.Contains(printed.String(), "recorded again") {
		t.Errorf("logged the error %d times, want once and no end of the outage:\n%s", n, printed.String())
	}
}

// A hangingUses is a storage in memory that never answers RecordUses.
type hangingUses struct{ memory.Store }

func (*hangingUses) RecordUses(ctx context.Context, _ []tokenauth.Use) error { return hang(ctx) }

// A replica that ends idle tokens waits for the uses that other replicas have
// noted, but not recorded yet.
func TestIdleTokensEndAfterUsesAtOtherReplicas(t *testing.T) {
	t.Parallel()
	const idle = 2 * time.Hour
	for before := 10 * time.Second; before < time.Minute; before += 10 * time.Second {
		synctest.Test(t, func(t *testing.T) {
			storage := new(memory.Store)
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			replica := func() *tokenauth.Service {
				auth := newService(t, storage, anyoneIsAlice{}, &tokenauth.Options{Now: time.Now, IdleTimeout: idle, PurgeInterval: 24 * time.Hour})
				wg.Go(func() { auth.Run(ctx) })
				return auth
			}
			used := []*tokenauth.Service{replica()}
			issued := signInOn(t, used[0], "", "")
			must := func() {
				t.Helper()
				if err := use(t, used, issued); err != nil {
					t.Errorf("used %v before the hour: %v", before, err)
				}
			}
			// The token's hours begin at a minute that depends on its digest.
			phase := int64(binary.BigEndian.Uint16(issued.Token.Digest[:2])) % 3600
			time.Sleep(time.Duration(7200-(time.Now().Unix()+phase)%3600) * time.Second)
			must()
			time.Sleep(time.Hour - time.Second)
			must()
			time.Sleep(idle - before)
			must() // less than idle after the last use
			time.Sleep(before + 2*time.Second)
			replica() // ends idle tokens at once
			synctest.Wait()
			must()
			stop()
			wg.Wait()
		})
	}
}

// To turn on IdleTimeout, a host first sets it to its maximum: no token in use
// ends then.
func TestIdleTimeoutIsTurnedOnInTwoSteps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(memory.Store)
		var issued tokenauth.IssuedToken
		for step, idle := range []time.Duration{0, 365 * 24 * time.Hour, 24 * time.Hour} {
			ctx, stop := context.WithCancel(t.Context())
			auth := newService(t, storage, anyoneIsAlice{}, &tokenauth.Options{Now: time.Now, IdleTimeout: idle})
			var wg sync.WaitGroup
			wg.Go(func() { auth.Run(ctx) })
			if step == 0 {
				issued = signInOn(t, auth, "", "")
			}
			for range 26 {
				synctest.Wait()
				if err := use(t, []*tokenauth.Service{auth}, issued); err != nil {
					t.Fatalf("IdleTimeout %v: the token in use: %v", idle, err)
				}
				time.Sleep(time.Hour)
			}
			stop()
			wg.Wait()
		}
	})
}

// Without an option that records uses, LastSeen does not show an old one.
func TestOldUsesAreNotListed(t *testing.T) {
	t.Parallel()
	storage := new(memory.Store)
	auth := newService(t, storage, anyoneIsAlice{}, nil)
	issued := signInOn(t, auth, "", "")
	storage.RecordUses(t.Context(), []tokenauth.Use{{Slot: issued.Token.Slot, Digest: issued.Token.Digest, At: time.Now()}})
	tokens, err := auth.Tokens(t.Context(), "17")
	if err != nil || len(tokens) != 1 || !tokens[0].LastSeen.IsZero() {
		t.Errorf("listed %+v, error %v, want one token without LastSeen", tokens, err)
	}
}
