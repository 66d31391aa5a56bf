package gormstore_test

import (
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/vfs/memdb"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func expectMemory(t *testing.T, by string, err error) {
	t.Helper()
	if !errors.Is(err, gormstore.ErrMemory) || !strings.Contains(err.Error(), "use a file") || !strings.Contains(err.Error(), "SetMaxOpenConns(1)") {
		t.Errorf("%s: %v", by, err)
	}
}

// A SQLite database that each connection has for itself is refused, however the DSN
// spells it, unless the pool has one connection.
func TestSQLiteInMemoryNeedsOneConnection(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		":memory:", "file::memory:", "file::memory:?cache=shared", "", "file:", "file:x?mode=memory",
		"file:x?mode=memory&cache=private", "file:private.db?vfs=memdb",
	} {
		t.Run(dsn, func(t *testing.T) {
			t.Parallel()
			one := openSQLite(t, dsn, 1)
			works(t, newStore(t, one, nil), one)

			for _, connections := range []int{0, 2} {
				db := openSQLite(t, dsn, connections)
				expectMemory(t, "Migrate", gormstore.Migrate(t.Context(), db, nil))
				expectMemory(t, "New", second(gormstore.New(t.Context(), db, nil)))
			}
		})
	}
}

// A database in memory that all connections share works with any number of connections.
func TestSQLiteInSharedMemory(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"file:/shared?vfs=memdb", "file:/other?vfs=memdb&_pragma=busy_timeout(10000)&_txlock=immediate"} {
		db := openSQLite(t, dsn, 0)
		s := newStore(t, db, nil)
		works(t, s, db)
		auth := service(t, s, s.Users())
		user := create(t, s, "alice")
		issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: user.ID, UserName: "alice"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 10 {
					if _, err := auth.Validate(t.Context(), issued.AccessToken.Reveal()); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
}

// If the pool closes its only connection, the database is lost. Migrate then returns an
// error. Later calls return a storage error, and no token is refused as invalid.
func TestSQLiteInMemoryEndsWithItsConnection(t *testing.T) {
	t.Parallel()
	for name, closes := range map[string]func(*sql.DB){
		"SetMaxIdleConns":    func(pool *sql.DB) { pool.SetMaxIdleConns(0) },
		"SetConnMaxLifetime": func(pool *sql.DB) { pool.SetConnMaxLifetime(time.Nanosecond) },
		"SetConnMaxIdleTime": func(pool *sql.DB) { pool.SetConnMaxIdleTime(time.Nanosecond) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openSQLite(t, ":memory:", 1)
			s := newStore(t, db, nil)
			auth := service(t, s, s.Users())
			create(t, s, "alice")
			token := mustSignIn(t, auth, "alice")
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			closes(pool)
			if name == "SetConnMaxIdleTime" {
				if !throwaway.Long() {
					t.Skip("waits a second for the pool to close idle connections; set TOKENAUTH_LONG=1")
				}
				eventually(t, "the pool closes the connection", func() bool { return pool.Stats().OpenConnections == 0 })
			} else if err := pool.PingContext(t.Context()); err != nil { // uses the connection once more
				t.Fatal(err)
			}
			_, validate := auth.Validate(t.Context(), token)
			_, signIn := signIn(t.Context(), auth, "alice", "password")
			for by, err := range map[string]error{"Validate": validate, "SignIn": signIn} {
				expectMemory(t, by, err)
				if !errors.Is(err, tokenauth.ErrUnavailable) {
					t.Errorf("%s: error %v, want ErrUnavailable", by, err)
				}
			}
			if name != "SetConnMaxIdleTime" {
				expectMemory(t, "Migrate", gormstore.Migrate(t.Context(), db, nil))
			}
		})
	}
}

// In a file a table may also be missing. The error then has advice for files, too.
func TestSQLiteFileWithMissingTable(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, sqliteDSN(t), 0)
	s := newStore(t, db, nil)
	if err := db.Migrator().DropTable("tokenauth_tokens"); err != nil {
		t.Fatal(err)
	}
	err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf("alice"))
	if err == nil || !strings.Contains(err.Error(), "If the database is a file, the table was dropped") || !strings.Contains(err.Error(), "no such table: tokenauth_tokens") {
		t.Errorf("RevokeUser returns %v", err)
	}
}
