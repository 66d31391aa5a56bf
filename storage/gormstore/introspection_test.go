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
		has := func(clientID string, own, all bool) {
			t.Helper()
			if c, err := clients.FindClient(ctx, clientID); err != nil || c.IntrospectsOwn != own || c.IntrospectsAll != all {
				t.Errorf("found %+v, error %v; want own %v, all %v", c, err, own, all)
			}
		}
		for _, c := range []tokenauth.Client{{ID: "web"}, {ID: "gateway", IntrospectsAll: true}, {ID: "app", IntrospectsOwn: true}} {
			if _, err := clients.Create(ctx, c); err != nil {
				t.Fatal(err)
			}
			has(c.ID, c.IntrospectsOwn, c.IntrospectsAll)
		}
		if err := clients.CreatePublic(ctx, tokenauth.Client{ID: "mobile"}); err != nil {
			t.Fatal(err)
		}
		for _, bad := range []tokenauth.Client{{ID: "bad", IntrospectsOwn: true}, {ID: "bad", IntrospectsAll: true}} {
			if err := clients.CreatePublic(ctx, bad); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("%+v: error %v, want ErrInvalid", bad, err)
			}
		}

		for _, right := range []struct{ own, all bool }{{own: true}, {all: true}, {all: true}, {}, {}, {own: true}} {
			if err := clients.SetIntrospection(ctx, "web", right.own, right.all); err != nil {
				t.Errorf("right %v: %v", right, err)
			}
			has("web", right.own, right.all)
		}
		if err := clients.SetIntrospection(ctx, "app", true, true); err != nil {
			t.Error(err)
		}
		has("app", false, true) // all includes its own tokens
		has("gateway", false, true)
		for _, all := range []bool{false, true} {
			if err := clients.SetIntrospection(ctx, "unknown", false, all); !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("a right of an unknown client: error %v, want ErrNotFound", err)
			}
		}
		if err := clients.SetIntrospection(ctx, "mobile", true, false); !errors.Is(err, gormstore.ErrInvalid) {
			t.Errorf("a right of a public client: error %v, want ErrInvalid", err)
		}
		if err := clients.SetIntrospection(ctx, "mobile", false, false); err != nil {
			t.Errorf("no right of a public client: %v", err)
		}
		has("mobile", false, false)

		// In a host's transaction, which remains usable after the error.
		errRollBack := errors.New("roll back")
		err := db.Transaction(func(tx *gorm.DB) error {
			clients := clients.WithTx(tx)
			if err := clients.SetIntrospection(ctx, "mobile", false, true); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("a right of a public client: error %v, want ErrInvalid", err)
			}
			if err := clients.SetIntrospection(ctx, "web", false, true); err != nil {
				t.Error(err)
			}
			return errRollBack
		})
		if !errors.Is(err, errRollBack) {
			t.Fatal(err)
		}
		has("web", true, false)

		// An unknown value in the table is an error.
		if err := db.Exec(`UPDATE tokenauth_clients SET introspection = 3 WHERE id = 'web'`).Error; err != nil {
			t.Fatal(err)
		}
		if c, err := clients.FindClient(ctx, "web"); err == nil || errors.Is(err, tokenauth.ErrNotFound) || c.ID != "" {
			t.Errorf("an unknown right: found %+v, error %v", c, err)
		}
	})
}

// Clients from before the column introspection may not introspect. A migration that
// stopped halfway can be continued.
func TestMigrateGivesOldClientsNoIntrospection(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx := t.Context()
		if _, err := s.Clients().Create(ctx, tokenauth.Client{ID: "web", IntrospectsAll: true}); err != nil {
			t.Fatal(err)
		}
		migrate := func(all bool) {
			t.Helper()
			if _, err := gormstore.New(ctx, db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) {
				t.Errorf("with the schema before introspection: error %v, want ErrSchemaVersion", err)
			}
			migrateAtOnce(t, db, nil)
			s, err := gormstore.New(ctx, db, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c, err := s.Clients().FindClient(ctx, "web"); err != nil || len(c.Secrets) != 1 || c.IntrospectsOwn || c.IntrospectsAll != all {
				t.Errorf("found %+v, error %v, want all %v", c, err, all)
			}
		}
		if err := db.Exec(`DELETE FROM tokenauth_schema WHERE version >= 4`).Error; err != nil {
			t.Fatal(err)
		}
		migrate(true)
		apply(t, e, db, "0007_refresh.down.sql")
		apply(t, e, db, "0006_devices.down.sql")
		apply(t, e, db, "0005_revocations.down.sql")
		apply(t, e, db, "0004_introspection.down.sql")
		migrate(false)
	})
}
