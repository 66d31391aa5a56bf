package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// lenient is an Authenticator that accepts the password "right" for any user.
type lenient struct{}

func (lenient) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := c.CountAttempt(ctx, c.UserName); err != nil {
		return tokenauth.Principal{}, err
	}
	if c.Password.Reveal() != "right" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName}, nil
}

// After Unthrottle at one replica, the account has ten attempts in a row at another
// replica, even from a source that is throttled for all other accounts.
func TestUnthrottleAppliesToAllReplicas(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		now := time.Now()
		replica := func() *tokenauth.Service {
			auth, err := tokenauth.New(s, lenient{}, &tokenauth.Options{Logger: quiet, Timeout: 10 * time.Second, Now: func() time.Time { return now }, Throttle: tokenauth.ThrottleOptions{
				PerAccountAndSource: 50, PerAccount: 50, PerSource: 5, Key: tokenauth.NewSecret("the same thirty-two bytes or more on all replicas"),
			}})
			if err != nil {
				t.Fatal(err)
			}
			return auth
		}
		desk, guesses := netip.MustParseAddr("192.0.2.1"), 0
		try := func(auth *tokenauth.Service, name, password string) error {
			guesses++
			if password == "wrong" {
				password = fmt.Sprint(password, guesses)
			}
			_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: name, Password: tokenauth.NewSecret(password), RemoteAddr: desk})
			return err
		}
		asked, other := replica(), replica()
		for range 5 {
			if err := try(other, "somebody", "wrong"); !errors.Is(err, tokenauth.ErrRejected) {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"alice", "bob"} {
			if err := try(replica(), name, "right"); !errors.Is(err, tokenauth.ErrThrottled) {
				t.Fatalf("%s before Unthrottle: error %v, want ErrThrottled", name, err)
			}
			if err := asked.Unthrottle(t.Context(), name, name); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(200 * time.Millisecond) // so that the replica reads the storage again
		for range 9 {
			if err := try(other, "alice", "wrong"); !errors.Is(err, tokenauth.ErrRejected) {
				t.Fatalf("one of the ten attempts: error %v, want ErrRejected", err)
			}
		}
		if err := try(other, "alice", "right"); err != nil {
			t.Errorf("the last attempt: %v", err)
		}
		now = now.Add(200 * time.Millisecond)
		tries := 0
		for range 20 {
			if err := try(other, "bob", "wrong"); errors.Is(err, tokenauth.ErrRejected) {
				tries++
			}
		}
		// Repeated passwords count once. They are compared by 16 bits, so a few different
		// ones look the same and take no attempt.
		if err := try(other, "bob", "right"); tries < 10 || tries > 11 || !errors.Is(err, tokenauth.ErrThrottled) {
			t.Errorf("%d attempts were allowed, and then %v", tries, err)
		}
		if err := try(other, "carol", "right"); !errors.Is(err, tokenauth.ErrThrottled) {
			t.Errorf("another user from the same source: error %v, want ErrThrottled", err)
		}
	})
}
