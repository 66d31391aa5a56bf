package gormstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// registered returns a service with a registry of clients.
func registered(t *testing.T, s *gormstore.Store) *tokenauth.Service {
	t.Helper()
	auth, err := tokenauth.New(s, s.Users(), &tokenauth.Options{Clients: s.Clients()})
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

func signInBy(ctx context.Context, auth *tokenauth.Service, clientID string, secret tokenauth.Secret) (string, error) {
	grant, err := auth.SignIn(ctx, tokenauth.Credentials{
		UserName: "alice", Password: tokenauth.NewSecret("password"), ClientID: clientID, ClientSecret: secret,
	})
	return grant.AccessToken.Reveal(), err
}

func TestClients(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, clients, auth := t.Context(), s.Clients(), registered(t, s)
		create(t, s, "alice")
		first, err := clients.Create(ctx, gormstore.NewClient{ID: "web"})
		if err != nil {
			t.Fatal(err)
		}
		if secret, err := clients.Create(ctx, gormstore.NewClient{ID: "mobile", Public: true}); err != nil || secret.Reveal() != "" {
			t.Fatalf("a public client has secret %q, error %v", secret.Reveal(), err)
		}
		if _, err := clients.Create(ctx, gormstore.NewClient{ID: "web"}); !errors.Is(err, gormstore.ErrClientExists) {
			t.Errorf("a client of the same ID: %v", err)
		}
		if _, err := clients.Create(ctx, gormstore.NewClient{ID: "WEB", Public: true}); err != nil {
			t.Errorf("IDs are compared exactly: %v", err)
		}
		for _, bad := range []gormstore.NewClient{{}, {ID: "a\n"}, {ID: "\xff"}, {ID: strings.Repeat("x", 257)}, {ID: "x", Roles: []string{"a,b"}}} {
			if _, err := clients.Create(ctx, bad); !errors.Is(err, gormstore.ErrClient) {
				t.Errorf("%+v: %v", bad, err)
			}
		}

		good := func(clientID string, secret tokenauth.Secret) string {
			t.Helper()
			accessToken, err := signInBy(ctx, auth, clientID, secret)
			if err != nil {
				t.Errorf("%s: %v", clientID, err)
			}
			return accessToken
		}
		bad := func(clientID string, secret tokenauth.Secret) {
			t.Helper()
			if _, err := signInBy(ctx, auth, clientID, secret); !errors.Is(err, tokenauth.ErrInvalidClient) {
				t.Errorf("%s: %v", clientID, err)
			}
		}
		none := tokenauth.Secret{}
		web, mobile := good("web", first), good("mobile", none)
		bad("web", none)
		bad("web", tokenauth.NewSecret("guess"))
		bad("mobile", tokenauth.NewSecret("guess"))
		bad("unknown", none)
		bad("", none)
		// Each client has a token of its own.
		for _, accessToken := range []string{web, mobile} {
			if _, err := auth.Validate(ctx, accessToken); err != nil {
				t.Error(err)
			}
		}

		// One secret takes another's place.
		second, err := clients.RotateSecret(ctx, "web")
		if err != nil {
			t.Fatal(err)
		}
		good("web", first)
		good("web", second)
		if err := clients.DropOldSecret(ctx, "web"); err != nil {
			t.Fatal(err)
		}
		bad("web", first)
		web = good("web", second)
		if err := clients.DropOldSecret(ctx, "web"); !errors.Is(err, gormstore.ErrClientNotFound) {
			t.Errorf("dropping none: %v", err)
		}
		for _, clientID := range []string{"mobile", "unknown"} {
			if _, err := clients.RotateSecret(ctx, clientID); !errors.Is(err, gormstore.ErrClientNotFound) {
				t.Errorf("rotating what has no secret: %v", err)
			}
		}

		// What disables or deletes a client ends its tokens, and no other's.
		ended := func(accessToken string, want bool) {
			t.Helper()
			if _, err := auth.Validate(ctx, accessToken); errors.Is(err, tokenauth.ErrInvalidToken) != want {
				t.Errorf("ended is not %v: %v", want, err)
			}
		}
		for range 2 { // twice is fine
			if err := clients.SetDisabled(ctx, "web", true); err != nil {
				t.Fatal(err)
			}
		}
		ended(web, true)
		ended(mobile, false)
		bad("web", second)
		if err := clients.SetDisabled(ctx, "web", false); err != nil {
			t.Fatal(err)
		}
		web = good("web", second)

		tx := db.Begin()
		if err := clients.WithTx(tx).Delete(ctx, "mobile"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback().Error; err != nil {
			t.Fatal(err)
		}
		ended(mobile, false)
		if err := clients.Delete(ctx, "mobile"); err != nil {
			t.Fatal(err)
		}
		ended(mobile, true)
		ended(web, false)
		bad("mobile", none)
		if err := clients.Delete(ctx, "mobile"); !errors.Is(err, gormstore.ErrClientNotFound) {
			t.Errorf("deleting twice: %v", err)
		}
		if err := auth.RevokeClient(ctx, "web"); err != nil {
			t.Fatal(err)
		}
		ended(web, true)

		if e.name == "postgres" { // the others have no such bytes to store
			if err := db.Exec(`UPDATE tokenauth_clients SET secret = '\x00' WHERE id = 'web'`).Error; err != nil {
				t.Fatal(err)
			}
			if _, err := signInBy(ctx, auth, "web", none); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("a secret that cannot be: %v", err)
			}
		}
	})
}

// A client is for users with certain roles; others are rejected as any are.
func TestClientsOfRoles(t *testing.T) {
	t.Parallel()
	s, _ := engines[0].store(t)
	auth := registered(t, s)
	user := create(t, s, "alice")
	if _, err := s.Clients().Create(t.Context(), gormstore.NewClient{ID: "back-office", Public: true, Roles: []string{"Auditor", "Administrator"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := signInBy(t.Context(), auth, "back-office", tokenauth.Secret{}); !errors.Is(err, tokenauth.ErrRejected) {
		t.Errorf("without the role: %v", err)
	}
	if err := s.Users().SetRoles(t.Context(), user.ID, "Reader", "Auditor"); err != nil {
		t.Fatal(err)
	}
	if _, err := signInBy(t.Context(), auth, "back-office", tokenauth.Secret{}); err != nil {
		t.Errorf("with the role: %v", err)
	}
}
