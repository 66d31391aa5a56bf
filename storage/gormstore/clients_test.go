package gormstore_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/mysql"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// registered returns a service whose clients are in the store's table.
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
		first, err := clients.Create(ctx, tokenauth.Client{ID: "web"})
		if err != nil {
			t.Fatal(err)
		}
		if err := clients.CreatePublic(ctx, tokenauth.Client{ID: "mobile"}); err != nil {
			t.Fatal(err)
		}
		if _, err := clients.Create(ctx, tokenauth.Client{ID: "web"}); !errors.Is(err, gormstore.ErrExists) {
			t.Errorf("creating a client with the same ID: error %v, want ErrExists", err)
		}
		if err := clients.CreatePublic(ctx, tokenauth.Client{ID: "WEB"}); err != nil {
			t.Errorf("creating a client whose ID differs in case: %v", err)
		}
		for _, bad := range []tokenauth.Client{
			{}, {ID: "a\n"}, {ID: "\xff"}, {ID: strings.Repeat("x", 257)}, {ID: "x", Roles: []string{"a,b"}}, {ID: "x", Secrets: []tokenauth.Digest{{}}},
		} {
			if _, err := clients.Create(ctx, bad); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("%+v: error %v, want ErrInvalid", bad, err)
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
				t.Errorf("%s: error %v, want ErrInvalidClient", clientID, err)
			}
		}
		none := tokenauth.Secret{}
		web, mobile := good("web", first), good("mobile", none)
		bad("web", none)
		bad("web", tokenauth.NewSecret("guess"))
		bad("mobile", tokenauth.NewSecret("guess"))
		bad("unknown", none)
		bad("", none)
		// A user has one token at each client.
		for _, accessToken := range []string{web, mobile} {
			if _, err := auth.Validate(ctx, accessToken); err != nil {
				t.Error(err)
			}
		}

		// A rotation replaces the secret.
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
		if err := clients.DropOldSecret(ctx, "web"); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("DropOldSecret without an old secret: error %v, want ErrNotFound", err)
		}
		for _, clientID := range []string{"mobile", "unknown"} {
			if _, err := clients.RotateSecret(ctx, clientID); !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("RotateSecret of a public client: error %v, want ErrNotFound", err)
			}
		}

		// Disabling or deleting a client ends its tokens, and no other client's.
		ended := func(accessToken string, want bool) {
			t.Helper()
			if _, err := auth.Validate(ctx, accessToken); errors.Is(err, tokenauth.ErrInvalidToken) != want {
				t.Errorf("ended is not %v: %v", want, err)
			}
		}
		for range 2 { // disabling twice is not an error
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
		if err := clients.Delete(ctx, "mobile"); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("deleting twice: error %v, want ErrNotFound", err)
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
				t.Errorf("finding a client with an invalid digest: error %v, want ErrUnavailable", err)
			}
		}
	})
}

// A client with Roles accepts only users who have one of them. Others get the same error
// as with a wrong password.
func TestClientRolesRestrictUsers(t *testing.T) {
	t.Parallel()
	s, _ := engines[0].store(t)
	auth := registered(t, s)
	user := create(t, s, "alice")
	if err := s.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "back-office", Roles: []string{"Auditor", "Administrator"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := signInBy(t.Context(), auth, "back-office", tokenauth.Secret{}); !errors.Is(err, tokenauth.ErrRejected) {
		t.Errorf("without the role: error %v, want ErrRejected", err)
	}
	if err := s.Users().SetRoles(t.Context(), user.ID, "Reader", "Auditor"); err != nil {
		t.Fatal(err)
	}
	if _, err := signInBy(t.Context(), auth, "back-office", tokenauth.Secret{}); err != nil {
		t.Errorf("with the role: %v", err)
	}
}

// RevokeClient reads every token. MariaDB and MySQL may keep rows locked that a DELETE
// has read. Sign-ins at other clients must not wait for these locks.
func TestRevokeClientBlocksNoOtherClient(t *testing.T) {
	t.Parallel()
	db := openDialector(t, mysql.Open(throwaway.MariaDB(t)), nil)
	s := newStore(t, db, nil)
	auth, err := tokenauth.New(s, noUsers{}, &tokenauth.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(userID, clientID string) {
		t.Helper()
		if _, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: userID}, &tokenauth.IssueOptions{ClientID: clientID}); err != nil {
			t.Errorf("a sign-in of %s at %s: %v", userID, clientID, err)
		}
	}
	users := []string{"1", "2", "3", "4"}
	for _, userID := range users {
		issue(userID, "web")
		issue(userID, "mobile")
	}
	// RevokeClient reads in the order of the keys. A transaction locks the last one.
	slices.SortFunc(users, func(a, b string) int {
		x, y := tokenauth.UserKeyOf(a), tokenauth.UserKeyOf(b)
		return bytes.Compare(x[:], y[:])
	})
	last := tokenauth.UserKeyOf(users[len(users)-1])
	holding := db.Begin()
	defer holding.Rollback()
	if err := holding.Exec(`UPDATE tokenauth_tokens SET user_name = 'held' WHERE user_key = ?`, last[:]).Error; err != nil {
		t.Fatal(err)
	}
	revoked := make(chan error, 1)
	go func() { revoked <- s.RevokeClient(t.Context(), "web") }()
	deadline := time.Now().Add(30 * time.Second)
	// MariaDB reads that table again only if no one read it for a tenth of a second.
	for waiting := 0; waiting == 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("RevokeClient does not wait for the locked row")
		}
		err := db.Raw(`SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist ON id = trx_mysql_thread_id
			WHERE trx_state = 'LOCK WAIT' AND db = database()`).Scan(&waiting).Error
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, userID := range users[:len(users)-1] {
		issue(userID, "mobile")
	}
	issue("somebody new", "mobile")
	holding.Rollback()
	if err := <-revoked; err != nil {
		t.Fatal(err)
	}
	for _, userID := range users {
		tokens, err := auth.Tokens(t.Context(), userID)
		if err != nil || len(tokens) != 1 || tokens[0].ClientID != "mobile" {
			t.Errorf("user %s has %d tokens, error %v", userID, len(tokens), err)
		}
	}
}
