package throwaway

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// A standby has what its primary has, is a server like any other, and takes the
// primary's place.
func TestPostgresStandbyTakesOver(t *testing.T) {
	t.Parallel()
	k := kinds[0]
	var dir, memory string
	t.Run("while its test runs", func(t *testing.T) {
		primary := StartPostgres(t)
		db := k.open(t, primary.DSN())
		do(t, db, "CREATE TABLE things (id INTEGER PRIMARY KEY)")
		do(t, db, "INSERT INTO things VALUES (1)")
		standby := StartPostgresStandby(t, primary)
		dir = standby.supervisor.dir
		copied := k.open(t, standby.DSN())
		awaitSum(t, copied, 1)
		do(t, db, "INSERT INTO things VALUES (2)")
		awaitSum(t, copied, 3)
		_, err := copied.ExecContext(t.Context(), "INSERT INTO things VALUES (100)")
		if refused, ok := errors.AsType[*pgconn.PgError](err); !ok || refused.Code != "25006" {
			t.Fatalf("a standby lets itself be written to: %v", err)
		}

		stopStart(t, k, standby, copied)
		do(t, db, "INSERT INTO things VALUES (4)")
		awaitSum(t, copied, 7)
		pauseResume(t, k, standby)
		do(t, db, "INSERT INTO things VALUES (8)")
		awaitSum(t, copied, 15)
		standby.Kill(t)
		do(t, db, "INSERT INTO things VALUES (16)")
		standby.Start(t)
		awaitSum(t, copied, 31)

		do(t, db, "ALTER SYSTEM SET synchronous_standby_names = '*'")
		do(t, db, "SELECT pg_reload_conf()")
		do(t, db, "INSERT INTO things VALUES (32)")
		awaitSum(t, copied, 63) // the first commits after a reload may not wait for it
		primary.Kill(t)
		do(t, copied, "SELECT pg_promote()")
		awaitSum(t, copied, 63)
		do(t, copied, "INSERT INTO things VALUES (64)")

		RejoinPostgres(t, primary, standby)
		awaitSum(t, k.open(t, primary.DSN()), 127)
		do(t, copied, "INSERT INTO things VALUES (128)")
		awaitSum(t, k.open(t, primary.DSN()), 255)
		RejoinPostgres(t, primary, standby) // while it runs, too
		awaitSum(t, k.open(t, primary.DSN()), 255)
		standby.Kill(t) // and it stays dead
		var ok bool
		if memory, ok = sharedMemory(dir); !ok {
			t.Error("a killed server leaves no shared memory behind, so the rest tests nothing")
		}
	})
	if dir == "" {
		return
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its test the folder %s is there: %v", dir, err)
	}
	list, err := os.ReadFile("/proc/sysvipc/shm") // where there is one
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); err == nil && fields[1] == memory {
			t.Errorf("after its test its shared memory is there: %s", line)
		}
	}
}

// awaitSum waits until a standby shows what it was sent.
func awaitSum(t *testing.T, db *sql.DB, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for sum := 0; sum != want; {
		err := db.QueryRowContext(ctx, "SELECT coalesce(sum(id), 0) FROM things").Scan(&sum)
		if ctx.Err() != nil {
			t.Fatalf("the sum is %d, not %d: %v", sum, want, err)
		}
		time.Sleep(time.Millisecond)
	}
}
