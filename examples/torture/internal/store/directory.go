package store

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3/gormlite"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// SQL reports whether the storage is an SQL database that [Backend.Directory] can use.
func (b *Backend) SQL() bool { return b.dialector() != nil }

func (b *Backend) dialector() gorm.Dialector {
	switch b.Name {
	case "sqlite":
		return gormlite.Open(b.DSN)
	case "postgres", "postgres-standby":
		return postgres.Open(b.DSN)
	case "mariadb", "mysql":
		return gormmysql.Open(b.DSN)
	case "mariadb-galera":
		return gormmysql.Open(nextNode(b.DSN))
	}
	return nil
}

// A Directory is a [gormstore.Store] that holds users and clients in an SQL database.
type Directory struct {
	*gormstore.Store
	DB   *gorm.DB
	open func(tb testing.TB) *Directory
}

// Directory opens a directory of users and clients. It is in the database of the
// tokens or, if not besideTokens, in a new SQLite file. A password hash is "plain:" and
// the password.
func (b *Backend) Directory(tb testing.TB, besideTokens bool) *Directory {
	tb.Helper()
	if besideTokens {
		return openDirectory(tb, b.dialector)
	}
	dsn := "file:" + filepath.Join(tb.TempDir(), "directory.db") + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_txlock=immediate"
	return openDirectory(tb, func() gorm.Dialector { return gormlite.Open(dsn) })
}

// Again opens the same directory with a pool of its own, like another process.
func (d *Directory) Again(tb testing.TB) *Directory {
	tb.Helper()
	return d.open(tb)
}

func openDirectory(tb testing.TB, dialector func() gorm.Dialector) *Directory {
	tb.Helper()
	db := openPool(tb, dialector())
	plain := func(stored string) func(string) bool {
		return func(typed string) bool { return typed == strings.TrimPrefix(stored, "plain:") }
	}
	options := &gormstore.Options{TablePrefix: "torture_", Passwords: &password.Options{
		KeepHashes: true, Formats: []func(string) func(string) bool{plain}, MaxHashing: 16,
	}}
	if err := gormstore.Migrate(tb.Context(), db, options); err != nil {
		tb.Fatal(err)
	}
	s, err := gormstore.New(tb.Context(), db, options)
	if err != nil {
		tb.Fatal(err)
	}
	return &Directory{Store: s, DB: db, open: func(tb testing.TB) *Directory { return openDirectory(tb, dialector) }}
}
