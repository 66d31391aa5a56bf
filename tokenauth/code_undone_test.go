package tokenauth_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// notVerified reads both codes, and then fails.
func notVerified(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	for _, parameter := range []string{"otp", "recovery"} {
		if _, err := c.Code(ctx, parameter); err != nil {
			return tokenauth.Principal{}, err
		}
	}
	return tokenauth.Principal{}, errConnection
}

// A code that could not be verified starts no new wait, so that the user can
// send it again at once.
func TestCodeThatWasNotVerifiedStartsNoWait(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas []*codeTest) {
		d, last := replicas[0], replicas[len(replicas)-1]
		guess(t, replicas, 12)
		d.expectCode(here, "123456", "wait 128")
		time.Sleep(128 * time.Second)
		d.then = notVerified
		for range 3 {
			if got := d.try(here, "alice", "right", "otp", "123456", "recovery", "x"); got != "temporarily_unavailable" {
				t.Errorf("while codes cannot be verified: %s", got)
			}
		}
		d.then = d.checkCode
		last.expectCode(there, "1", "mfa_invalid")
		last.expectCode(there, "1", "wait 256")
		time.Sleep(256 * time.Second)
		last.expectCode(there, "123456", "in")
	})
}

// If the answer of the storage is lost, but not the count, a code that is right
// or that could not be verified does not count either.
func TestLostAnswerCountsNoCode(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"right": "in", "not verified": "temporarily_unavailable"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				storage := new(sharedCounters)
				d := newCodeTest(t, storage, &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 32))}})
				d.then = func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
					lost := false
					storage.script(func(int) (bool, error) {
						if lost {
							return true, nil
						}
						lost = true
						return true, errConnection
					})
					if want == "in" {
						return d.checkCode(ctx, c)
					}
					return notVerified(ctx, c)
				}
				for range 20 {
					d.expectCode(here, "123456", want)
				}
				if n := storage.countersOfCodes(); n != 0 {
					t.Errorf("%d counters of codes have failures, want none", n)
				}
			})
		})
	}
}
