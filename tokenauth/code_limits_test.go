package tokenauth_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const year = 365 * 24 * time.Hour

// onReplicas runs the test on one process that counts in memory, and on three
// that count together.
func onReplicas(t *testing.T, test func(t *testing.T, replicas []*codeTest)) {
	t.Parallel()
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n, " replicas"), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, newCodeReplicas(t, n)) })
		})
	}
}

// waitOf returns the seconds of an outcome "wait".
func waitOf(outcome string) (wait time.Duration, throttled bool) {
	text, throttled := strings.CutPrefix(outcome, "wait ")
	seconds, _ := strconv.Atoi(text)
	return time.Duration(seconds) * time.Second, throttled
}

// guess sends wrong codes until n were verified, as fast as is allowed.
func guess(t *testing.T, replicas []*codeTest, n int) {
	t.Helper()
	for i := 0; n > 0; i++ {
		got := replicas[i%len(replicas)].code(fmt.Sprintf("203.0.113.%d", i%200), "1")
		wait, throttled := waitOf(got)
		switch {
		case throttled:
			time.Sleep(wait)
		case got == "mfa_invalid":
			n--
		default:
			t.Fatalf("a wrong code: %s", got)
		}
	}
}

// After five wrong codes in a row, each further one doubles the wait, at all
// replicas and for all sources, up to 15 minutes. A right code ends that.
func TestWrongCodesInARow(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas []*codeTest) {
		of := func(i int) *codeTest { return replicas[i%len(replicas)] }
		for range 2 {
			for i := range 5 {
				of(i).expectCode(here, "1", "mfa_invalid")
			}
			for i, wait := range []int{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900} {
				of(i).expectCode(here, "1", fmt.Sprint("wait ", wait))
				of(i+1).expectCode(there, "123456", fmt.Sprint("wait ", wait)) // the right code, too
				time.Sleep(time.Duration(wait)*time.Second - 100*time.Millisecond)
				of(i).expectCode(here, "1", "wait 1")
				time.Sleep(100 * time.Millisecond)
				of(i+1).expectCode(fmt.Sprintf("203.0.113.%d", i), "1", "mfa_invalid")
			}
			time.Sleep(15 * time.Minute)
			of(1).expectCode(there, "123456", "in")
		}
		// Another account has its own codes.
		if got := of(0).try(here, "bob", "right", "otp", "1"); got != "mfa_invalid" {
			t.Errorf("the first code of another account: %s", got)
		}
	})
}

// A right code does not reset the count of a year: 150 wrong codes may count at
// a time, and one is forgiven every 58.4 hours. Unthrottle resets it.
func TestWrongCodesInAYear(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas []*codeTest) {
		d, last := replicas[0], replicas[len(replicas)-1]
		began := time.Now()
		for range 37 {
			guess(t, replicas, 4)
			d.expectCode(here, "123456", "in")
		}
		guess(t, replicas, 1)
		d.expectCode(here, "123456", "in") // the 149th wrong code is not the last one
		guess(t, replicas, 1)
		if took := time.Since(began); took > time.Hour {
			t.Fatalf("150 wrong codes took %v", took)
		}
		for range 2 {
			d.expectCode(here, "1", "wait 3600")
			last.expectCode(there, "123456", "wait 3600")
		}
		if got := d.try(here, "alice", "right"); got != "mfa_required" {
			t.Errorf("the right password without a code: %s", got)
		}
		time.Sleep(time.Until(began.Add(year/150 - 30*time.Minute)))
		wait, throttled := waitOf(last.code(here, "1"))
		if !throttled || wait > 30*time.Minute+time.Second {
			t.Errorf("before the first wrong code is forgiven: a wait of %v, want about 30m", wait)
		}
		time.Sleep(wait)
		last.expectCode(here, "123456", "in") // costs nothing
		last.expectCode(here, "1", "mfa_invalid")
		last.expectCode(here, "1", "wait 3600")
		time.Sleep(year)
		guess(t, replicas, 149)
		time.Sleep(15 * time.Minute)
		last.expectCode(there, "123456", "in")

		guess(t, replicas, 1)
		last.expectCode(there, "123456", "wait 3600")
		if err := d.auth.Unthrottle(t.Context(), "id of alice", "alice"); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			last.expectCode(there, "1", "mfa_invalid")
		}
		last.expectCode(there, "1", "wait 1")
	})
}

// Codes that are verified at the same time cannot exceed the limits.
func TestConcurrentGuessesStayWithinTheLimits(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas []*codeTest) {
		for _, d := range replicas {
			d.try(there, "somebody", "wrong") // from now on attempts count by account
			d.verify = func() { time.Sleep(400 * time.Millisecond) }
		}
		together := func(want int) {
			t.Helper()
			before := verifiedBy(replicas)
			outcomes := make(chan string, 20)
			var wg sync.WaitGroup
			for i := range cap(outcomes) {
				wg.Go(func() { outcomes <- replicas[i%len(replicas)].code(fmt.Sprintf("203.0.113.%d", i), "1") })
			}
			wg.Wait()
			close(outcomes)
			throttled := 0
			for outcome := range outcomes {
				if _, wait := waitOf(outcome); wait {
					throttled++
				} else if outcome != "mfa_invalid" {
					t.Errorf("a wrong code: %s", outcome)
				}
			}
			if n := verifiedBy(replicas) - before; n != want || throttled != 20-want {
				t.Errorf("%d codes were verified and %d throttled, want %d and %d", n, throttled, want, 20-want)
			}
		}
		together(5)
		time.Sleep(time.Second)
		together(1)
		time.Sleep(2 * time.Second)
		replicas[0].expectCode(here, "123456", "in")
		for verifiedBy(replicas) < 147+1 { // one of them was right
			guess(t, replicas, 1)
		}
		time.Sleep(15 * time.Minute)
		replicas[0].expectCode(here, "123456", "in")
		together(3)
	})
}

func verifiedBy(replicas []*codeTest) (n int) {
	for _, d := range replicas {
		n += int(d.verified.Load())
	}
	return n
}

// For three years an attacker has the password and guesses as fast as is
// allowed, while the owner signs in with right codes. In any 365 days, at most
// 300 wrong codes are verified.
func TestGuessesInAnyYear(t *testing.T) {
	t.Parallel()
	for name, pause := range map[string]func(r *rand.Rand) time.Duration{
		"all the time":   func(*rand.Rand) time.Duration { return 0 },
		"with pauses":    func(r *rand.Rand) time.Duration { return time.Duration(r.Int64N(int64(20 * time.Hour))) },
		"in long bursts": func(r *rand.Rand) time.Duration { return time.Duration(r.IntN(200)/199) * 300 * 24 * time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			onReplicas(t, func(t *testing.T, replicas []*codeTest) {
				random := rand.New(rand.NewPCG(1, 2))
				var guesses []time.Time
				began, signsIn, signIns := time.Now(), time.Now(), 0
				for i := 0; time.Since(began) < 3*year; i++ {
					d := replicas[i%len(replicas)]
					if time.Now().After(signsIn) {
						signsIn = time.Now().Add(11 * time.Hour)
						if d.code(here, "123456") == "in" {
							signIns++
						}
					}
					got := d.code(there, "1")
					wait, throttled := waitOf(got)
					switch {
					case throttled:
						time.Sleep(min(wait, time.Duration(random.Int64N(int64(time.Hour))))) // also before the wait is over
					case got == "mfa_invalid":
						guesses = append(guesses, time.Now())
						time.Sleep(pause(random))
					default:
						t.Fatalf("a wrong code: %s", got)
					}
				}
				most, first := 0, 0
				for i, at := range guesses {
					for at.Sub(guesses[first]) > year {
						first++
					}
					most = max(most, i-first+1)
				}
				chance := float64(most) * 3 / 1e6 // three valid codes of six digits
				t.Logf("%d guesses in three years, at most %d in 365 days, a chance of %.5f; the owner signed in %d times", len(guesses), most, chance, signIns)
				if most > 300 || chance > 0.001 {
					t.Errorf("%d guesses in 365 days, a chance of %v; want at most 300, and 0.001", most, chance)
				}
				if most < 290 && name == "all the time" {
					t.Errorf("%d guesses in 365 days: the attack does not reach the limit", most)
				}
			})
		})
	}
}

// An owner who mistypes a code now and then, about 120 times a year, never
// waits.
func TestOwnerWithTyposIsNeverThrottled(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas []*codeTest) {
		began := time.Now()
		for day := 0; time.Since(began) < 3*year; day++ {
			d := replicas[day%len(replicas)]
			typos := 0
			switch {
			case day%40 == 0:
				typos = 4
			case day%4 == 0:
				typos = 1
			}
			for range typos {
				d.expectCode(here, "132456", "mfa_invalid")
			}
			d.expectCode(here, "123456", "in")
			time.Sleep(24 * time.Hour)
		}
	})
}

// A stranger without the password changes no counter of the codes, whatever the
// stranger sends.
func TestStrangerCannotThrottleCodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := newCodeTest(t, storage, countedTogether(0))
		d.expectCode(here, "123456", "in")
		for i := range 300 {
			d.try(fmt.Sprintf("203.0.%d.%d", i/200, i%200), "alice", "wrong", "otp", "123456", "recovery", "x")
			time.Sleep(time.Minute)
		}
		if n := storage.countersOfCodes(); n != 0 {
			t.Errorf("%d counters of codes, want none", n)
		}
		d.expectCode(here, "123456", "in")
	})
}

// Very many failed sign-ins, at any names, evict no counter of wrong codes.
func TestFloodKeepsCountersOfCodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newCodeTest(t, new(memory.Store), &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{MaxCounters: 1000}})
		guess(t, []*codeTest{d}, 1)
		for i := range 3000 {
			d.try(fmt.Sprintf("198.18.%d.%d", i/250, i%250), fmt.Sprint("user", i), "wrong", "otp", "1")
		}
		for range 4 {
			d.expectCode(here, "1", "mfa_invalid")
		}
		d.expectCode(here, "123456", "wait 1")
	})
}

// Without CountAttempt, codes count for the user name, in all spellings that
// some database treats as the same.
func TestCodesByUserName(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newCodeTest(t, new(memory.Store), nil)
		d.byName = true
		for _, spelling := range []string{"alice", "ALICE", "álice", " alice", "Alice"} {
			if got := d.try(here, spelling, "right", "otp", "1"); got != "mfa_invalid" {
				t.Errorf("%s: %s", spelling, got)
			}
		}
		d.expectCode(there, "123456", "wait 1")
		if err := d.auth.Unthrottle(t.Context(), "another ID", "Alice"); err != nil {
			t.Fatal(err)
		}
		d.expectCode(there, "123456", "in")
	})
}

// A wrong code counts before it is verified, so that a storage that then fails
// loses no wrong code.
func TestFailingStorageLosesNoWrongCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := newCodeTest(t, storage, countedTogether(0))
		d.verify = func() { storage.script(func(int) (bool, error) { return false, errConnection }) }
		for range 5 {
			d.expectCode(here, "1", "mfa_invalid")
			storage.script(nil)
			time.Sleep(time.Minute) // the attempt's pending count ends
		}
		guess(t, []*codeTest{d}, 1)
		storage.script(nil)
		d.expectCode(here, "1", "wait 2")
	})
}

// countedTogether returns options with which a number of replicas count in the storage.
func countedTogether(replicas int) *tokenauth.Options {
	return &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{Replicas: replicas, Key: tokenauth.NewSecret(strings.Repeat("k", 32))}}
}

// While the storage of the counters is down, each process allows its share of
// the wrong codes.
func TestCodesWhileTheStorageIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		storage.script(func(int) (bool, error) { return false, errConnection })
		d := newCodeTest(t, storage, countedTogether(2))
		for range 2 {
			d.expectCode(here, "1", "mfa_invalid")
		}
		d.expectCode(here, "1", "wait 1")
		time.Sleep(time.Second)
		d.expectCode(here, "123456", "in")
		guess(t, []*codeTest{d}, 73)
		d.expectCode(here, "123456", "wait 3600") // after 75 wrong codes, half of 150
		storage.script(nil)
		d.expectCode(here, "123456", "in")
	})
}

// The same applies while the storage of the counters hangs. The Authenticator may
// limit its time, as password.Options.Check does: enough is left to verify the
// code.
func TestCodesWhileTheStorageHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := newCodeTest(t, storage, countedTogether(0))
		d.then = func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			p, err := d.checkCode(ctx, c)
			if ctx.Err() != nil {
				t.Errorf("no time is left to verify a code: %v", ctx.Err())
			}
			return p, err
		}
		d.expectCode(here, "123456", "in")
		storage.hangs = true
		for range 5 {
			d.expectCode(here, "1", "mfa_invalid")
		}
		// Each sign-in takes longer than the first waits.
		guess(t, []*codeTest{d}, 5)
		if wait, throttled := waitOf(d.code(here, "123456")); !throttled || wait > 32*time.Second {
			t.Errorf("after ten wrong codes: a wait of %v, want at most 32s", wait)
		}
		time.Sleep(32 * time.Second)
		d.expectCode(here, "123456", "in")
		for range 5 { // the right code ended the wrong codes in a row
			d.expectCode(here, "1", "mfa_invalid")
		}
	})
}

// If the storage of the counters is down for two years, the processes allow at
// most 300 wrong codes in any 365 days, all together.
func TestGuessesInAnyYearWhileTheStorageIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		storage.script(func(int) (bool, error) { return false, errConnection })
		var replicas []*codeTest
		for range 3 {
			replicas = append(replicas, newCodeTest(t, storage, countedTogether(3)))
		}
		var guesses []time.Time
		began, most := time.Now(), 0
		for time.Since(began) < 2*year {
			for i, d := range replicas {
				if i == 0 {
					d.code(here, "123456") // costs nothing, and ends the wrong codes in a row
				}
				if d.code(there, "1") != "mfa_invalid" {
					continue
				}
				guesses = append(guesses, time.Now())
				in := 0
				for _, at := range guesses {
					if time.Since(at) <= year {
						in++
					}
				}
				most = max(most, in)
			}
			time.Sleep(12 * time.Hour)
		}
		if most > 300 || most < 290 {
			t.Errorf("%d guesses in 365 days, want at most 300, and 290 or more", most)
		}
	})
}

// With InsecureOff no code is limited, and the rules of the response stay.
func TestCodesWithoutAThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newCodeTest(t, new(memory.Store), &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{InsecureOff: true}})
		for range 400 {
			d.expectCode(here, "1", "mfa_invalid")
		}
		d.expectCode(here, "123456", "in")
		if got := d.try(here, "alice", "wrong", "otp", "123456"); got != "invalid_grant" {
			t.Errorf("a wrong password: %s", got)
		}
	})
}

// An Authenticator that ignores the error of Code gets no code, and cannot let
// the user in.
func TestIgnoredThrottleOfCodesStillRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newCodeTest(t, new(memory.Store), nil)
		guess(t, []*codeTest{d}, 5)
		d.then = func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			if code, err := c.Code(ctx, "otp"); err == nil || code.Reveal() != "" {
				t.Errorf("Code returned %q, error %v", code.Reveal(), err)
			}
			return accept(ctx, c)
		}
		d.expectCode(here, "123456", "wait 1")
	})
}
