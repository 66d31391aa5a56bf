package inject

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	gormmysql "gorm.io/driver/mysql"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A mariadbServer is a MariaDB server into which faults are injected.
type mariadbServer struct{ sqlServer }

func mariadbTarget(tb testing.TB, b *store.Backend) *Target {
	tb.Helper()
	config, err := mysql.ParseDSN(b.DSN)
	if err != nil {
		tb.Fatal("torture: inject: the DSN of MariaDB is not one of the Go driver")
	}
	s := &mariadbServer{sqlServer{openMariaDB(tb, config), config.DBName}}
	must(tb, s.do("CREATE USER "+lowly+"@localhost", "GRANT ALL ON "+s.database+".* TO "+lowly+"@localhost")(tb.Context()))
	p := &Target{Network: config.Net, Addresses: []string{config.Addr}}
	p.Connect = func(tb testing.TB, networks []*network.Network) tokenauth.Storage {
		near := config.Clone()
		near.User = lowly
		if networks != nil {
			near.Net, near.Addr = "tcp", networks[0].Entrance()
		}
		pool := openMariaDB(tb, near)
		return store.OpenGORM(tb, gormmysql.New(gormmysql.Config{Conn: pool}), nil)
	}
	p.Faults = append(serverFaults(tb, b.Server, nil), networkFaults()...)
	p.Faults = append(p.Faults, s.faults()...)
	p.Missing = append(p.Missing, "disk full: InnoDB cannot move a table to another disk, and the server's folder shares its disk with other programs")
	p.Afterwards = func(ctx context.Context) (told string, err error) {
		var name, n string
		err = s.admin.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_deadlocks'").Scan(&name, &n)
		return "Deadlocks since the last start of the server: " + n + ".", err
	}
	return p
}

// openMariaDB opens a pool of connections that does not log their failures. Only a
// connector can have a logger of its own.
func openMariaDB(tb testing.TB, config *mysql.Config) *sql.DB {
	tb.Helper()
	config = config.Clone()
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	must(tb, err)
	pool := sql.OpenDB(connector)
	tb.Cleanup(func() { pool.Close() })
	return pool
}

func (s *mariadbServer) faults() []*Fault {
	locks := "LOCK TABLES torture_tokens WRITE"
	return []*Fault{
		once("connections killed, once", s.kill),
		while("connections killed, 20 times a second", whileItLasts, Again(50*time.Millisecond, s.kill)),
		s.between("server read-only", []string{"SET GLOBAL read_only = 1"}, []string{"SET GLOBAL read_only = 0"}),
		{Name: "ten connections for all, the others killed", Lasts: whileItLasts, Strike: func(ctx context.Context) (func() error, error) {
			if err := s.do("SET GLOBAL max_connections = 10")(ctx); err != nil {
				return nil, err
			}
			return func() error { return s.do("SET GLOBAL max_connections = 400")(ctx) }, s.kill(ctx)
		}},
		s.between("no connections, the others killed",
			[]string{"ALTER USER " + lowly + "@localhost ACCOUNT LOCK"},
			[]string{"ALTER USER " + lowly + "@localhost ACCOUNT UNLOCK"}).after(s.kill),
		while("table locked", 3*time.Second, s.lockedTables(locks)),
		while("rows locked", 3*time.Second, s.locked("UPDATE torture_tokens SET stamp = concat(stamp, '')")),
		s.also("deadlocks", Again(0, s.oppose), nil, nil),
		s.also("innodb_lock_wait_timeout of 1 s, beside other writers", Again(0, s.rewrite),
			[]string{"SET GLOBAL innodb_lock_wait_timeout = 1"}, []string{"SET GLOBAL innodb_lock_wait_timeout = 50"}),
	}
}

// kill kills the connections of the replicas.
func (s *mariadbServer) kill(ctx context.Context) error {
	return s.do("KILL USER " + lowly + "@localhost")(ctx)
}

// lockedTables returns a function that holds a lock until the context ends. The lock
// belongs to a connection, not to a transaction.
func (s *mariadbServer) lockedTables(lock string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := s.admin.Conn(context.WithoutCancel(ctx))
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(context.WithoutCancel(ctx), lock); err != nil {
			return err
		}
		<-ctx.Done()
		_, err = conn.ExecContext(context.WithoutCancel(ctx), "UNLOCK TABLES")
		return err
	}
}

// oppose causes deadlocks with deletions of all rows of a user. It locks the rows of
// each user in the opposite order: first one row of each user, then the others. It
// ignores errors of its own statements, since a deadlock may abort it.
func (s *mariadbServer) oppose(ctx context.Context) error {
	return inTransaction(ctx, s.admin, func(tx *sql.Tx) error {
		for _, which := range []string{"max", "min"} {
			keys, err := pairs(tx, which)
			if err != nil {
				return err
			}
			for _, key := range keys {
				if _, err := tx.Exec("UPDATE torture_tokens SET stamp = concat(stamp, '') WHERE user_key = ? AND client_key = ?", key[0], key[1]); err != nil {
					return nil
				}
			}
			Wait(ctx, 30*time.Millisecond)
		}
		return nil
	})
}

// pairs returns the key of one row of each user with two rows. Which is "min" or
// "max" and selects the row by its client key.
func pairs(tx *sql.Tx, which string) (keys [][2][]byte, err error) {
	rows, err := tx.Query("SELECT user_key, " + which + "(client_key) FROM torture_tokens GROUP BY user_key HAVING count(*) = 2")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var key [2][]byte
		if err := rows.Scan(&key[0], &key[1]); err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, rows.Err()
}

// rewrite updates all rows, and holds their locks for a while.
func (s *mariadbServer) rewrite(ctx context.Context) error {
	return inTransaction(ctx, s.admin, func(tx *sql.Tx) error {
		if _, err := tx.Exec("UPDATE torture_tokens SET stamp = concat(stamp, '')"); err == nil {
			Wait(ctx, 1200*time.Millisecond)
			tx.Commit()
		}
		return nil
	})
}
