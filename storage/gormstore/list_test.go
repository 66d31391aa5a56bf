package gormstore_test

import (
	"errors"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// List reports corrupt rows as an error, and returns all other tokens.
func TestListReportsCorruptRows(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		auth := service(t, s, noUsers{})
		clients := []string{"", "web", "mobile", "desktop"}
		for _, client := range clients {
			if _, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "1", Roles: []string{"Reader"}}, &tokenauth.IssueOptions{ClientID: client}); err != nil {
				t.Fatal(err)
			}
		}
		lists := func(want int, corrupt bool) {
			t.Helper()
			tokens, err := s.List(t.Context(), tokenauth.UserKeyOf("1"))
			if len(tokens) != want || errors.Is(err, tokenauth.ErrCorrupt) != corrupt || !corrupt && err != nil {
				t.Errorf("List returns %d tokens, error %v, want %d", len(tokens), err, want)
			}
			for _, token := range tokens {
				if token.ClientID == "web" || token.Principal.UserID != "1" || len(token.Principal.Roles) != 1 {
					t.Errorf("List returns %+v", token)
				}
			}
		}
		for what, spoil := range map[string]string{"another format": "format = 2", "no JSON": "attributes = 'x'"} {
			if err := db.Exec("UPDATE tokenauth_tokens SET " + spoil + " WHERE client_id = 'web'").Error; err != nil {
				t.Fatal(what, err)
			}
			lists(3, true)
		}
		if err := db.Exec("DELETE FROM tokenauth_tokens WHERE client_id = 'web'").Error; err != nil {
			t.Fatal(err)
		}
		lists(3, false)
		if err := db.Exec("UPDATE tokenauth_tokens SET format = 2").Error; err != nil {
			t.Fatal(err)
		}
		lists(0, true)
		if err := db.Exec("DROP TABLE tokenauth_tokens").Error; err != nil {
			t.Fatal(err)
		}
		if tokens, err := s.List(t.Context(), tokenauth.UserKeyOf("1")); err == nil || tokens != nil || errors.Is(err, tokenauth.ErrCorrupt) {
			t.Errorf("with a database error List returns %v, %v", tokens, err)
		}
	})
}
