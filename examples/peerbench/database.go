package main

import (
	"database/sql"
	"database/sql/driver"
	"net/url"
	"path/filepath"
	"testing"

	sqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	sqlitedriver "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A database is one of the database systems that gormstore supports.
type database struct {
	name      string
	short     string                     // used in the names of ratios
	make      func(tb testing.TB) string // creates an empty database and returns its DSN
	store     func(dsn string) string    // returns the value of the quickstart's flag -store
	connector func(dsn string) (driver.Connector, error)
	dialector func(pool *sql.DB) gorm.Dialector
	where     string // condition of the SQL that reads one token
}

var databases = []database{postgresql, mariaDB, sqlite}

var postgresql = database{
	name:  "PostgreSQL",
	short: "postgres",
	make:  throwaway.Postgres,
	store: func(dsn string) string { return dsn },
	connector: func(dsn string) (driver.Connector, error) {
		config, err := pgx.ParseConfig(dsn)
		if err != nil {
			return nil, err
		}
		return stdlib.GetConnector(*config), nil
	},
	dialector: func(pool *sql.DB) gorm.Dialector { return postgres.New(postgres.Config{Conn: pool}) },
	where:     "user_key = $1 AND client_key = $2",
}

var mariaDB = database{
	name:  "MariaDB",
	short: "mariadb",
	make:  throwaway.MariaDB,
	store: mysqlURL,
	connector: func(dsn string) (driver.Connector, error) {
		return sqldriver.MySQLDriver{}.OpenConnector(dsn)
	},
	dialector: func(pool *sql.DB) gorm.Dialector { return mysql.New(mysql.Config{Conn: pool}) },
	where:     "user_key = ? AND client_key = ?",
}

var sqlite = database{
	name:  "SQLite",
	short: "sqlite",
	make:  func(tb testing.TB) string { return filepath.Join(tb.TempDir(), "tokens.db") },
	store: func(path string) string { return "sqlite:" + path },
	connector: func(path string) (driver.Connector, error) {
		return new(sqlitedriver.SQLite).OpenConnector(sqliteDSN(path))
	},
	dialector: func(pool *sql.DB) gorm.Dialector { return gormlite.OpenDB(pool) },
	where:     "user_key = ? AND client_key = ?",
}

// sqliteDSN returns the DSN that the quickstart uses for an SQLite file.
func sqliteDSN(path string) string {
	pragmas := url.Values{
		"_pragma": {"busy_timeout(1000)", "journal_mode(wal)", "synchronous(full)"},
		"_txlock": {"immediate"},
	}
	file := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: pragmas.Encode()}
	return file.String()
}

// mysqlURL converts a DSN of the driver to the URL that the quickstart's flag -store
// accepts.
func mysqlURL(dsn string) string {
	config, err := sqldriver.ParseDSN(dsn)
	if err != nil {
		return dsn // the quickstart reports the error
	}
	u := url.URL{Scheme: "mysql", User: url.UserPassword(config.User, config.Passwd), Host: config.Addr, Path: "/" + config.DBName}
	if config.Net == "unix" {
		u.Host, u.RawQuery = "localhost", url.Values{"socket": {config.Addr}}.Encode()
	}
	return u.String()
}
