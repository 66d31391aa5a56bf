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

// The tables as Entity Framework makes them on SQL Server.
var (
	//go:embed identity2.sql
	identity2SQL string
	//go:embed core.sql
	coreSQL string
)

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

// createExample gives an empty SQLite file tables and users to try. It does so
// in no other database, and on a loopback address only: everybody can read the
// passwords in the README.
func createExample(db *gorm.DB, l layout, listening net.Addr) error {
	if db.Name() != "sqlite" || db.Migrator().HasTable("AspNetUsers") {
		return nil
	}
	if tcp, ok := listening.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return fmt.Errorf("the file has no AspNetUsers, and users to try are not made while others can reach %s", listening)
	}
	return db.Transaction(func(tx *gorm.DB) error { return tx.Exec(l.example).Error })
}
