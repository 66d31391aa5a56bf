package password_test

import (
	"errors"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// For the owner of an API key, Reload accepts every change except one of the right to
// sign in.
func TestReloadForTheOwnerOfAKey(t *testing.T) {
	t.Parallel()
	account := password.Account{UserID: "17", UserName: "alice", PasswordHash: "x", Roles: []string{"Reader"}}
	owner := tokenauth.Principal{UserID: "17", UserName: "a former name"}
	if p, err := account.Reload(owner); err != nil || p.UserName != "alice" || p.Stamp == "" || len(p.Roles) != 1 {
		t.Errorf("got %+v, error %v, want the current principal", p, err)
	}
	disabled := account
	disabled.Disabled = true
	for _, test := range []struct {
		name    string
		account password.Account
		p       tokenauth.Principal
	}{
		{"a disabled user", disabled, owner},
		{"another user", account, tokenauth.Principal{UserID: "18", UserName: "alice"}},
		{"a sign-in with another stamp", account, tokenauth.Principal{UserID: "17", UserName: "alice", Stamp: "x"}},
		{"a sign-in without a stamp", account, tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}}},
		{"a sign-in without a stamp and roles", account, tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{}}},
	} {
		if _, err := test.account.Reload(test.p); !errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("%s: error %v, want ErrRejected", test.name, err)
		}
	}
}
