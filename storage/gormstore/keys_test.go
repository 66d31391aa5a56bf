package gormstore_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The statements of API keys are those that the README lists, one after another.
func TestStatementsOfKeys(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, r := recorded(t, e)
		create(t, s, "alice", "Reader")
		ctx := t.Context()
		auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{
			Logger: quiet, Timeout: busyTimeout, Throttle: tokenauth.ThrottleOptions{InsecureOff: true}, Keys: &tokenauth.KeyOptions{},
		})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := tokenauth.NewKeys(auth)
		if err != nil {
			t.Fatal(err)
		}
		issued, err := signIn(ctx, auth, "alice", "password")
		if err != nil {
			t.Fatal(err)
		}
		user := issued.Token.Principal.UserID
		var secret tokenauth.Secret
		var key tokenauth.Key
		for _, step := range []struct {
			what string
			do   func() error
			want []string
		}{
			{"making a key", func() error {
				secret, key, err = keys.Create(ctx, issued.Token, tokenauth.Key{Name: "CI"})
				return err
			}, []string{"list", "store", "read", "read the user", "list"}},
			{"the first validation", func() error { return second(keys.Validate(ctx, secret.Reveal())) },
				[]string{"read both", "read the user", "store", "read the user", "read the user", "read", "read uses", "record the use", "extend"}},
			{"a validation", func() error { return second(keys.Validate(ctx, secret.Reveal())) }, []string{"read both"}},
			{"a list", func() error { return second(keys.List(ctx, user)) }, []string{"list"}},
			{"renaming", func() error { return keys.Rename(ctx, user, key.ID, "nightly") }, []string{"read", "rename"}},
			{"ending", func() error { return keys.Revoke(ctx, user, key.ID) }, []string{"read", "read", "end"}},
			{"ending all", func() error { return keys.RevokeAll(ctx, user) }, []string{"list", "end all"}},
		} {
			sent := r.during(func() { err = step.do() })
			if err != nil {
				t.Fatalf("%s: %v", step.what, err)
			}
			var got []string
			for _, statement := range sent {
				got = append(got, kindOfKeyStatement(statement))
			}
			// Where the store prepares statements, only their first use is recorded.
			if e.name == "postgres" && !slices.Equal(got, step.want) || slices.ContainsFunc(got, func(kind string) bool { return !slices.Contains(step.want, kind) }) {
				t.Errorf("%s sends %q, want %q:\n%s", step.what, got, step.want, strings.Join(sent, "\n"))
			}
		}
	})
}

// kindOfKeyStatement returns what a statement does, or the statement itself.
func kindOfKeyStatement(statement string) string {
	for _, kind := range []struct{ part, name string }{
		{"FROM tokenauth_users", "read the user"},
		{"INSERT INTO tokenauth_uses", "record the use"},
		{"BEGIN", "record the use"}, // on MariaDB
		{"SET device_name = ", "rename"},
		{"SET expires_at = ", "extend"},
		{"INSERT INTO tokenauth_tokens", "store"},
		{"LEFT JOIN tokenauth_uses", "list"},
	} {
		if strings.Contains(statement, kind.part) {
			return kind.name
		}
	}
	batch, one := strings.Contains(statement, "asked") || strings.Contains(statement, "STRAIGHT_JOIN"), strings.Contains(statement, "digest = ")
	switch {
	case batch && strings.Contains(statement, "tokenauth_uses"):
		return "read uses"
	case batch:
		return "read both"
	case strings.Contains(statement, "DELETE") && one:
		return "end"
	case strings.Contains(statement, "DELETE"):
		return "end all"
	case strings.Contains(statement, "tokenauth_tokens"):
		return "read"
	}
	return statement
}

// After Delete, and after Import of another user with the same ID, no key of the earlier
// user is valid, and the storage has none. Other users keep theirs.
func TestALaterUserWithTheIDDoesNotHaveTheKeys(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, users := t.Context(), s.Users()
		auth, err := tokenauth.New(s, users, &tokenauth.Options{Logger: quiet, Timeout: busyTimeout, Keys: &tokenauth.KeyOptions{}})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := tokenauth.NewKeys(auth)
		if err != nil {
			t.Fatal(err)
		}
		hire := func(id, name string) {
			t.Helper()
			if _, err := users.Import(ctx, gormstore.User{ID: id, Name: name, Roles: []string{"Reader"}}, cheapHash()); err != nil {
				t.Fatal(err)
			}
		}
		issue := func(id, name string) string {
			t.Helper()
			secret, _, err := keys.Create(ctx, tokenauth.Token{Principal: tokenauth.Principal{UserID: id, UserName: name}}, tokenauth.Key{Name: "CI"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := keys.Validate(ctx, secret.Reveal()); err != nil {
				t.Fatal(err)
			}
			return secret.Reveal()
		}
		hire("18", "bob")
		bobs := issue("18", "bob")
		for how, end := range map[string]func() error{
			"Delete": func() error { return users.Delete(ctx, "17") },
			"Delete in a transaction": func() error {
				return db.Transaction(func(tx *gorm.DB) error { return users.WithTx(tx).Delete(ctx, "17") })
			},
			"nothing else, because the host deleted the row": func() error { return db.Exec("DELETE FROM tokenauth_users WHERE id = '17'").Error },
		} {
			hire("17", "alice")
			key := issue("17", "alice")
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if _, err := keys.Validate(ctx, key); strings.HasPrefix(how, "Delete") && !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("after %s: error %v, want ErrInvalidToken", how, err)
			}
			hire("17", "alice")
			if _, err := keys.Validate(ctx, key); !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("after %s and Import: error %v, want ErrInvalidToken", how, err)
			}
			if list, err := keys.List(ctx, "17"); err != nil || len(list) != 0 {
				t.Errorf("after %s and Import, the list is %+v, error %v", how, list, err)
			}
			if err := users.Delete(ctx, "17"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := keys.Validate(ctx, bobs); err != nil {
			t.Errorf("another user's key: error %v", err)
		}
	})
}
