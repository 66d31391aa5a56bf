package tokenauth_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A name that is blocked costs no transactions, whatever its spelling.
func TestSpellingsOfABlockedNameTakeFewTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		d.fail("nobody", here, 12) // the next has to wait for more than a minute
		before := storage.script(nil)
		for i := range 1000 {
			spelling := "nobody" + strings.NewReplacer("0", "\u200b", "1", "\u200c").Replace(fmt.Sprintf("%010b", i))
			if _, err := time.ParseDuration(d.try(spelling, "wrong", here)); err != nil {
				t.Fatal(err)
			}
		}
		if calls, _ := storage.figures(); calls-before > 20 {
			t.Errorf("%d transactions for 1000 sign-ins that are blocked", calls-before)
		}
	})
}

// A replica that finds an account reset believes that, although somebody failed.
func TestReplicaBelievesAnUnthrottledAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		one, other := storage.replica(t, tokenauth.Options{}), storage.replica(t, tokenauth.Options{})
		for i := range 100 {
			one.fail("alice", fmt.Sprintf("203.0.113.%d", i), 1)
		}
		other.expect("alice", "right", there, "1h0m0s")
		if err := one.auth.Unthrottle(t.Context(), "17", "alice"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		done := make(chan string)
		go func() { done <- other.try("alice", "wrong", "198.51.100.2") }()
		time.Sleep(50 * time.Millisecond)
		other.expect("alice", "right", "198.51.100.3", "in")
		if got := <-done; got != "rejected" {
			t.Errorf("the guesser: %s", got)
		}
	})
}
