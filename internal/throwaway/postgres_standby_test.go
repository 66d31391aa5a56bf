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

// A standby has the data of its primary. It can be stopped, paused and killed
// like other servers, and promoted to replace the primary.
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
			t.Fatalf("an INSERT on a standby returns error %v, want code 25006", err)
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
		awaitSum(t, copied, 63) // the first commits after a reload may not wait for the standby
		primary.Kill(t)
		do(t, copied, "SELECT pg_promote()")
		awaitSum(t, copied, 63)
		do(t, copied, "INSERT INTO things VALUES (64)")

		RejoinPostgres(t, primary, standby)
		awaitSum(t, k.open(t, primary.DSN()), 127)
		do(t, copied, "INSERT INTO things VALUES (128)")
		awaitSum(t, k.open(t, primary.DSN()), 255)
		RejoinPostgres(t, primary, standby) // also works while it runs
		awaitSum(t, k.open(t, primary.DSN()), 255)
		standby.Kill(t) // and is not started again
		var ok bool
		if memory, ok = sharedMemory(dir); !ok {
			t.Error("a killed server has left no shared memory, so the rest of the test checks nothing")
		}
	})
	if dir == "" {
		return
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its test the folder %s still exists: %v", dir, err)
	}
	list, err := os.ReadFile("/proc/sysvipc/shm") // exists on Linux only
	for line := range strings.Lines(string(list)) {
		if fields := strings.Fields(line); err == nil && fields[1] == memory {
			t.Errorf("after its test the server's shared memory still exists: %s", line)
		}
	}
}

// awaitSum waits until the sum of all IDs on a standby is want.
func awaitSum(t *testing.T, db *sql.DB, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for sum := 0; sum != want; {
		err := db.QueryRowContext(ctx, "SELECT coalesce(sum(id), 0) FROM things").Scan(&sum)
		if ctx.Err() != nil {
			t.Fatalf("the sum is %d, want %d, error %v", sum, want, err)
		}
		time.Sleep(time.Millisecond)
	}
}
