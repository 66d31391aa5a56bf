package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// The host's Check gets the account once the password is right, and decides
// before the hash is upgraded.
func TestUsersCallTheHostsCheck(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		var got []password.Account
		var refusal error
		db := e.open(t, nil)
		s := newStore(t, db, &gormstore.Options{Passwords: &password.Options{
			Check: func(_ context.Context, a password.Account, c tokenauth.Credentials) error {
				if c.UserName != "ALICE" {
					return fmt.Errorf("host: the credentials of %q", c.UserName)
				}
				got = append(got, a)
				return refusal
			},
		}})
		auth, ctx := service(t, s, s.Users()), t.Context()
		alice, err := s.Users().Import(ctx, gormstore.User{
			Name: "alice", Roles: []string{"Reader"}, Attributes: map[string]string{"tenant": "7"},
		}, cheapHash())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := signIn(ctx, auth, "ALICE", "wrong"); !errors.Is(err, tokenauth.ErrRejected) || len(got) != 0 {
			t.Errorf("a wrong password: got error %v and %d calls of Check, want ErrRejected and none", err, len(got))
		}

		refusal = tokenauth.ErrRejected
		if _, err := signIn(ctx, auth, "ALICE", "password"); !errors.Is(err, tokenauth.ErrRejected) || len(got) != 1 {
			t.Fatalf("rejected by Check: got error %v after %d calls of Check, want ErrRejected and 1", err, len(got))
		}
		if a := got[0]; a.UserID != alice.ID || a.UserName != "alice" || a.Row != nil ||
			!slices.Equal(a.Roles, alice.Roles) || !maps.Equal(a.Attributes, alice.Attributes) {
			t.Errorf("Check got the account of %q (%q) with roles %q, attributes %q and row %v", a.UserID, a.UserName, a.Roles, a.Attributes, a.Row)
		}
		if hash, _ := stored(t, db, "alice"); hash != cheapHash() {
			t.Error("the hash was upgraded although Check rejected the user")
		}

		refusal = nil
		if _, err := signIn(ctx, auth, "ALICE", "password"); err != nil || len(got) != 2 {
			t.Errorf("accepted by Check: got error %v after %d calls of Check, want no error and 2", err, len(got))
		}
		if hash, _ := stored(t, db, "alice"); hash == cheapHash() {
			t.Error("the hash was not upgraded after Check accepted the user")
		}
	})
}
