package gormstore_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestSetIntrospection(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, clients := t.Context(), s.Clients()
		has := func(clientID string, want tokenauth.Introspection) {
			t.Helper()
			if c, err := clients.FindClient(ctx, clientID); err != nil || c.Introspection != want {
				t.Errorf("%s has the right %d, error %v, want %d", clientID, c.Introspection, err, want)
			}
		}
		for _, n := range []gormstore.NewClient{
			{ID: "web"}, {ID: "gateway", Introspection: tokenauth.IntrospectAll}, {ID: "mobile", Public: true},
		} {
			if _, err := clients.Create(ctx, n); err != nil {
				t.Fatal(err)
			}
			has(n.ID, n.Introspection)
		}
		for _, bad := range []gormstore.NewClient{
			{ID: "bad", Introspection: 3}, {ID: "bad", Introspection: -1},
			{ID: "bad", Public: true, Introspection: tokenauth.IntrospectOwn},
		} {
			if _, err := clients.Create(ctx, bad); !errors.Is(err, gormstore.ErrClient) {
				t.Errorf("%+v: %v", bad, err)
			}
		}

		for _, i := range []tokenauth.Introspection{
			tokenauth.IntrospectOwn, tokenauth.IntrospectAll, tokenauth.IntrospectAll, tokenauth.IntrospectNone, tokenauth.IntrospectNone, tokenauth.IntrospectOwn,
		} {
			if err := clients.SetIntrospection(ctx, "web", i); err != nil {
				t.Errorf("right %d: %v", i, err)
			}
			has("web", i)
		}
		for _, i := range []tokenauth.Introspection{-1, 3} {
			if err := clients.SetIntrospection(ctx, "web", i); !errors.Is(err, gormstore.ErrClient) {
				t.Errorf("right %d: %v", i, err)
			}
		}
		has("web", tokenauth.IntrospectOwn)
		has("gateway", tokenauth.IntrospectAll)
		for _, i := range []tokenauth.Introspection{tokenauth.IntrospectNone, tokenauth.IntrospectAll} {
			if err := clients.SetIntrospection(ctx, "unknown", i); !errors.Is(err, gormstore.ErrClientNotFound) {
				t.Errorf("right %d of an unknown client: %v", i, err)
			}
		}
		if err := clients.SetIntrospection(ctx, "mobile", tokenauth.IntrospectOwn); !errors.Is(err, gormstore.ErrClient) {
			t.Errorf("a right of a public client: %v", err)
		}
		if err := clients.SetIntrospection(ctx, "mobile", tokenauth.IntrospectNone); err != nil {
			t.Errorf("no right of a public client: %v", err)
		}
		has("mobile", tokenauth.IntrospectNone)

		// In a host's transaction, which goes on after a refusal.
		errRollBack := errors.New("roll back")
		err := db.Transaction(func(tx *gorm.DB) error {
			clients := clients.WithTx(tx)
			if err := clients.SetIntrospection(ctx, "mobile", tokenauth.IntrospectAll); !errors.Is(err, gormstore.ErrClient) {
				t.Errorf("a right of a public client: %v", err)
			}
			if err := clients.SetIntrospection(ctx, "web", tokenauth.IntrospectAll); err != nil {
				t.Error(err)
			}
			return errRollBack
		})
		if !errors.Is(err, errRollBack) {
			t.Fatal(err)
		}
		has("web", tokenauth.IntrospectOwn)

		// What nobody knows is no right.
		if err := db.Exec(`UPDATE tokenauth_clients SET introspection = 3 WHERE id = 'web'`).Error; err != nil {
			t.Fatal(err)
		}
		if c, err := clients.FindClient(ctx, "web"); err == nil || errors.Is(err, tokenauth.ErrNotFound) || c.ID != "" {
			t.Errorf("an unknown right: found %+v, error %v", c, err)
		}
	})
}

// Clients from before there was introspection may not introspect. A migration
// that stopped halfway goes on.
func TestMigrateGivesOldClientsNoIntrospection(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx := t.Context()
		if _, err := s.Clients().Create(ctx, gormstore.NewClient{ID: "web", Introspection: tokenauth.IntrospectAll}); err != nil {
			t.Fatal(err)
		}
		migrate := func(want tokenauth.Introspection) {
			t.Helper()
			if _, err := gormstore.New(ctx, db, nil); !errors.Is(err, gormstore.ErrSchema) {
				t.Errorf("before it: %v", err)
			}
			migrateAtOnce(t, db, nil)
			s, err := gormstore.New(ctx, db, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c, err := s.Clients().FindClient(ctx, "web"); err != nil || len(c.Secrets) != 1 || c.Introspection != want {
				t.Errorf("found %+v, error %v, want the right %d", c, err, want)
			}
		}
		if err := db.Exec(`DELETE FROM tokenauth_schema WHERE version = 4`).Error; err != nil {
			t.Fatal(err)
		}
		migrate(tokenauth.IntrospectAll)
		apply(t, e, db, "0004_introspection.down.sql")
		migrate(tokenauth.IntrospectNone)
	})
}
