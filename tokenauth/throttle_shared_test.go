package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// sharedCounters is a storage in which replicas share counters. Each
// transaction takes two milliseconds, and they run one after the other.
type sharedCounters struct {
	memory.Store
	mu       sync.Mutex
	counters map[throttle.Key]throttle.Counter

	watch            sync.Mutex
	calls, now, most int
	hangs            bool
	// after decides whether a call takes effect, and which error it returns.
	after func(call int) (bool, error)
}

var errConnection = errors.New("unexpected EOF")

func (s *sharedCounters) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	s.watch.Lock()
	s.calls++
	call := s.calls
	s.now++
	s.most = max(s.most, s.now)
	after, hangs := s.after, s.hangs
	s.watch.Unlock()
	defer func() {
		s.watch.Lock()
		defer s.watch.Unlock()
		s.now--
	}()
	if hangs {
		return hang(ctx)
	}
	time.Sleep(2 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	takesEffect, err := true, ctx.Err()
	if after != nil && err == nil {
		takesEffect, err = after(call)
	}
	if s.counters == nil {
		s.counters = make(map[throttle.Key]throttle.Counter)
	}
	counters := make([]throttle.Counter, len(keys))
	for i, key := range keys {
		counters[i] = s.counters[key]
	}
	change(counters)
	for i, key := range keys {
		if takesEffect {
			s.counters[key] = counters[i]
		}
	}
	return err
}

func (s *sharedCounters) script(after func(call int) (bool, error)) (before int) {
	s.watch.Lock()
	defer s.watch.Unlock()
	s.after, s.most = after, 0
	return s.calls
}

func (s *sharedCounters) figures() (calls, most int) {
	s.watch.Lock()
	defer s.watch.Unlock()
	return s.calls, s.most
}

func (s *sharedCounters) pending() (n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.counters {
		n += c.PendingNow(time.Now().UnixMilli())
	}
	return n
}

// replica returns the test of a Service that keeps its counters in the storage.
func (s *sharedCounters) replica(t *testing.T, o tokenauth.Options) *throttleTest {
	t.Helper()
	a := &columnUsers{equal: exactly}
	o.Throttle.Key = tokenauth.NewSecret(strings.Repeat("k", 32))
	return &throttleTest{T: t, slowUsers: &a.slowUsers, auth: newService(t, s, a, &o)}
}

// atOnce makes n concurrent attempts and returns how often each result
// occurred. Each wait counts as "throttled".
func atOnce(n int, try func(i int) string) map[string]int {
	var mu sync.Mutex
	outcomes := make(map[string]int)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			outcome := try(i)
			if _, err := time.ParseDuration(outcome); err == nil {
				outcome = "throttled"
			}
			mu.Lock()
			defer mu.Unlock()
			outcomes[outcome]++
		})
	}
	wg.Wait()
	return outcomes
}

// Very many concurrent sign-ins from one source use few connections. They take
// about two transactions for each that is hashed, and almost none for the
// throttled ones.
func TestLoadFromOneSourceTakesFewTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		d.try("somebody", "wrong", there)
		before := storage.script(nil)
		outcomes := atOnce(600, func(i int) string { return d.try(fmt.Sprint("user", i), "wrong", here) })
		calls, most := storage.figures()
		if outcomes["rejected"] != 100 || outcomes["throttled"] != 500 {
			t.Errorf("the results are %v, want 100 rejected and 500 throttled", outcomes)
		}
		if calls -= before; calls > 450 {
			t.Errorf("%d transactions for 100 hashed passwords, want at most 450", calls)
		}
		if most > 4 { // this includes sign-ins that end at the same time
			t.Errorf("%d concurrent transactions, want at most 4", most)
		}
		before = storage.script(nil)
		outcomes = atOnce(600, func(i int) string { return d.try(fmt.Sprint("other", i), "wrong", here) })
		if calls, _ := storage.figures(); outcomes["throttled"] != 600 || calls-before > 5 {
			t.Errorf("once the source is throttled: %v with %d transactions, want 600 throttled with at most 5", outcomes, calls-before)
		}
		// Sign-ins from other sources do not wait.
		began := time.Now()
		if d.expect("alice", "right", there, "in"); time.Since(began) > 1100*time.Millisecond {
			t.Errorf("another source waited %v", time.Since(began))
		}
	})
}

// Very many sources at one account take few transactions too, and do not look
// up the account. Sign-ins that wait do not delay others.
func TestLoadOnOneAccountTakesFewTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		d.try("somebody", "wrong", there)
		before := storage.script(nil)
		asked := d.hashed.Load()
		outcomes := atOnce(600, func(i int) string {
			return d.try("alice", "wrong", fmt.Sprintf("198.18.%d.%d", i/250, i%250))
		})
		calls, most := storage.figures()
		if most > 16 {
			t.Errorf("%d concurrent transactions, want at most 16", most)
		}
		if outcomes["rejected"] != 20 || outcomes["throttled"] != 580 {
			t.Errorf("the results are %v, want 20 rejected and 580 throttled", outcomes)
		}
		if calls -= before; calls > 100 {
			t.Errorf("%d transactions for 20 hashed passwords, want at most 100", calls)
		}
		if n := d.hashed.Load() - asked; n > 20 {
			t.Errorf("%d passwords were hashed, want at most 20", n)
		}
	})
}

// If many clients leave at the same time, their pending attempts are ended by a
// few concurrent transactions.
func TestAbandonedSignInsTakeFewTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		counted, leave := make(chan struct{}, 1000), make(chan struct{})
		auth := newService(t, storage, authenticatorFunc(func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			if err := c.CountAttempt(ctx, ""); err != nil {
				return tokenauth.Principal{}, err
			}
			counted <- struct{}{}
			<-leave
			return tokenauth.Principal{}, context.Canceled
		}), &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 32))}})
		for sources, atMost := range map[int]int{1: 4, 100: 16} {
			var wg sync.WaitGroup
			for i := range 100 {
				from := netip.AddrFrom4([4]byte{198, 18, byte(sources), byte(i % sources)})
				wg.Go(func() {
					auth.SignIn(t.Context(), tokenauth.Credentials{UserName: fmt.Sprint("user", sources, i), RemoteAddr: from})
				})
			}
			for range 100 {
				<-counted
			}
			before := storage.script(nil)
			close(leave)
			wg.Wait()
			leave = make(chan struct{})
			if calls, most := storage.figures(); most > atMost || calls-before != 100 {
				t.Errorf("%d sources: %d transactions, %d of them concurrent", sources, calls-before, most)
			}
			if n := storage.pending(); n != 0 {
				t.Errorf("%d sources: %d attempts are pending, want 0", sources, n)
			}
		}
	})
}

// Many users may share one address, so many concurrent sign-ins with right
// passwords succeed.
func TestManyUsersAtOneAddressSignIn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		d.expect("alice", "right", there, "in")
		if outcomes := atOnce(1000, func(int) string { return d.try("alice", "right", here) }); outcomes["in"] != 1000 {
			t.Errorf("the results are %v, want 1000 in", outcomes)
		}
		if n := storage.pending(); n != 0 {
			t.Errorf("%d attempts are pending, want 0", n)
		}
	})
}

// A replica learns from the shared counters that the owner has signed in from a
// source. It lets the owner in there, although the source is throttled at this
// replica.
func TestThrottledReplicaLetsTheOwnerInFromAKnownSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		one, other := storage.replica(t, tokenauth.Options{}), storage.replica(t, tokenauth.Options{})
		one.expect("alice", "right", here, "in")
		for i := range 110 {
			other.try(fmt.Sprint("user", i), "wrong", here)
		}
		if got := other.try("nobody", "wrong", here); got == "rejected" {
			t.Fatal("the source is not throttled")
		}
		time.Sleep(200 * time.Millisecond)
		other.expect("alice", "right", here, "in")
	})
}

// If the storage counts an attempt but its answer is lost, the attempt does not
// stay pending.
func TestAttemptWithALostAnswerIsSettled(t *testing.T) {
	t.Parallel()
	for name, applied := range map[string]bool{"counted": true, "not counted": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				storage := new(sharedCounters)
				d := storage.replica(t, tokenauth.Options{})
				d.expect("somebody", "wrong", there, "rejected") // from now on attempts count by account
				pending := storage.pending()
				first := storage.script(nil)
				for i := range 50 {
					storage.script(func(call int) (bool, error) {
						if call == first+1 { // the call that counts the attempt
							return applied, errConnection
						}
						return true, nil
					})
					d.try("alice", "wrong", fmt.Sprintf("203.0.113.%d", i))
					first = storage.script(nil)
				}
				if n := storage.pending(); n != pending {
					t.Errorf("%d attempts are pending, want no more than before", n)
				}
				began := time.Now()
				if d.expect("alice", "right", here, "in"); time.Since(began) > 1100*time.Millisecond {
					t.Errorf("the owner waited %v", time.Since(began))
				}
			})
		})
	}
	for name, applied := range map[string]bool{"settled": true, "not settled": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				storage := new(sharedCounters)
				d := storage.replica(t, tokenauth.Options{})
				d.expect("somebody", "wrong", there, "rejected")
				for range 5 {
					first := storage.script(nil)
					storage.script(func(call int) (bool, error) {
						if call == first+2 { // the call that ends the attempt
							return applied, errConnection
						}
						return true, nil
					})
					d.expect("alice", "wrong", here, "rejected")
					storage.script(nil)
				}
				if n := storage.pending(); n != 0 {
					t.Errorf("%d attempts are pending, want 0", n)
				}
				// Each failure counts once.
				other := storage.replica(t, tokenauth.Options{})
				got := other.try("alice", "right", here)
				if wait, err := time.ParseDuration(got); err != nil || wait > time.Second {
					t.Errorf("after five failures: %s, want a wait of a second or less", got)
				}
			})
		})
	}
}

// Clients that leave at any moment of a sign-in leave no attempt pending.
func TestAbandonedSignInsLeaveNothingPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		d.expect("somebody", "wrong", there, "rejected")
		for i := range 200 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			time.AfterFunc(time.Duration(i%20)*200*time.Microsecond, cancel)
			d.auth.SignIn(ctx, tokenauth.Credentials{
				UserName: "alice", Password: tokenauth.NewSecret("wrong"), RemoteAddr: netip.AddrFrom4([4]byte{203, 0, byte(i), 1}),
			})
			cancel()
		}
		time.Sleep(10 * time.Second)
		if n := storage.pending(); n != 0 {
			t.Errorf("%d attempts are pending, want 0", n)
		}
		began := time.Now()
		if d.expect("alice", "right", here, "in"); time.Since(began) > 1100*time.Millisecond {
			t.Errorf("the owner waited %v", time.Since(began))
		}
	})
}

// If every other call of the storage fails, that is logged at most once a
// minute.
func TestFailuresOfTheCountersAreLoggedOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		logger, log := logInto()
		d := storage.replica(t, tokenauth.Options{Logger: logger})
		storage.script(func(call int) (bool, error) {
			if call%2 == 0 {
				return false, errConnection
			}
			return true, nil
		})
		began := time.Now()
		for i := range 100 {
			d.try(fmt.Sprint("user", i), "wrong", fmt.Sprintf("203.0.113.%d", i))
		}
		minutes := int(time.Since(began)/time.Minute) + 1
		if n := strings.Count(log.String(), "attempts could not be counted"); n < 1 || n > minutes {
			t.Errorf("logged %d times in %d minutes", n, minutes)
		}
	})
}

// While calls of the storage hang, sign-ins do not wait much longer than
// Options.Timeout.
func TestHangingStorageDelaysSignInsByItsTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{Timeout: 2 * time.Second})
		d.expect("alice", "right", there, "in")
		storage.hangs = true
		began := time.Now()
		var mu sync.Mutex
		var longest time.Duration
		outcomes := atOnce(400, func(i int) string {
			outcome := d.try("alice", "right", fmt.Sprintf("203.0.%d.%d", i%100, i/100))
			mu.Lock()
			defer mu.Unlock()
			longest = max(longest, time.Since(began))
			return outcome
		})
		if outcomes["in"]+outcomes["unavailable"] != 400 || outcomes["unavailable"] < 350 {
			t.Errorf("the results are %v, want 350 or more unavailable", outcomes)
		}
		if longest > 10*time.Second {
			t.Errorf("the longest sign-in took %v, want 10s or less", longest)
		}
	})
}

// tracedCounters is a storage of a type that == cannot compare.
type tracedCounters struct {
	*sharedCounters
	labels []string
}

// Replicas count together in a storage of any type, also while it fails.
func TestStorageNeedNotBeComparable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := tracedCounters{new(sharedCounters), []string{"traced"}}
		d := newCodeTest(t, storage, &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 32))}})
		for _, err := range []error{nil, errConnection} {
			storage.script(func(int) (bool, error) { return err == nil, err })
			if got := d.try(here, "alice", "wrong"); got != "invalid_grant" {
				t.Errorf("counting with the error %v: a wrong password: %s", err, got)
			}
			d.expectCode(here, "1", "mfa_invalid")
			d.expectCode(here, "123456", "in")
		}
	})
}
