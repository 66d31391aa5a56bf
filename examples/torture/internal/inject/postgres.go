package inject

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// makeLowly creates the account of the services.
var makeLowly = []string{
	"CREATE ROLE " + lowly + " LOGIN", "GRANT ALL ON SCHEMA public TO " + lowly,
	"GRANT ALL ON ALL TABLES IN SCHEMA public TO " + lowly, // tables of earlier trials
}

// A postgresServer is a PostgreSQL server into which faults are injected.
type postgresServer struct{ sqlServer }

func postgresTarget(tb testing.TB, b *store.Backend) *Target {
	tb.Helper()
	u, err := url.Parse(b.DSN)
	if err != nil {
		tb.Fatal("torture: inject: the DSN of PostgreSQL is not a URL")
	}
	s := &postgresServer{sqlServer{openAdmin(tb, "pgx", b.DSN), strings.TrimPrefix(u.Path, "/")}}
	must(tb, s.do(makeLowly...)(tb.Context()))
	socket := filepath.Join(u.Query().Get("host"), ".s.PGSQL."+u.Query().Get("port"))
	p := &Target{Network: "unix", Addresses: []string{socket}}
	p.Connect = func(tb testing.TB, networks []*network.Network) tokenauth.Storage {
		near := *u
		near.User = url.User(lowly)
		if networks != nil {
			near.Host, near.RawQuery = networks[0].Entrance(), "sslmode=disable"
		}
		return store.OpenGORM(tb, postgres.Open(near.String()), &pgxfeed.Listener{})
	}
	p.Faults = append(serverFaults(tb, b.Server, nil), networkFaults()...)
	p.Faults = append(p.Faults, s.faults()...)
	if full, err := s.diskFull(tb); err != nil {
		p.Missing = append(p.Missing, "disk full: "+err.Error())
	} else {
		p.Faults = append(p.Faults, full)
	}
	p.Afterwards = func(ctx context.Context) (told string, err error) {
		var deadlocks, conflicts int
		err = s.admin.QueryRowContext(ctx, "SELECT deadlocks, xact_rollback FROM pg_stat_database WHERE datname = current_database()").Scan(&deadlocks, &conflicts)
		return fmt.Sprintf("The server counted %d deadlocks and %d transactions that were rolled back.", deadlocks, conflicts), err
	}
	return p
}

func (s *postgresServer) faults() []*Fault {
	const reload = "SELECT pg_reload_conf()"
	terminate := "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '" + lowly + "'"
	set := func(what string) string { return "ALTER DATABASE " + s.database + " SET " + what }
	reset := func(what string) string { return "ALTER DATABASE " + s.database + " RESET " + what }
	return []*Fault{
		once("sessions terminated, once", s.do(terminate)),
		while("sessions terminated, 20 times a second", whileItLasts, Again(50*time.Millisecond, s.do(terminate))),
		s.between("server read-only",
			[]string{"ALTER SYSTEM SET default_transaction_read_only = on", reload},
			[]string{"SET default_transaction_read_only = off", "ALTER SYSTEM RESET default_transaction_read_only", reload}),
		s.between("database read-only, sessions terminated",
			[]string{set("default_transaction_read_only = on"), terminate},
			[]string{"SET default_transaction_read_only = off", reset("default_transaction_read_only"), terminate}),
		s.between("two connections for all, sessions terminated",
			[]string{"ALTER ROLE " + lowly + " CONNECTION LIMIT 2", terminate},
			[]string{"ALTER ROLE " + lowly + " CONNECTION LIMIT -1"}),
		s.between("no connections, sessions terminated",
			[]string{"ALTER ROLE " + lowly + " CONNECTION LIMIT 0", terminate},
			[]string{"ALTER ROLE " + lowly + " CONNECTION LIMIT -1"}),
		while("table locked", 3*time.Second, s.locked("LOCK TABLE torture_tokens IN ACCESS EXCLUSIVE MODE")),
		while("table locked for writers", 3*time.Second, s.locked("LOCK TABLE torture_tokens IN EXCLUSIVE MODE")),
		s.also("deadlocks", Again(0, s.oppose),
			[]string{"ALTER SYSTEM SET deadlock_timeout = '5ms'", reload},
			[]string{"ALTER SYSTEM RESET deadlock_timeout", reload}),
		s.also("serializable, beside other writers", Again(0, s.rewrite),
			[]string{set("default_transaction_isolation = 'serializable'"), terminate},
			[]string{reset("default_transaction_isolation"), terminate}),
		s.also("lock_timeout of 20 ms, beside other writers", Again(0, s.rewrite),
			[]string{set("lock_timeout = '20ms'"), terminate},
			[]string{reset("lock_timeout"), terminate}),
	}
}

// oppose causes deadlocks with deletions of all rows of a user. It locks the rows of
// each user in the opposite order: first one row of each user, then the others. It
// ignores errors of its own statements, since a deadlock may abort it.
func (s *postgresServer) oppose(ctx context.Context) error {
	return inTransaction(ctx, s.admin, func(tx *sql.Tx) error {
		for _, which := range []string{"max", "min"} {
			one := "SELECT " + which + "(ctid) FROM torture_tokens GROUP BY user_key HAVING count(*) = 2"
			if _, err := tx.Exec("SELECT FROM torture_tokens WHERE ctid IN (" + one + ") FOR UPDATE"); err != nil {
				return nil
			}
			Wait(ctx, 30*time.Millisecond)
		}
		return nil
	})
}

// rewrite updates all rows, and holds their locks for a while.
func (s *postgresServer) rewrite(ctx context.Context) error {
	return inTransaction(ctx, s.admin, func(tx *sql.Tx) error {
		if _, err := tx.Exec("UPDATE torture_tokens SET stamp = stamp"); err == nil {
			Wait(ctx, 100*time.Millisecond)
			tx.Commit()
		}
		return nil
	})
}
