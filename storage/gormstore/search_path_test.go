package gormstore_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// plantTraps creates operators and functions in the schema public, as a role that may
// create objects there. There is an operator for each pair of the store's column types
// for which PostgreSQL has no exact match, and a function with the name of each function
// that the store calls. Each of them writes its call to the table caught.
func plantTraps(t *testing.T, db *gorm.DB) (caught func() []string) {
	t.Helper()
	exec := func(statement string, args ...any) {
		t.Helper()
		if err := db.Exec(statement, args...).Error; err != nil {
			t.Fatal(err)
		}
	}
	role := `"planter_` + strings.ToLower(rand.Text()) + `"`
	exec(`CREATE ROLE ` + role)
	exec(`GRANT CREATE, USAGE ON SCHEMA public TO ` + role)
	exec(`CREATE TABLE caught (what text NOT NULL, victim text NOT NULL DEFAULT current_user)`)
	exec(`GRANT INSERT ON caught TO PUBLIC`)
	t.Cleanup(func() {
		for _, statement := range []string{`DROP OWNED BY ` + role + ` CASCADE`, `DROP ROLE ` + role} {
			if err := db.Exec(statement).Error; err != nil {
				t.Error(err)
			}
		}
	})
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec(`SET LOCAL ROLE ` + role).Error; err != nil {
			return err
		}
		return tx.Exec(`DO $do$
DECLARE
	types text[] := '{smallint, integer, bigint, numeric, double precision, oid, regclass, name, text, varchar, bytea, boolean, "char", timestamptz, interval}';
	l text; r text; op text; f record; n integer := 0; result text;
BEGIN
	FOREACH l IN ARRAY types LOOP
		FOREACH r IN ARRAY types LOOP
			FOREACH op IN ARRAY '{=, <>, <, >, <=, >=, +, -, ||}'::text[] LOOP
				CONTINUE WHEN EXISTS (SELECT FROM pg_operator WHERE oprname = op AND oprleft = l::regtype AND oprright = r::regtype);
				n := n + 1;
				result := CASE WHEN op IN ('+', '-') THEN 'numeric' WHEN op = '||' THEN 'text' ELSE 'boolean' END;
				EXECUTE format($f$CREATE FUNCTION public.trap%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS $b$
					BEGIN INSERT INTO public.caught (what) VALUES (%L); RETURN NULL; END $b$$f$, n, l, r, result, l || ' ' || op || ' ' || r);
				EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.trap%s)', op, l, r, n);
			END LOOP;
		END LOOP;
	END LOOP;
	FOR f IN SELECT name, arg FROM unnest('{pg_notify, set_config, current_setting, encode, now, clock_timestamp, floor, length, count, max, to_regclass, to_regprocedure, pg_advisory_xact_lock, generate_series, substr}'::text[]) AS name,
		unnest(types || '{"text, text", "text, varchar", "varchar, varchar", "text, boolean", "bytea, varchar", "text, text, boolean", "integer, bigint", "bytea, integer, bigint", "bytea, bigint, integer"}') AS arg
	LOOP
		EXECUTE format($f$CREATE FUNCTION public.%I(%s) RETURNS text LANGUAGE plpgsql AS $b$
			BEGIN INSERT INTO public.caught (what) VALUES (%L); RETURN NULL; END $b$$f$, f.name, f.arg, f.name || '(' || f.arg || ')');
	END LOOP;
END $do$`).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() (all []string) {
		t.Helper()
		if err := db.Raw(`SELECT DISTINCT what || ' as ' || victim FROM caught`).Scan(&all).Error; err != nil {
			t.Fatal(err)
		}
		return all
	}
}

// Statements of the store, and an operator's changes of tokens, do not call objects that
// another role created in a schema on the search path.
func TestPlantedOperatorsAreNotCalled(t *testing.T) {
	t.Parallel()
	for name, dialector := range map[string]func(dsn string) gorm.Dialector{
		"extended protocol": postgres.Open,
		"simple protocol": func(dsn string) gorm.Dialector {
			return postgres.New(postgres.Config{DSN: dsn, PreferSimpleProtocol: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dsn := throwaway.Postgres(t)
			db := openDialector(t, dialector(dsn), &gorm.Config{Logger: logger.Discard})
			caught := plantTraps(t, db)
			if err := db.Exec(`CREATE TABLE trap_works (a bigint, b numeric); INSERT INTO trap_works SELECT 1, 2 WHERE 1::bigint > 2::numeric`).Error; err != nil {
				t.Fatal(err)
			}
			if found := caught(); len(found) != 1 {
				t.Fatalf("the traps caught %q", found)
			}
			if err := db.Exec(`DELETE FROM caught`).Error; err != nil {
				t.Fatal(err)
			}

			w := withFeed(t, db, "", pgxfeed.Listener{})
			useAll(t, w, db)
			if found := caught(); len(found) > 0 {
				t.Errorf("called %q", found)
			}
		})
	}
}

// Migrate replaces the old trigger with the new one. Until then WithFeed returns an
// error.
func TestMigrateReplacesTheOldTrigger(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), &gorm.Config{Logger: logger.Discard})
	caught := plantTraps(t, db)
	s := newStore(t, db, nil)
	old, err := gormstore.Migrations.ReadFile("migrations/postgres_feed/0001_feed.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(string(old)).Error; err != nil {
		t.Fatal(err)
	}
	auth := service(t, s, noUsers{})
	issueTo(t, auth, "alice")
	_ = auth.RevokeUser(t.Context(), "alice") // a trap may make it fail
	if found := caught(); len(found) == 0 {
		t.Fatal("the old trigger calls no trap, so the test proves nothing")
	}
	if err := db.Exec(`DELETE FROM caught`).Error; err != nil {
		t.Fatal(err)
	}
	if _, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{}); err == nil || !strings.Contains(err.Error(), "old one") {
		t.Errorf("a feed with the old trigger: %v", err)
	}
	useAll(t, withFeed(t, db, "", pgxfeed.Listener{}), db)
	if found := caught(); len(found) > 0 {
		t.Errorf("called %q", found)
	}
}

// useAll runs every SQL statement of the store.
func useAll(t *testing.T, w watched, db *gorm.DB) {
	t.Helper()
	ctx := t.Context()
	feed := running(t, w)
	eventually(t, "the feed is alive", func() bool { return feed.alive.Load() > 1 })

	exercise(t, w.Store)
	auth := registered(t, w.Store)
	if err := w.Clients().CreatePublic(ctx, tokenauth.Client{ID: "web"}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		for range 2 {
			if _, err := auth.Issue(ctx, tokenauth.Principal{UserID: fmt.Sprint(i)}, &tokenauth.IssueOptions{ClientID: "web"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := signInBy(ctx, auth, "web", tokenauth.Secret{}); err != nil {
		t.Fatal(err)
	}
	alice, err := w.Users().FindByName(ctx, "alice")
	if err != nil {
		t.Fatal(err)
	}
	pending, err := w.Users().PendingRevocations(ctx, tokenauth.Revocation{})
	if err != nil || len(pending) != 1 {
		t.Fatalf("pending %v, error %v", pending, err)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"LiveCheck", func() error {
			if err := w.Users().LiveCheck(ctx, tokenauth.Token{Principal: tokenauth.Principal{UserID: alice.ID}}); !errors.Is(err, tokenauth.ErrRejected) {
				return fmt.Errorf("without the stamp: %w", err)
			}
			return nil
		}},
		{"Tokens", func() error { _, err := auth.Tokens(ctx, alice.ID); return err }},
		{"FindBatch", func() error {
			web := make([]tokenauth.Slot, 3)
			for i := range web {
				web[i] = tokenauth.SlotOf(fmt.Sprint(i), "web")
			}
			for range 8 { // PostgreSQL plans a prepared statement once more after the fifth
				for _, f := range expectFound(t, w.Store, web) {
					if f.Err != nil {
						return f.Err
					}
				}
			}
			return nil
		}},
		{"SetPassword", func() error { return w.Users().SetPassword(ctx, alice.ID, tokenauth.NewSecret("another")) }},
		{"a host's transaction", func() error {
			return db.Transaction(func(tx *gorm.DB) error { return w.Users().WithTx(tx).SetRoles(ctx, alice.ID, "Reader") })
		}},
		{"RemoveRevocation", func() error { return w.Users().RemoveRevocation(ctx, pending[0]) }},
		{"ChangeUser", func() error {
			return w.ChangeUser(ctx, "2", func(tx *gorm.DB) error { return w.Store.WithTx(tx).RevokeUser(ctx, tokenauth.UserKeyOf("else")) })
		}},
		{"RevokeUnused", func() error { _, err := w.RevokeUnused(ctx, time.Unix(1, 0)); return err }},
		{"RevokeUser", func() error { return auth.RevokeUser(ctx, "1") }},
		{"Purge", func() error { _, err := auth.Purge(ctx); return err }},
		{"SetIntrospection", func() error { return w.Clients().SetIntrospection(ctx, "web", false, false) }},
		{"SetDisabled", func() error { return w.Clients().SetDisabled(ctx, "web", true) }},
		{"Delete", func() error { return w.Users().Delete(ctx, alice.ID) }},
		{"RevokeClient", func() error { return w.RevokeClient(ctx, "web") }},
		{"RevokeAll", func() error { return w.RevokeAll(ctx) }},
		{"an operator's DELETE", func() error { return db.Exec(`DELETE FROM tokenauth_tokens`).Error }},
		{"TRUNCATE", func() error { return db.Exec(`TRUNCATE tokenauth_tokens`).Error }},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	// On a busy machine the feed may just be lost and not report a change. So make
	// changes until it reports one.
	changed := feed.changed.Load() + feed.all.Load()
	eventually(t, "the feed reports", func() bool {
		if _, err := auth.Issue(ctx, tokenauth.Principal{UserID: "ended"}, &tokenauth.IssueOptions{ClientID: "web"}); err != nil {
			t.Fatal(err)
		}
		if err := auth.RevokeUser(ctx, "ended"); err != nil {
			t.Fatal(err)
		}
		return feed.changed.Load()+feed.all.Load() > changed
	})
}
