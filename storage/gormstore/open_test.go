package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }

// An engine opens a new, empty database.
type engine struct {
	name      string
	dialector func(testing.TB) gorm.Dialector
}

var engines = []engine{
	{"sqlite", func(tb testing.TB) gorm.Dialector { return gormlite.Open(sqliteDSN(tb)) }},
	{"postgres", func(tb testing.TB) gorm.Dialector { return postgres.Open(throwaway.Postgres(tb)) }},
	{"mariadb", func(tb testing.TB) gorm.Dialector { return mysql.Open(throwaway.MariaDB(tb)) }},
}

// sqliteDSN returns the DSN of a new database. SQLite has one write lock, and gives it to
// whichever connection asks first. Rules with many writers at once can make one of them
// wait for all the others, so it must not wait for the disk as well.
func sqliteDSN(tb testing.TB) string {
	return "file:" + filepath.Join(tb.TempDir(), "test.db") +
		"?_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_txlock=immediate"
}

// onEach runs a test on every engine.
func onEach(t *testing.T, test func(t *testing.T, e engine)) {
	t.Parallel()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, e)
		})
	}
}

// open opens a database of the engine, which is closed when the test ends.
func (e engine) open(tb testing.TB, config *gorm.Config) *gorm.DB {
	tb.Helper()
	return openDialector(tb, e.dialector(tb), config)
}

func openDialector(tb testing.TB, d gorm.Dialector, config *gorm.Config) *gorm.DB {
	tb.Helper()
	if config == nil {
		config = &gorm.Config{}
	}
	db, err := gorm.Open(d, config)
	if err != nil {
		tb.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		tb.Fatal(err)
	}
	pool.SetMaxOpenConns(16)
	pool.SetMaxIdleConns(16)
	tb.Cleanup(func() { pool.Close() })
	return db
}

// store returns a store in a new database.
func (e engine) store(tb testing.TB) (*gormstore.Store, *gorm.DB) {
	tb.Helper()
	db := e.open(tb, nil)
	return newStore(tb, db, nil), db
}

// prefixes returns a function that opens a store with a new table prefix. All stores are
// in one database, because PostgreSQL takes long to create one. With SQLite each store
// has its own database, because a transaction locks the whole database.
func (e engine) prefixes(t *testing.T, open func(t *testing.T, db *gorm.DB, prefix string) tokenauth.Storage) func(*testing.T) tokenauth.Storage {
	t.Helper()
	shared := e.open(t, nil)
	var n atomic.Int64
	return func(t *testing.T) tokenauth.Storage {
		t.Helper()
		db := shared
		if e.name == "sqlite" {
			db = e.open(t, nil)
		}
		return open(t, db, fmt.Sprintf("rule%d_", n.Add(1)))
	}
}

// newStore returns a store with the options. With nil options it keeps cheap password
// hashes.
func newStore(tb testing.TB, db *gorm.DB, o *gormstore.Options) *gormstore.Store {
	tb.Helper()
	if o == nil {
		o = &gormstore.Options{Passwords: &password.Options{KeepHashes: true}}
	}
	if err := gormstore.Migrate(tb.Context(), db, o); err != nil {
		tb.Fatal(err)
	}
	s, err := gormstore.New(tb.Context(), db, o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// long returns n for the long variant of a test, and otherwise a quarter of n, but at
// least 2.
func long(n int) int {
	if throwaway.Long() {
		return n
	}
	return max(2, n/4)
}

// noUsers is an Authenticator for services that only issue tokens.
type noUsers struct{}

func (noUsers) Authenticate(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// quiet is the logger of services in which a test causes errors on purpose.
var quiet = slog.New(slog.DiscardHandler)

// expectRefused checks that New and Migrate return an error that matches is, unless is
// is nil, and that contains all of says.
func expectRefused(t *testing.T, db *gorm.DB, o *gormstore.Options, is error, says ...string) {
	t.Helper()
	_, fromNew := gormstore.New(t.Context(), db, o)
	for by, err := range map[string]error{"New": fromNew, "Migrate": gormstore.Migrate(t.Context(), db, o)} {
		if err == nil || is != nil && !errors.Is(err, is) {
			t.Errorf("%s returns %v, want %v", by, err, is)
			continue
		}
		for _, part := range says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s returns %v, want %q in it", by, err, part)
			}
		}
	}
}
