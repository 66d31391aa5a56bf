package gormstore_test

import (
	"crypto/rand"
	"slices"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
)

// newRole creates a role that may create objects in the schema public.
func newRole(t *testing.T, db *gorm.DB) string {
	t.Helper()
	role := `"role_` + strings.ToLower(rand.Text()) + `"`
	for _, statement := range []string{`CREATE ROLE ` + role, `GRANT CREATE, USAGE ON SCHEMA public TO ` + role} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, statement := range []string{`RESET ROLE`, `DROP OWNED BY ` + role + ` CASCADE`, `DROP ROLE ` + role} {
			if err := db.Exec(statement).Error; err != nil {
				t.Error(err)
			}
		}
	})
	return role
}

// Another role may have created a table of the next version, with a trigger, or the
// trigger function of the feed. Its code would run with the rights of the service.
func TestMigrateRefusesTablesOfOtherRoles(t *testing.T) {
	t.Parallel()
	for _, as := range []string{"superuser", "role"} {
		for _, version := range []int{0, 4} {
			t.Run(as, func(t *testing.T) {
				t.Parallel()
				e := engines[1]
				db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
				pool, err := db.DB()
				if err != nil {
					t.Fatal(err)
				}
				pool.SetMaxOpenConns(1) // so that SET ROLE applies to every statement
				other := newRole(t, db)
				become := `RESET ROLE`
				if as == "role" {
					become = `SET ROLE ` + newRole(t, db)
				}
				exec := func(statement string) {
					t.Helper()
					if err := db.Exec(statement).Error; err != nil {
						t.Fatal(err)
					}
				}
				planted := "tokenauth_users"
				if version == 4 {
					planted = "tokenauth_revocations"
					exec(become)
					for _, file := range []string{"0001_init", "0002_counters", "0003_clients", "0004_introspection"} {
						apply(t, e, db, file+".up.sql")
					}
					exec(`RESET ROLE`)
				}
				exec(`SET ROLE ` + other)
				if version == 4 {
					exec(`CREATE TABLE tokenauth_revocations (kind smallint NOT NULL, id text NOT NULL, change_id text NOT NULL, PRIMARY KEY (kind, id))`)
				} else {
					exec(`CREATE TABLE tokenauth_users (id text NOT NULL PRIMARY KEY, name_key text NOT NULL UNIQUE, name text NOT NULL, password_hash text NOT NULL,
						roles text NOT NULL, attributes text NOT NULL, disabled boolean NOT NULL, stamp text NOT NULL, created_at bigint NOT NULL)`)
				}
				exec(`GRANT ALL ON ` + planted + ` TO PUBLIC`)
				exec(`RESET ROLE`)
				exec(become)
				before := schemaOf(t, e, db)
				if err := gormstore.Migrate(t.Context(), db, nil); err == nil || !strings.Contains(err.Error(), planted+" exists and belongs to the role") {
					t.Errorf("version %d: %v", version, err)
				}
				if after := schemaOf(t, e, db); !slices.Equal(after, before) {
					t.Errorf("version %d: changed to %q", version, after)
				}
				exec(`RESET ROLE`)
				exec(`DROP TABLE ` + planted)
				exec(become)
				if err := gormstore.Migrate(t.Context(), db, nil); err != nil {
					t.Errorf("version %d: %v", version, err)
				}
			})
		}
	}
}

// If a superuser replaced the body of another role's function, that role would remain
// its owner and could change it.
func TestMigrateFeedRefusesFunctionOfOtherRole(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	other := newRole(t, db)
	err := db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec(`SET LOCAL ROLE ` + other).Error; err != nil {
			return err
		}
		return tx.Exec(`CREATE FUNCTION tokenauth_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 'tokenauth_feed'; RETURN NEW; END $$`).Error
	})
	if err != nil {
		t.Fatal(err)
	}
	o := &gormstore.Options{Feed: true}
	if err := gormstore.Migrate(t.Context(), db, o); err == nil || !strings.Contains(err.Error(), "tokenauth_tell() exists and belongs to the role") {
		t.Errorf("Migrate: %v", err)
	}
	if err := db.Exec(`DROP FUNCTION tokenauth_tell()`).Error; err != nil {
		t.Fatal(err)
	}
	if err := gormstore.Migrate(t.Context(), db, o); err != nil {
		t.Error(err)
	}
}

// Migrate accepts tables that trusted roles created: the role of a migration tool that
// applied half of a script, and the database's owner.
func TestMigrateAcceptsTablesOfTrustedRoles(t *testing.T) {
	t.Parallel()
	e := engines[1]
	for _, name := range []string{"the owner of the database", "the owner of the table of versions"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
			role := newRole(t, db)
			for _, file := range []string{"0001_init", "0002_counters", "0003_clients", "0004_introspection", "0005_revocations"} {
				apply(t, e, db, file+".up.sql")
			}
			statements := []string{`DELETE FROM tokenauth_schema WHERE version = 5`, `ALTER TABLE tokenauth_revocations OWNER TO ` + role}
			if name == "the owner of the database" {
				var database string
				if err := db.Raw(`SELECT current_database()`).Scan(&database).Error; err != nil {
					t.Fatal(err)
				}
				statements = append(statements, `ALTER DATABASE `+database+` OWNER TO `+role)
				t.Cleanup(func() {
					if err := db.Exec(`ALTER DATABASE ` + database + ` OWNER TO CURRENT_USER`).Error; err != nil {
						t.Error(err)
					}
				})
			} else {
				statements = append(statements, `ALTER TABLE tokenauth_schema OWNER TO `+role)
			}
			for _, statement := range statements {
				if err := db.Exec(statement).Error; err != nil {
					t.Fatal(err)
				}
			}
			if err := gormstore.Migrate(t.Context(), db, nil); err != nil {
				t.Error(err)
			}
		})
	}
}
