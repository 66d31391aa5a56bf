package gormstore_test

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore/internal/listen"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
)

// fallsSilent is a Listener that returns some payloads and then waits. It holds a
// connection of the pool until a statement waits for it that began after the last
// payload was received. So no statement of a pool with one connection is earlier.
type fallsSilent struct{ payloads []string }

func (f fallsSilent) UsesPool() bool { return false }
func (f fallsSilent) Listen(ctx context.Context, pool *sql.DB, _ string, use func(listen.Notifications) error) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return use(&silence{f.payloads, pool, conn})
}

type silence struct {
	payloads []string
	pool     *sql.DB
	conn     *sql.Conn
}

func (s *silence) Next(ctx context.Context) (string, error) {
	if len(s.payloads) > 0 {
		payload := s.payloads[0]
		s.payloads = s.payloads[1:]
		return payload, nil
	}
	for before := s.pool.Stats().WaitCount; ctx.Err() == nil && s.pool.Stats().WaitCount == before; {
		time.Sleep(time.Millisecond)
	}
	s.conn.Close()
	<-ctx.Done()
	return "", ctx.Err()
}

// If the pool's connections lead to two tables in turns, the heartbeat's row seems to
// change. Old notifications of that row must not count as heartbeats.
func TestOldNotificationsDoNotCountAsHeartbeats(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	admin := openDialector(t, postgres.Open(dsn), nil)
	var silent fallsSilent
	for _, schema := range []string{"one", "two"} {
		if err := admin.Exec(`CREATE SCHEMA ` + schema).Error; err != nil {
			t.Fatal(err)
		}
		w, db := openWatched(t, with(dsn, "search_path="+schema), pgxfeed.Listener{})
		ctx, cancel := context.WithCancel(t.Context())
		w.Watch(ctx, longBeat, untilAlive{new(counting), cancel})
		var stamp string
		if err := db.Raw(`SELECT stamp FROM tokenauth_tokens WHERE user_id = ''`).Scan(&stamp).Error; err != nil || stamp == "" {
			t.Fatalf("the stamp is %q, error %v", stamp, err)
		}
		silent.payloads = append(silent.payloads, "beat row "+stamp)
	}
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	var turn atomic.Int64
	pool := stdlib.OpenDB(*config, stdlib.OptionResetSession(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `SET search_path = `+[]string{"one", "two"}[turn.Add(1)%2])
		return err
	}))
	t.Cleanup(func() { pool.Close() })
	pool.SetMaxOpenConns(1)
	db := openDialector(t, postgres.New(postgres.Config{Conn: pool}), nil)
	if _, err := pool.ExecContext(t.Context(), `SET search_path = one`); err != nil {
		t.Fatal(err)
	}
	neverAlive(t, withListener(t, db, silent), "different tables")
}

// untilAlive is an Invalidator that ends Watch at the first heartbeat.
type untilAlive struct {
	*counting
	end context.CancelFunc
}

func (u untilAlive) Heartbeat(time.Time) { u.end() }

// The heartbeat uses the store's pool. If the pool has no free connection, the error of
// Watch names that reason.
func TestWatchErrorNamesExhaustedPool(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	w, db := openWatched(t, dsn, pgxfeed.Listener{DSN: dsn})
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(1)
	held, err := pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	neverAlive(t, w, "could not be written to table tokenauth_tokens", "all 1 connections of the pool are in use")
}
