package gormstore_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An imported client keeps its secrets. Their order is that of a rotation.
func TestImportClient(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, clients, auth := t.Context(), s.Clients(), registered(t, s)
		create(t, s, "alice")
		newer, older := tokenauth.NewSecret("the newer secret"), tokenauth.NewSecret("the older secret")
		digest := func(s tokenauth.Secret) tokenauth.Digest { return sha256.Sum256([]byte(s.Reveal())) }
		both := tokenauth.Client{ID: "both", Secrets: []tokenauth.Digest{digest(newer), digest(older)}, Roles: []string{"a", "b"}, IntrospectsAll: true, Disabled: true}
		one := tokenauth.Client{ID: "one", Secrets: []tokenauth.Digest{digest(newer)}}
		none := tokenauth.Client{ID: "none"}
		for _, client := range []tokenauth.Client{both, one, none} {
			if err := clients.Import(ctx, client); err != nil {
				t.Fatalf("%s: %v", client.ID, err)
			}
			found, err := clients.FindClient(ctx, client.ID)
			if err != nil || fmt.Sprint(found) != fmt.Sprint(client) {
				t.Errorf("found %+v, error %v, want %+v", found, err, client)
			}
			if err := clients.Import(ctx, client); !errors.Is(err, gormstore.ErrExists) {
				t.Errorf("importing %s again: error %v, want ErrExists", client.ID, err)
			}
		}
		for _, test := range []struct {
			id     string
			secret tokenauth.Secret
			want   error
		}{
			{"one", newer, nil}, {"one", older, tokenauth.ErrInvalidClient}, {"one", tokenauth.Secret{}, tokenauth.ErrInvalidClient},
			{"none", tokenauth.Secret{}, nil}, {"both", newer, tokenauth.ErrInvalidClient},
		} {
			if _, err := signInBy(ctx, auth, test.id, test.secret); !errors.Is(err, test.want) {
				t.Errorf("signing in at %s: error %v, want %v", test.id, err, test.want)
			}
		}
		if err := clients.DropOldSecret(ctx, "both"); err != nil {
			t.Fatal(err)
		}
		if found, err := clients.FindClient(ctx, "both"); err != nil || !slices.Equal(found.Secrets, both.Secrets[:1]) {
			t.Errorf("without the old secret: %+v, error %v", found, err)
		}
		for _, bad := range []tokenauth.Client{
			{}, {ID: "a\n"}, {ID: "x", Roles: []string{""}}, {ID: "x", IntrospectsOwn: true},
			{ID: "x", Secrets: []tokenauth.Digest{{}}}, {ID: "x", Secrets: []tokenauth.Digest{{1}, {}}}, {ID: "x", Secrets: []tokenauth.Digest{{1}, {2}, {3}}},
		} {
			if err := clients.Import(ctx, bad); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("%+v: error %v, want ErrInvalid", bad, err)
			}
		}
		if err := clients.CreatePublic(ctx, one); !errors.Is(err, gormstore.ErrInvalid) {
			t.Errorf("a public client with a secret: error %v, want ErrInvalid", err)
		}
		errRollBack := errors.New("roll back")
		err := db.Transaction(func(tx *gorm.DB) error {
			if err := clients.WithTx(tx).Import(ctx, tokenauth.Client{ID: "in a transaction"}); err != nil {
				return err
			}
			return errRollBack
		})
		if _, findErr := clients.FindClient(ctx, "in a transaction"); !errors.Is(err, errRollBack) || !errors.Is(findErr, tokenauth.ErrNotFound) {
			t.Errorf("rolled back: errors %v, %v", err, findErr)
		}
	})
}

func TestListClients(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		ctx, clients := t.Context(), s.Clients()
		for i := range 25 {
			if err := clients.CreatePublic(ctx, tokenauth.Client{ID: fmt.Sprintf("client%02d", i), Roles: []string{"Reader"}}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := clients.Create(ctx, tokenauth.Client{ID: "client_%", IntrospectsOwn: true}); err != nil {
			t.Fatal(err)
		}
		ids := make(map[string]int)
		after := ""
		for {
			page, err := clients.List(ctx, gormstore.ListOptions{After: after, Limit: 10})
			if err != nil {
				t.Fatal(err)
			}
			for _, client := range page {
				ids[client.ID]++
				if strings.Contains(client.ID, "%") != (len(client.Secrets) == 1 && client.IntrospectsOwn) || strings.Contains(client.ID, "%") == slices.Equal(client.Roles, []string{"Reader"}) {
					t.Errorf("listed %+v", client)
				}
			}
			if len(page) < 10 {
				break
			}
			after = page[len(page)-1].ID
		}
		if len(ids) != 26 || ids["client07"] != 1 {
			t.Errorf("listed %v", ids)
		}
		for search, want := range map[string]int{"_%": 1, "client1": 10, "CLIENT": 0, "": 26} {
			if found, err := clients.List(ctx, gormstore.ListOptions{Search: search}); err != nil || len(found) != want {
				t.Errorf("searching %q finds %d clients, error %v, want %d", search, len(found), err, want)
			}
		}
	})
}

// An update replaces roles and rights and keeps the rest. It ends the client's tokens if
// some users may no longer sign in through the client.
func TestUpdateClient(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, clients, auth := t.Context(), s.Clients(), registered(t, s)
		create(t, s, "alice", "a", "b", "c")
		secret, err := clients.Create(ctx, tokenauth.Client{ID: "web"})
		if err != nil {
			t.Fatal(err)
		}
		if err := clients.CreatePublic(ctx, tokenauth.Client{ID: "mobile"}); err != nil {
			t.Fatal(err)
		}
		bystander, err := signInBy(ctx, auth, "mobile", tokenauth.Secret{})
		if err != nil {
			t.Fatal(err)
		}
		ways := map[string]func(tokenauth.Client) error{
			"own": func(client tokenauth.Client) error { return clients.Update(ctx, client) },
			"host's": func(client tokenauth.Client) error {
				return db.Transaction(func(tx *gorm.DB) error { return clients.WithTx(tx).Update(ctx, client) })
			},
		}
		for way, update := range ways {
			for _, step := range []struct {
				roles []string
				ends  bool
			}{
				{nil, false}, {[]string{"a"}, true}, {[]string{"a", "b"}, false}, {[]string{"b", "a"}, false},
				{[]string{"b", "c"}, true}, {[]string{"b"}, true}, {nil, false},
			} {
				token, err := signInBy(ctx, auth, "web", secret)
				if err != nil {
					t.Fatal(err)
				}
				client, err := clients.FindClient(ctx, "web")
				if err != nil {
					t.Fatal(err)
				}
				client.Roles, client.IntrospectsOwn, client.IntrospectsAll = step.roles, len(step.roles) == 1, len(step.roles) == 2
				client.Secrets, client.Disabled = []tokenauth.Digest{{9}}, true // ignored
				if err := update(client); err != nil {
					t.Fatal(err)
				}
				found, err := clients.FindClient(ctx, "web")
				if err != nil || !slices.Equal(found.Roles, step.roles) || found.Disabled || found.IntrospectsOwn != client.IntrospectsOwn || found.IntrospectsAll != client.IntrospectsAll {
					t.Errorf("found %+v, error %v, want %+v", found, err, client)
				}
				if way == "host's" && e.name == "mariadb" && step.ends {
					pending, err := clients.PendingRevocations(ctx, tokenauth.Revocation{}) // Run ends the tokens
					if err != nil || len(pending) != 1 {
						t.Errorf("%d revocations are queued, error %v", len(pending), err)
					}
					continue
				}
				if _, err := auth.Validate(ctx, token); (err != nil) != step.ends {
					t.Errorf("%s transaction, roles %v: error %v, want the token to end: %v", way, step.roles, err, step.ends)
				}
			}
		}
		if _, err := auth.Validate(ctx, bystander); err != nil {
			t.Errorf("the token of another client: %v", err)
		}
		for _, test := range []struct {
			client tokenauth.Client
			want   error
		}{
			{tokenauth.Client{ID: "unknown"}, tokenauth.ErrNotFound},
			{tokenauth.Client{ID: "mobile", IntrospectsOwn: true}, gormstore.ErrInvalid},
			{tokenauth.Client{ID: "web", Roles: []string{"a,b"}}, gormstore.ErrInvalid},
		} {
			if err := clients.Update(ctx, test.client); !errors.Is(err, test.want) {
				t.Errorf("%+v: error %v, want %v", test.client, err, test.want)
			}
		}
	})
}

// An update that removes a role sees the role even if another transaction has just added
// it, and ends the tokens of its users.
func TestUpdateClientWaitsForOtherUpdates(t *testing.T) {
	lockable(t, func(t *testing.T, db *gorm.DB) {
		s := newStore(t, db, nil)
		ctx, clients, auth := t.Context(), s.Clients(), registered(t, s)
		create(t, s, "alice", "b")
		if err := clients.CreatePublic(ctx, tokenauth.Client{ID: "web", Roles: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		tx := db.Begin()
		if err := clients.WithTx(tx).Update(ctx, tokenauth.Client{ID: "web", Roles: []string{"a", "b"}}); err != nil {
			t.Fatal(err)
		}
		updated := make(chan error, 1)
		go func() { updated <- clients.Update(ctx, tokenauth.Client{ID: "web", Roles: []string{"a"}}) }()
		awaitLock(t, db)
		if err := tx.Commit().Error; err != nil {
			t.Fatal(err)
		}
		token, signedIn := signInBy(ctx, auth, "web", tokenauth.Secret{}) // before or after the second update
		if signedIn != nil && !errors.Is(signedIn, tokenauth.ErrRejected) {
			t.Fatal(signedIn)
		}
		if err := <-updated; err != nil {
			t.Fatal(err)
		}
		if _, err := auth.Validate(ctx, token); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("a token of the removed role: error %v, want ErrInvalidToken", err)
		}
		pending, err := clients.PendingRevocations(ctx, tokenauth.Revocation{})
		if err != nil || len(pending) != 1 {
			t.Errorf("%d revocations are queued, error %v", len(pending), err)
		}
	})
}
