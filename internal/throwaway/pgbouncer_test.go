package throwaway

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
)

// In the pool modes transaction and statement, clients share a connection. In the
// mode session each client has its own.
func TestPgBouncerUsesThePoolMode(t *testing.T) {
	t.Parallel()
	direct := Postgres(t)
	do(t, kinds[0].open(t, direct), "CREATE TABLE things (id INTEGER PRIMARY KEY)")
	for mode, shared := range map[string]bool{"session": false, "transaction": true, "statement": true} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			var dir string
			t.Run("while its test runs", func(t *testing.T) {
				s := StartPgBouncer(t, direct, "pool_mode = "+mode, "default_pool_size = 2")
				dir = s.supervisor.dir
				first, second := oneConnection(t, s.DSN()), oneConnection(t, s.DSN())
				do(t, first, "SELECT count(*) FROM things")
				// Statements are not prepared, so they work on any connection.
				const pid = "SELECT pg_backend_pid()"
				if same := get[int](t, first, pid) == get[int](t, second, pid); same != shared {
					t.Errorf("two clients share a connection: got %v, want %v", same, shared)
				}

				s.Kill(t)
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := first.PingContext(ctx); err == nil || ctx.Err() != nil {
					t.Errorf("a ping of a killed server returns error %v, want a refused connection", err)
				}
				s.Start(t)
				do(t, first, "SELECT count(*) FROM things")
				s.Stop(t)
				s.Start(t)
				do(t, second, "SELECT count(*) FROM things")
			})
			if _, err := os.Stat(dir); dir != "" && !errors.Is(err, os.ErrNotExist) {
				t.Errorf("after its test the folder %s still exists: %v", dir, err)
			}
		})
	}
}

// oneConnection opens a pool of one connection, without prepared statements.
func oneConnection(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db := kinds[0].open(t, dsn+"&default_query_exec_mode=simple_protocol")
	db.SetMaxOpenConns(1)
	return db
}

// An invalid setting fails the test, with PgBouncer's message.
func TestPgBouncerWithAnInvalidSettingFailsTheTest(t *testing.T) {
	t.Parallel()
	direct := Postgres(t)
	StartPgBouncer(t, direct) // skips the test if PgBouncer is not installed
	r := record(t, func(tb testing.TB) { StartPgBouncer(tb, direct, "pool_mode = none") })
	if r.skipped != "" || !strings.Contains(r.failed, "pool_mode") {
		t.Errorf("skipped with %q, failed with %q", r.skipped, r.failed)
	}
}

func TestMissingPgBouncerSkipsUnlessRequired(t *testing.T) {
	uninstall(t)
	for _, require := range []string{"", "postgres", "pgbouncer"} {
		t.Setenv("TOKENAUTH_REQUIRE", require)
		r := record(t, func(tb testing.TB) { StartPgBouncer(tb, "postgres://u@db.example/app") })
		if (r.failed != "") != (require == "pgbouncer") || !strings.Contains(r.skipped+r.failed, "apt-get install pgbouncer") {
			t.Errorf("with TOKENAUTH_REQUIRE=%q: skipped with %q, failed with %q", require, r.skipped, r.failed)
		}
	}
}
