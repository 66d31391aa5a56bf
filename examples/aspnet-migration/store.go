package main

import (
	_ "embed"
	"fmt"
	"net"
	"strings"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// SQL that creates the Identity tables and a few trial users. The columns are those
// that Entity Framework creates on SQL Server.
var (
	//go:embed identity2.sql
	identity2SQL string
	//go:embed core.sql
	coreSQL string
)

// open opens the database that the flag -store names.
func open(store string) (*gorm.DB, error) {
	scheme, rest, _ := strings.Cut(store, ":")
	switch scheme {
	case "sqlite":
		return gorm.Open(gormlite.Open("file:" + rest + "?_pragma=busy_timeout(1000)&_pragma=journal_mode(wal)&_txlock=immediate"))
	case "postgres", "postgresql":
		return gorm.Open(postgres.Open(store))
	case "mysql":
		return gorm.Open(mysql.Open(strings.TrimPrefix(rest, "//")))
	}
	return nil, fmt.Errorf("-store must begin with sqlite:, postgres:// or mysql://, not %q", scheme+":")
}

// createExample creates the Identity tables, with trial users, in an SQLite file
// that does not have these tables. It does nothing in other databases. The trial
// users' passwords are public. So if the service does not listen on a loopback
// address, createExample returns an error instead of creating them.
func createExample(db *gorm.DB, l layout, listening net.Addr) error {
	if db.Name() != "sqlite" || db.Migrator().HasTable("AspNetUsers") {
		return nil
	}
	if tcp, ok := listening.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return fmt.Errorf("the file has no table AspNetUsers; users to try are created only if -addr is a loopback address, not %s", listening)
	}
	return db.Transaction(func(tx *gorm.DB) error { return tx.Exec(l.example).Error })
}
