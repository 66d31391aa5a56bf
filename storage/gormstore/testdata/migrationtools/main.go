// Command host applies SQL files to a database with golang-migrate or goose, as a
// service with its own migration tool does:
//
//	host TOOL ENGINE DSN FOLDER TABLE up|down|VERSION|force VERSION|status
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"strconv"

	_ "github.com/go-sql-driver/mysql"
	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	"github.com/golang-migrate/migrate/v4/database/mysql"
	pgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/database/sqlite"
	_ "github.com/golang-migrate/migrate/v4/source/file"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	goosedatabase "github.com/pressly/goose/v3/database"
)

// drivers maps an engine to the name of its database/sql driver.
var drivers = map[string]string{"postgres": "pgx", "mysql": "mysql", "sqlite": "sqlite"}

// instances maps an engine to golang-migrate's constructor for an open database.
var instances = map[string]func(db *sql.DB, table string) (database.Driver, error){
	"postgres": func(db *sql.DB, table string) (database.Driver, error) {
		return pgx.WithInstance(db, &pgx.Config{MigrationsTable: table})
	},
	"mysql": func(db *sql.DB, table string) (database.Driver, error) {
		return mysql.WithInstance(db, &mysql.Config{MigrationsTable: table})
	},
	"sqlite": func(db *sql.DB, table string) (database.Driver, error) {
		return sqlite.WithInstance(db, &sqlite.Config{MigrationsTable: table})
	},
}

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6:]); err != nil {
		log.Fatal(err)
	}
}

func run(tool, engine, dsn, folder, table string, command []string) error {
	db, err := sql.Open(drivers[engine], dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if tool == "goose" {
		return byGoose(db, engine, folder, table, command)
	}
	instance, err := instances[engine](db, table)
	if err != nil {
		return err
	}
	m, err := migrate.NewWithDatabaseInstance("file://"+folder, engine, instance)
	if err != nil {
		return err
	}
	switch command[0] {
	case "up":
		err = m.Up()
	case "down":
		err = m.Down()
	case "force":
		version, _ := strconv.Atoi(command[1])
		err = m.Force(version)
	default:
		version, _ := strconv.ParseUint(command[0], 10, 32)
		err = m.Migrate(uint(version))
	}
	if errors.Is(err, migrate.ErrNoChange) {
		return nil
	}
	return err
}

func byGoose(db *sql.DB, engine, folder, table string, command []string) error {
	dialect := map[string]goosedatabase.Dialect{
		"postgres": goosedatabase.DialectPostgres, "mysql": goosedatabase.DialectMySQL, "sqlite": goosedatabase.DialectSQLite3,
	}[engine]
	store, err := goosedatabase.NewStore(dialect, table)
	if err != nil {
		return err
	}
	p, err := goose.NewProvider("", db, os.DirFS(folder), goose.WithStore(store))
	if err != nil {
		return err
	}
	ctx := context.Background()
	switch command[0] {
	case "up":
		_, err = p.Up(ctx)
	case "down":
		_, err = p.DownTo(ctx, 0)
	case "status":
		_, err = p.GetDBVersion(ctx)
	default:
		var version int64
		if version, err = strconv.ParseInt(command[0], 10, 64); err != nil {
			return fmt.Errorf("goose does not support the command %q", command[0])
		}
		_, err = p.UpTo(ctx, version)
	}
	return err
}
