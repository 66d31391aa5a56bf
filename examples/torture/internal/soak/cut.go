package soak

import (
	"database/sql"
	"testing"

	_ "github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
)

// cutterOf returns a function that makes the server close all connections, like an
// operator or a firewall. It returns nil if the storage has no such way.
func cutterOf(b *store.Backend) func(testing.TB) {
	switch b.Name {
	case "postgres":
		return cutSQL("pgx", b.DSN, "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()", "SELECT pg_terminate_backend($1)")
	case "mariadb", "mysql":
		return cutSQL("mysql", b.DSN, "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()", "KILL ?")
	case "redis":
		return func(tb testing.TB) { cutRedis(tb, b.DSN) }
	}
	return nil
}

func cutSQL(driver, dsn, list, kill string) func(testing.TB) {
	return func(tb testing.TB) {
		db, err := sql.Open(driver, dsn)
		if err != nil {
			tb.Fatal(err)
		}
		defer db.Close()
		db.SetMaxOpenConns(1)
		rows, err := db.QueryContext(tb.Context(), list)
		if err != nil {
			tb.Fatal(err)
		}
		var ids []int64
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				tb.Fatal(err)
			}
			ids = append(ids, id)
		}
		if err := rows.Err(); err != nil {
			tb.Fatal(err)
		}
		for _, id := range ids {
			db.ExecContext(tb.Context(), kill, id) // ignores the error if the connection has ended already
		}
	}
}

func cutRedis(tb testing.TB, dsn string) {
	option, err := rueidis.ParseURL(dsn)
	if err != nil {
		tb.Fatal("soak: the URL of Redis is invalid")
	}
	option.DisableCache = true
	c, err := rueidis.NewClient(option)
	if err != nil {
		tb.Fatal(err)
	}
	defer c.Close()
	for _, kind := range []string{"normal", "pubsub"} {
		if err := c.Do(tb.Context(), c.B().Arbitrary("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes").Build()).Error(); err != nil {
			tb.Fatal(err)
		}
	}
}
