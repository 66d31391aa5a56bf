package gormstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
)

// schemaOf returns all tables with their columns.
func schemaOf(t *testing.T, e engine, db *gorm.DB) (all []string) {
	t.Helper()
	query := map[string]string{
		"sqlite":   `SELECT m.name || ' ' || c.name || ' ' || c.type FROM sqlite_master m JOIN pragma_table_info(m.name) c`,
		"postgres": `SELECT table_name || ' ' || column_name || ' ' || data_type FROM information_schema.columns WHERE table_schema = 'public'`,
		"mariadb":  `SELECT concat(table_name, ' ', column_name, ' ', data_type) FROM information_schema.columns WHERE table_schema = database()`,
	}[e.name]
	if err := db.Raw(query).Scan(&all).Error; err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// If a table of the host has the prefix, Migrate returns an error that names the table.
// It changes nothing.
func TestMigrateRefusesForeignTables(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		ctx := t.Context()
		for i, test := range []struct{ table, columns, insert string }{
			{"users", "id INTEGER PRIMARY KEY, name VARCHAR(100), email VARCHAR(100)", ""},
			{"tokens", "id INTEGER PRIMARY KEY, digest VARCHAR(100)", ""},
			{"clients", "id INTEGER PRIMARY KEY, name VARCHAR(100)", ""},
			{"counters", "name VARCHAR(100) PRIMARY KEY, value INTEGER", ""},
			{"revocations", "id INTEGER PRIMARY KEY, kind INTEGER", ""},
			{"uses", "id INTEGER PRIMARY KEY, used_at INTEGER", ""},
			{"schema", "version INTEGER PRIMARY KEY, dirty INTEGER", ""},
			{"schema", "version BIGINT PRIMARY KEY", "20261129"},
			{"schema", "version BIGINT PRIMARY KEY", "3"},
		} {
			db := e.open(t, nil)
			prefix := fmt.Sprintf("app%d_", i)
			if err := db.Exec(fmt.Sprintf("CREATE TABLE %s%s (%s)", prefix, test.table, test.columns)).Error; err != nil {
				t.Fatal(err)
			}
			if test.insert != "" {
				if err := db.Exec(fmt.Sprintf("INSERT INTO %s%s (version) VALUES (%s)", prefix, test.table, test.insert)).Error; err != nil {
					t.Fatal(err)
				}
			}
			before := schemaOf(t, e, db)
			err := gormstore.Migrate(ctx, db, &gormstore.Options{TablePrefix: prefix})
			if err == nil || !strings.Contains(err.Error(), prefix+test.table) || !strings.Contains(err.Error(), "TablePrefix") {
				t.Errorf("table %s (%s) %s: %v", test.table, test.columns, test.insert, err)
			}
			if after := schemaOf(t, e, db); !slices.Equal(after, before) {
				t.Errorf("table %s (%s): changed to %q", test.table, test.columns, after)
			}
			// With another prefix Migrate works.
			if err := gormstore.Migrate(ctx, db, &gormstore.Options{TablePrefix: "other_"}); err != nil {
				t.Error(err)
			}
		}
	})
}

// Migrate accepts the tables of each earlier version, created by Migrate or by hand, in
// whole or in part. The tables may have additional columns of the host.
func TestMigrateFromEachVersion(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		files := []string{"0001_init", "0002_counters", "0003_clients", "0004_introspection", "0005_revocations", "0006_devices", "0007_refresh"}
		ctx := t.Context()
		for version := range len(files) + 1 {
			for _, partly := range []bool{false, true} {
				db := e.open(t, nil)
				for _, file := range files[:version] {
					apply(t, e, db, file+".up.sql")
				}
				if version > 0 {
					if err := db.Exec(`ALTER TABLE tokenauth_users ADD COLUMN email VARCHAR(100)`).Error; err != nil {
						t.Fatal(err)
					}
				}
				if partly && version > 0 { // the process died before it stored the version
					if err := db.Exec(`DELETE FROM tokenauth_schema WHERE version = ?`, version).Error; err != nil {
						t.Fatal(err)
					}
				}
				migrateAtOnce(t, db, nil)
				s, err := gormstore.New(ctx, db, nil)
				if err != nil {
					t.Fatalf("from version %d, partly %v: %v", version, partly, err)
				}
				exercise(t, s)
			}
		}
		// Drop two tables, and then follow the documentation for recreating a table.
		db := e.open(t, nil)
		apply(t, e, db, "0001_init.up.sql")
		for _, table := range []string{"tokenauth_schema", "tokenauth_users"} {
			if err := db.Exec("DROP TABLE " + table).Error; err != nil {
				t.Fatal(err)
			}
		}
		migrateAtOnce(t, db, nil)
		if err := db.Exec("DROP TABLE tokenauth_tokens").Error; err != nil {
			t.Fatal(err)
		}
		if err := gormstore.Migrate(ctx, db, nil); err == nil || !strings.Contains(err.Error(), "drop tokenauth_schema, too") {
			t.Errorf("without the table of tokens: %v", err)
		}
		if err := db.Exec("DROP TABLE tokenauth_schema").Error; err != nil {
			t.Fatal(err)
		}
		migrateAtOnce(t, db, nil)
		exercise(t, newStore(t, db, nil))
	})
}

// Migrate does not replace a function of the host with the trigger function.
func TestMigrateFeedRefusesForeignFunction(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	if err := db.Exec(`CREATE FUNCTION app_tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$`).Error; err != nil {
		t.Fatal(err)
	}
	o := &gormstore.Options{TablePrefix: "app_", Feed: true}
	if err := gormstore.Migrate(t.Context(), db, o); err == nil || !strings.Contains(err.Error(), "app_tell()") {
		t.Errorf("Migrate: %v", err)
	}
	var body string
	if err := db.Raw(`SELECT prosrc FROM pg_proc WHERE proname = 'app_tell'`).Scan(&body).Error; err != nil || !strings.Contains(body, "RETURN NEW") {
		t.Errorf("the function is %q, error %v", body, err)
	}
	if err := db.Exec(`DROP FUNCTION app_tell()`).Error; err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(gormstore.Migrate(t.Context(), db, o), gormstore.Migrate(t.Context(), db, o)); err != nil {
		t.Error(err)
	}
}
