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

// block has the account throttled from its desk and from everywhere, and the desk for
// all accounts.
func (d *door) block(account, desk string) {
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

// minutes reports whether the outcome is a wait of some.
func minutes(outcome string) bool {
	wait, err := time.ParseDuration(outcome)
	return err == nil && wait >= time.Minute
}

// After the help desk helped a user, the user is let in at a desk where everything is
// throttled, and others are not.
func TestUnthrottledUserIsLetInAtAThrottledSource(t *testing.T) {
	t.Parallel()
	for name, replicas := range map[string]int{"in memory": 1, "at the replica that was asked": 2, "at another replica": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				doors := house(t, replicas)
				d, asked := doors[0], doors[0]
				d.block("alice", here)
				if name == "at another replica" {
					asked = doors[1]
				}
				for _, password := range []string{"right", "wrong"} {
					if got := d.try("alice", password, here); !minutes(got) {
						t.Fatalf("before: %s", got)
					}
				}
				if err := asked.auth.Unthrottle(t.Context(), "alice", "alice"); err != nil {
					t.Fatal(err)
				}
				if asked != d {
					time.Sleep(5 * time.Second)
				}
				d.expect("alice", "wrong", here, "rejected") // the user tries the old password first
				if got := d.try("bob", "right", here); !minutes(got) {
					t.Errorf("somebody else: %s", got)
				}
				time.Sleep(100 * time.Millisecond)
				d.expect("alice", "right", here, "in")
				d.expect("alice", "right", there, "in")
				d.expect("alice", "wrong", "203.0.113.1", "rejected") // from where others had failed
			})
		})
	}
}

// The limits of a source let pass ten failures of the account, and then hold again,
// also once the user has signed in.
func TestUnthrottledAccountHasTenTries(t *testing.T) {
	t.Parallel()
	for name, signsIn := range map[string]bool{"all used": false, "signed in elsewhere": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := house(t, 1)[0]
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
					t.Errorf("after them: %s", got)
				}
			})
		})
	}
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := house(t, 1)[0]
			d.block("alice", here)
			if err := d.auth.Unthrottle(t.Context(), "alice", "alice"); err != nil {
				t.Fatal(err)
			}
			if outcomes := atOnce(100, func(int) string { return d.try("alice", "wrong", here) }); outcomes["rejected"] != 5 {
				t.Errorf("of 100 at once: %v", outcomes)
			}
		})
	})
}

// Others have as many tries over all sources as before, wherever they are counted.
func TestUnthrottledAccountIsGuessedNoFaster(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprint(replicas), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := house(t, replicas)[0]
				d.block("alice", here)
				if err := d.auth.Unthrottle(t.Context(), "alice", "alice"); err != nil {
					t.Fatal(err)
				}
				tried := 0
				for d.try("alice", "wrong", fmt.Sprintf("203.0.113.%d", tried)) == "rejected" {
					tried++
				}
				if tried < 20 || tried > 21 { // the wait of a second passes while one is hashed
					t.Errorf("%d tries, want 20", tried)
				}
			})
		})
	}
}

// A source that a user knows and that failed a hundred times is known again.
func TestUnthrottleResetsAKnownSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := house(t, 1)[0]
		d.expect("alice", "right", here, "in")
		d.fail("alice", here, 100)
		if err := d.auth.Unthrottle(t.Context(), "alice"); err != nil { // the ID is enough
			t.Fatal(err)
		}
		d.expect("alice", "right", here, "in")
	})
}

// Where failures count by name, the names are what helps. It helps no account whose
// name looks alike.
func TestUnthrottleByName(t *testing.T) {
	t.Parallel()
	for name, counts := range map[string]bool{"by account": true, "by name": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				users := &exactNames{counts: counts}
				d := &door{T: t, gatekeeper: &users.gatekeeper, auth: newService(t, new(memory.Store), users, nil)}
				d.block("alicé", here)
				if err := d.auth.Unthrottle(t.Context(), "id of alice", "alice"); err != nil {
					t.Fatal(err)
				}
				for _, from := range []string{here, there, "203.0.113.1"} {
					if got := d.try("alicé", "right", from); !minutes(got) {
						t.Errorf("alicé from %s: %s", from, got)
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

// A storage that fails tells so.
func TestUnthrottleReportsAStorageThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		storage.script(func(int) (bool, error) { return false, errConnection })
		if err := d.auth.Unthrottle(t.Context(), "17", "alice"); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	})
}
