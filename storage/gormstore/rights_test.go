package gormstore_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Accounts are the two accounts of the README, on a new database.
type accounts struct {
	e                 engine
	admin             *gorm.DB
	adminDSN, name    string // of the database
	service, migrator string // the accounts' names
}

// accountsOn creates the two accounts without any rights.
func accountsOn(t *testing.T, e engine) accounts {
	t.Helper()
	suffix := strings.ToLower(rand.Text()[:10])
	a := accounts{e: e, service: "service_" + suffix, migrator: "migrator_" + suffix}
	if e.name == "postgres" {
		a.adminDSN = throwaway.Postgres(t)
	} else {
		a.adminDSN = throwaway.MariaDB(t)
	}
	a.admin = openDialector(t, a.dialector(a.adminDSN), &gorm.Config{Logger: logger.Discard})
	a.name = a.admin.Migrator().CurrentDatabase()
	for _, account := range []string{a.service, a.migrator} {
		if e.name == "postgres" {
			a.exec(t, `CREATE ROLE `+account+` LOGIN PASSWORD 'secret'`)
		} else {
			a.exec(t, `CREATE USER `+account+` IDENTIFIED BY 'secret'`)
		}
		t.Cleanup(func() {
			if e.name == "postgres" {
				a.exec(t, `DROP OWNED BY `+account+` CASCADE`)
				a.exec(t, `DROP ROLE `+account)
			} else {
				a.exec(t, `DROP USER `+account)
			}
		})
	}
	if e.name == "postgres" {
		a.exec(t, `REVOKE ALL ON SCHEMA public FROM PUBLIC`)
	}
	return a
}

func (a accounts) dialector(dsn string) gorm.Dialector {
	if a.e.name == "postgres" {
		return postgres.Open(dsn)
	}
	return mysql.Open(dsn)
}

func (a accounts) exec(t *testing.T, statement string) {
	t.Helper()
	if err := a.admin.Exec(statement).Error; err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// dsn returns the DSN of an account.
func (a accounts) dsn(t *testing.T, account string) string {
	t.Helper()
	if a.e.name == "postgres" {
		u, err := url.Parse(a.adminDSN)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(account, "secret")
		return u.String()
	}
	config, err := driver.ParseDSN(a.adminDSN)
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Passwd = account, "secret"
	return config.FormatDSN()
}

func (a accounts) open(t *testing.T, account string) *gorm.DB {
	t.Helper()
	return openDialector(t, a.dialector(a.dsn(t, account)), &gorm.Config{Logger: logger.Discard})
}

// grant runs the README's GRANT statements for an account.
func (a accounts) grant(t *testing.T, account, prefix string) {
	t.Helper()
	blocks := readmeBlocks(t, "## Rights", "sql", 4)
	i := 0
	if account == a.migrator {
		i = 2
	}
	if a.e.name == "mariadb" {
		i++
	}
	rename := strings.NewReplacer("tokenauth_", prefix, " service;", " "+a.service+";", " migrator;", " "+a.migrator+";", "app.*", a.name+".*")
	for statement := range strings.SplitAfterSeq(rename.Replace(blocks[i]), ";\n") {
		if statement != "" {
			a.exec(t, statement)
		}
	}
}

var withAccounts = engines[1:] // SQLite has none

// The service's account needs only the rights to read and write rows.
func TestWorksWithLeastRights(t *testing.T) {
	t.Parallel()
	for _, e := range withAccounts {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			a := accountsOn(t, e)
			options := &gormstore.Options{Feed: e.name == "postgres"}
			a.grant(t, a.migrator, "tokenauth_")
			if err := gormstore.Migrate(t.Context(), a.open(t, a.migrator), options); err != nil {
				t.Fatal(err)
			}
			a.exec(t, `GRANT SELECT ON tokenauth_users TO `+a.service) // without any right MariaDB would refuse the connection
			db := a.open(t, a.service)
			if _, err := gormstore.New(t.Context(), db, nil); err == nil || !strings.Contains(err.Error(), "lacks SELECT on tokenauth_schema") {
				t.Errorf("New without rights: %v", err)
			}
			a.grant(t, a.service, "tokenauth_")
			s := newStore(t, db, options) // Migrate has nothing to do
			if err := db.Exec(`CREATE TABLE tokenauth_other (id INTEGER)`).Error; err == nil {
				t.Fatal("the account may create tables, so the test proves nothing")
			}
			if !options.Feed {
				operate(t, s)
				useTogether(t, s, db)
				return
			}
			w, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{})
			if err != nil {
				t.Fatal(err)
			}
			useAll(t, watched{s, w.(tokenauth.Watcher)}, a.admin)
			operate(t, s)
			useTogether(t, s, db)
			one, other := replica(t, w, time.Minute), replica(t, w, time.Minute)
			accessToken := issueTo(t, one, "carol")
			warm(t, other, accessToken)
			if err := one.Revoke(t.Context(), accessToken); err != nil {
				t.Fatal(err)
			}
			refuses(t, other, accessToken, "a revocation")
		})
	}
}

func TestStorageWithLeastRights(t *testing.T) {
	t.Parallel()
	if !throwaway.Long() {
		t.Skip("TestWorksWithLeastRights runs each statement; set TOKENAUTH_LONG=1 for every rule")
	}
	for _, e := range withAccounts {
		t.Run(e.name, func(t *testing.T) {
			a := accountsOn(t, e)
			a.grant(t, a.migrator, "tokenauth_")
			migrator := a.open(t, a.migrator)
			if err := gormstore.Migrate(t.Context(), migrator, nil); err != nil {
				t.Fatal(err)
			}
			a.grant(t, a.service, "tokenauth_") // without any right MariaDB would refuse the connection
			db := a.open(t, a.service)
			prefixes := engine{e.name, func(testing.TB) gorm.Dialector { return a.dialector(a.dsn(t, a.service)) }}.prefixes
			t.Run("rules", func(t *testing.T) {
				storagetest.Run(t, prefixes(t, func(t *testing.T, _ *gorm.DB, prefix string) tokenauth.Storage {
					options := &gormstore.Options{TablePrefix: prefix, Feed: e.name == "postgres"}
					if err := gormstore.Migrate(t.Context(), migrator, options); err != nil {
						t.Fatal(err)
					}
					a.grant(t, a.service, prefix)
					s, err := gormstore.New(t.Context(), db, options)
					if err != nil {
						t.Fatal(err)
					}
					return s
				}))
			})
		})
	}
}

// operate runs the administrative calls for clients, tokens and counters.
func operate(t *testing.T, s *gormstore.Store) {
	t.Helper()
	ctx, clients := t.Context(), s.Clients()
	if _, err := clients.Create(ctx, tokenauth.Client{ID: "app"}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"CreatePublic", func() error { return clients.CreatePublic(ctx, tokenauth.Client{ID: "page"}) }},
		{"FindClient", func() error { _, err := clients.FindClient(ctx, "app"); return err }},
		{"RotateSecret", func() error { _, err := clients.RotateSecret(ctx, "app"); return err }},
		{"DropOldSecret", func() error { return clients.DropOldSecret(ctx, "app") }},
		{"SetIntrospection", func() error { return clients.SetIntrospection(ctx, "app", true, false) }},
		{"SetDisabled", func() error { return clients.SetDisabled(ctx, "app", true) }},
		{"enabling", func() error { return clients.SetDisabled(ctx, "app", false) }},
		{"Delete", func() error { return clients.Delete(ctx, "app") }},
		{"RevokeClient", func() error { return s.RevokeClient(ctx, "app") }},
		{"useDevices", func() error { return useDevices(ctx, s) }},
		{"useRefresh", func() error { return useRefresh(ctx, s) }},
		{"ChangeUser", func() error {
			return s.ChangeUser(ctx, "someone", func(tx *gorm.DB) error { return s.WithTx(tx).RevokeUser(ctx, tokenauth.UserKeyOf("else")) })
		}},
		{"RevokeUnused", func() error { _, err := s.RevokeUnused(ctx, time.Unix(0, 0)); return err }},
		{"RevokeAll", func() error { return s.RevokeAll(ctx) }},
		{"Purge", func() error { _, err := s.Purge(ctx, time.Now()); return err }},
		{"UpdateCounters", func() error {
			return s.UpdateCounters(ctx, []throttle.Key{{1}}, func(c []throttle.Counter) { c[0].Failures++ })
		}},
		{"UpdateCounters again", func() error {
			return s.UpdateCounters(ctx, []throttle.Key{{1}}, func(c []throttle.Counter) { c[0].Failures++ })
		}},
		{"RemoveRevocation", func() error {
			pending, err := clients.PendingRevocations(ctx, tokenauth.Revocation{})
			if err != nil || len(pending) == 0 {
				return fmt.Errorf("%d pending, %w", len(pending), err)
			}
			return clients.RemoveRevocation(ctx, pending[0])
		}},
	} {
		if err := step.do(); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
}

// With the service's account, the error of Migrate names the missing right, at each step
// of a migration.
func TestMigrateErrorNamesMissingRight(t *testing.T) {
	t.Parallel()
	for _, e := range withAccounts {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			a := accountsOn(t, e)
			if err := gormstore.Migrate(t.Context(), a.admin, nil); err != nil {
				t.Fatal(err)
			}
			a.grant(t, a.service, "tokenauth_")
			db := a.open(t, a.service)
			refused := func(what string, o *gormstore.Options, words string) {
				t.Helper()
				err := gormstore.Migrate(t.Context(), db, o)
				if err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "let another account migrate") {
					t.Errorf("%s: %v", what, err)
				}
			}
			creates, changes := "the database account needs CREATE on the schema", "must be owner of table tokenauth_"
			if e.name == "mariadb" {
				creates, changes = "CREATE command denied", "ALTER command denied"
			}
			refused("fresh tables", &gormstore.Options{TablePrefix: "fresh_"}, creates)
			if e.name == "postgres" {
				refused("the feed", &gormstore.Options{Feed: true}, creates)
			}
			apply(t, e, a.admin, "0007_refresh.down.sql")
			refused("version 7", nil, changes)
			apply(t, e, a.admin, "0006_devices.down.sql")
			refused("version 6", nil, changes)
			apply(t, e, a.admin, "0005_revocations.down.sql")
			refused("version 5", nil, creates)
			apply(t, e, a.admin, "0004_introspection.down.sql")
			// The account may read the version but not write it.
			refused("version 4", nil, changes)
			if _, err := gormstore.New(t.Context(), db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) || !strings.Contains(err.Error(), "found version 3") {
				t.Errorf("New returns %v", err)
			}
		})
	}
}
