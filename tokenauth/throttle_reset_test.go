package tokenauth_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// block makes the throttle refuse the account at each source, and the source
// desk for each account.
func (d *throttleTest) block(account, desk string) {
	d.Helper()
	for i := range 100 {
		d.fail(account, fmt.Sprintf("203.0.113.%d", i), 1)
	}
	for range 12 {
		d.try(account, "wrong", desk)
	}
	for i := range 115 {
		d.fail(fmt.Sprint("user", i), desk, 1)
	}
}

// minutes reports whether the outcome is a wait of a minute or more.
func minutes(outcome string) bool {
	wait, err := time.ParseDuration(outcome)
	return err == nil && wait >= time.Minute
}

// After Unthrottle a user can sign in at a source that is throttled for all
// others.
func TestUnthrottledUserSignsInAtAThrottledSource(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string]int{"in memory": 1, "at the same replica": 2, "at another replica": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				replicaTests := newReplicas(t, replicas)
				d, asked := replicaTests[0], replicaTests[0]
				d.block("alice", here)
				if name == "at another replica" {
					asked = replicaTests[1]
				}
				for _, password := range []string{"right", "wrong"} {
					if got := d.try("alice", password, here); !minutes(got) {
						t.Fatalf("before Unthrottle: %s, want a wait of minutes", got)
					}
				}
				if err := asked.auth.Unthrottle(t.Context(), "alice", "alice"); err != nil {
					t.Fatal(err)
				}
				if asked != d {
					time.Sleep(5 * time.Second)
				}
				d.expect("alice", "wrong", here, "rejected") // the user first tries the old password
				if got := d.try("bob", "right", here); !minutes(got) {
					t.Errorf("another user: %s, want a wait of minutes", got)
				}
				time.Sleep(100 * time.Millisecond)
				d.expect("alice", "right", here, "in")
				d.expect("alice", "right", there, "in")
				d.expect("alice", "wrong", "203.0.113.1", "rejected") // a source where attempts had failed
			})
		})
	}
}

// After Unthrottle the limits of a source allow ten failures of the account.
// Then they apply again, also once the user has signed in elsewhere.
func TestUnthrottledAccountHasTenAttempts(t *testing.T) {
	t.Parallel()
	for name, signsIn := range map[string]bool{"all used": false, "signed in elsewhere": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newReplicas(t, 1)[0]
				d.block("alice", here)
				if err := d.auth.Unthrottle(t.Context(), "alice", "alice"); err != nil {
					t.Fatal(err)
				}
				if signsIn {
					d.expect("alice", "right", there, "in")
				} else {
					tried := 0
					for range 20 {
						outcome := d.try("alice", "wrong", here)
						wait, err := time.ParseDuration(outcome)
						switch {
						case err != nil:
							tried++
						case wait > 5*time.Minute:
						default:
							time.Sleep(wait)
						}
					}
					if tried != 10 {
						t.Errorf("%d tries, want 10", tried)
					}
				}
				if got := d.try("alice", "right", here); !minutes(got) {
					t.Errorf("after the ten failures, or a sign-in: %s, want a wait of minutes", got)
				}
			})
		})
	}
	t.Run("concurrent", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := newReplicas(t, 1)[0]
			d.block("alice", here)
			if err := d.auth.Unthrottle(t.Context(), "alice", "alice"); err != nil {
				t.Fatal(err)
			}
			if outcomes := atOnce(100, func(int) string { return d.try("alice", "wrong", here) }); outcomes["rejected"] != 5 {
				t.Errorf("the results of 100 concurrent attempts are %v, want 5 rejected", outcomes)
			}
		})
	})
}

// After Unthrottle an attacker has as many attempts over all sources as at a
// new account.
func TestUnthrottledAccountIsGuessedNoFaster(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newReplicas(t, replicas)[0]
				d.block("alice", here)
				if err := d.auth.Unthrottle(t.Context(), "alice", "alice"); err != nil {
					t.Fatal(err)
				}
				tried := 0
				for d.try("alice", "wrong", fmt.Sprintf("203.0.113.%d", tried)) == "rejected" {
					tried++
				}
				if tried < 20 || tried > 21 { // a hash takes as long as the first wait of a second, so one more may be tried
					t.Errorf("%d tries, want 20 or 21", tried)
				}
			})
		})
	}
}

// After 100 failures at a known source of the user, Unthrottle makes the source
// known again.
func TestUnthrottleResetsAKnownSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newReplicas(t, 1)[0]
		d.expect("alice", "right", here, "in")
		d.fail("alice", here, 100)
		if err := d.auth.Unthrottle(t.Context(), "alice"); err != nil { // the user ID is sufficient
			t.Fatal(err)
		}
		d.expect("alice", "right", here, "in")
	})
}

// If failures count by name, Unthrottle needs the names. It does not help an
// account with a similar name.
func TestUnthrottleByName(t *testing.T) {
	t.Parallel()
	for name, counts := range map[string]bool{"by account": true, "by name": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				users := &exactNames{counts: counts}
				d := &throttleTest{T: t, slowUsers: &users.slowUsers, auth: newService(t, new(memory.Store), users, nil)}
				d.block("alicé", here)
				if err := d.auth.Unthrottle(t.Context(), "id of alice", "alice"); err != nil {
					t.Fatal(err)
				}
				for _, from := range []string{here, there, "203.0.113.1"} {
					if got := d.try("alicé", "right", from); !minutes(got) {
						t.Errorf("alicé from %s: %s, want a wait of minutes", from, got)
					}
				}
				d.expect("alice", "right", here, "in")
				if err := d.auth.Unthrottle(t.Context(), "id of alicé", "alicé"); err != nil {
					t.Fatal(err)
				}
				d.expect("alicé", "right", here, "in")
			})
		})
	}
}

// Unthrottle returns the error of the storage as ErrUnavailable.
func TestUnthrottleReportsStorageErrors(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		storage.script(func(int) (bool, error) { return false, errConnection })
		if err := d.auth.Unthrottle(t.Context(), "17", "alice"); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
	})
}
