package tokenauth_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An Authenticator may search several tables, and verify the code of a request
// for an account in each. The code then counts for each account, and remains a
// wrong one of the first account whatever happens at the second.
func TestCodeCountsForEachAccount(t *testing.T) {
	t.Parallel()
	for second, test := range map[string]struct {
		want string // the response
		bob  string // the response to one more wrong code of the second account
	}{
		"wrong":        {want: "mfa_invalid", bob: "wait 1"},
		"right":        {want: "in", bob: "mfa_invalid"},
		"not verified": {want: "temporarily_unavailable", bob: "mfa_invalid"},
	} {
		t.Run(second, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := newCodeTest(t, new(memory.Store), nil)
				d.then = func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
					if p, err := d.checkCode(ctx, c); err != invalid {
						return p, err
					}
					if err := c.CountAttempt(ctx, "id of bob"); err != nil {
						return tokenauth.Principal{}, err
					}
					if _, err := c.Code(ctx, "otp"); err != nil {
						return tokenauth.Principal{}, err
					}
					switch second {
					case "right":
						return accept(ctx, c)
					case "not verified":
						return tokenauth.Principal{}, errConnection
					}
					return tokenauth.Principal{}, invalid
				}
				for range 5 {
					d.expectCode(here, "1", test.want)
				}
				d.then = d.checkCode
				d.expectCode(here, "1", "wait 1")
				if got := d.try(here, "bob", "right", "otp", "1"); got != test.bob {
					t.Errorf("a further wrong code of the second account: %s, want %s", got, test.bob)
				}
			})
		})
	}
}
