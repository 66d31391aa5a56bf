package tokenauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Sign-ins to a throttled name take hardly any transactions, whatever the
// spelling.
func TestSpellingsOfABlockedNameTakeFewTransactions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		d := storage.replica(t, tokenauth.Options{})
		d.fail("nobody", here, 12) // the next attempt must wait more than a minute
		before := storage.script(nil)
		for i := range 1000 {
			spelling := "nobody" + strings.NewReplacer("0", "\u200b", "1", "\u200c").Replace(fmt.Sprintf("%010b", i))
			if _, err := time.ParseDuration(d.try(spelling, "wrong", here)); err != nil {
				t.Fatal(err)
			}
		}
		if calls, _ := storage.figures(); calls-before > 20 {
			t.Errorf("%d transactions for 1000 throttled sign-ins, want at most 20", calls-before)
		}
	})
}

// After Unthrottle on one replica, another replica lets the user in, although a
// new attempt fails there first.
func TestUnthrottleReachesOtherReplicas(t *testing.T) {
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
			t.Errorf("the failed attempt: %s, want rejected", got)
		}
	})
}

// lateCounter panics, but starts a goroutine that counts the attempt a second
// later.
type lateCounter struct{ counted chan error }

func (l *lateCounter) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	go func() {
		time.Sleep(time.Second)
		l.counted <- c.CountAttempt(context.WithoutCancel(ctx), "17")
	}()
	panic("a bug in the host's code")
}

func TestCountAttemptAfterAPanicLeavesNothingPending(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		users := &lateCounter{make(chan error)}
		auth := newService(t, storage, users, &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 32))}})
		func() {
			defer func() { recover() }()
			auth.SignIn(t.Context(), credentials("alice", "right", here))
		}()
		if err := <-users.counted; err != nil {
			t.Error(err)
		}
		if n := storage.pending(); n != 0 {
			t.Errorf("%d attempts are pending, want 0", n)
		}
	})
}
