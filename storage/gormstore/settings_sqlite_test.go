package gormstore_test

import (
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
)

// openSQLite opens a database with a maximum number of connections; 0 means no limit.
func openSQLite(t *testing.T, dsn string, connections int) *gorm.DB {
	t.Helper()
	db := openDialector(t, gormlite.Open(dsn), nil)
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(connections)
	return db
}

func TestSQLitePragmas(t *testing.T) {
	t.Parallel()
	for name, pragmas := range map[string]string{
		"of a host":         "_pragma=foreign_keys(1)&_pragma=recursive_triggers(1)&_pragma=defer_foreign_keys(1)&_pragma=case_sensitive_like(1)",
		"WAL":               "_pragma=journal_mode(wal)&_pragma=synchronous(off)",
		"DELETE, EXTRA":     "_pragma=journal_mode(delete)&_pragma=synchronous(extra)",
		"journal in memory": "_pragma=journal_mode(memory)",
		"PERSIST":           "_pragma=journal_mode(persist)&_txlock=exclusive",
		"UTF-16":            "_pragma=encoding('UTF-16le')",
		"no waiting":        "_pragma=busy_timeout(0)&_txlock=deferred",
		"secure":            "_pragma=secure_delete(1)&_pragma=auto_vacuum(1)&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)&_pragma=temp_store(2)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inLongVariant(t, name != "DELETE, EXTRA" && name != "UTF-16")
			db := openSQLite(t, "file:"+t.TempDir()+"/test.db?"+pragmas, 0)
			works(t, newStore(t, db, nil), db)
		})
	}
	t.Run("EXCLUSIVE", func(t *testing.T) {
		t.Parallel()
		dsn := "file:" + t.TempDir() + "/test.db?_pragma=locking_mode(exclusive)&_pragma=busy_timeout(1)"
		one := openSQLite(t, dsn, 1)
		works(t, newStore(t, one, nil), one)
		several := openSQLite(t, strings.Replace(dsn, "test.db", "other.db", 1), 0)
		if err := gormstore.Migrate(t.Context(), several, nil); err == nil || !strings.Contains(err.Error(), "with locking_mode=EXCLUSIVE the pool must have only one: SetMaxOpenConns(1)") {
			t.Errorf("with several connections: %v", err)
		}
	})
	for name, test := range map[string]struct{ pragma, says string }{
		"journal_mode": {"journal_mode(off)", "journal_mode is OFF, must not"},
	} {
		t.Run("refused: "+name, func(t *testing.T) {
			t.Parallel()
			db := openSQLite(t, "file:"+t.TempDir()+"/test.db?_pragma="+test.pragma, 0)
			expectRefused(t, db, nil, gormstore.ErrSetting, test.says)
		})
	}
}
