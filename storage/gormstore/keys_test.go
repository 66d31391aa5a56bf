package gormstore_test

import (
	"slices"
	"strings"
	"testing"

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
			}, []string{"list", "store", "read the user", "list"}},
			{"the first validation", func() error { return second(keys.Validate(ctx, secret.Reveal())) },
				[]string{"read both", "read the user", "store", "read the user", "read the user", "read", "read uses", "record the use", "extend"}},
			{"a validation", func() error { return second(keys.Validate(ctx, secret.Reveal())) }, []string{"read both"}},
			{"a list", func() error { return second(keys.List(ctx, user)) }, []string{"list"}},
			{"renaming", func() error { return keys.Rename(ctx, user, key.ID, "nightly") }, []string{"read", "rename"}},
			{"ending", func() error { return keys.Revoke(ctx, user, key.ID) }, []string{"read", "read", "end"}},
			{"ending all", func() error { return keys.RevokeAll(ctx, user) }, []string{"end all"}},
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
