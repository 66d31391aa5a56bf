// Package pgxfeed receives PostgreSQL notifications through pgx, the driver that
// gorm.io/driver/postgres uses. Package gormstore needs pgxfeed for its change feed:
//
//	watched, err := gormstore.WithFeed(ctx, store, pgxfeed.Listener{})
package pgxfeed

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/bearerkit/bearerkit/storage/gormstore/internal/listen"
)

// A Listener receives notifications for
// [github.com/bearerkit/bearerkit/storage/gormstore.WithFeed]. The zero value takes a
// connection from the store's pool and keeps it for as long as it listens. That
// connection counts towards [sql.DB.SetMaxOpenConns]. A Listener is safe for concurrent
// use.
type Listener struct {
	// DSN is for a separate connection to the store's database. If DSN is empty, the
	// Listener takes a connection from the pool. Set DSN if the pool connects through
	// a proxy that pools transactions, such as PgBouncer, because LISTEN does not work
	// there. Also set it if the pool's driver is not pgx.
	//
	// If the DSN leads to another database, no heartbeat arrives and the cache stays
	// off.
	DSN string
}

var _ listen.Listener = Listener{}

// UsesPool reports whether the Listener takes its connection from the pool, which it
// does if [Listener.DSN] is empty.
func (l Listener) UsesPool() bool { return l.DSN == "" }

// patience is the timeout for taking or opening a connection and for LISTEN. An idle
// connection in the pool may lead to a server that no longer answers. Without a
// timeout, the Listener would wait forever for that server.
const patience = 5 * time.Second

// Listen is for package gormstore, which calls it when a Service begins to watch. It
// takes or opens a connection, listens to the channel, calls use, and returns the
// result of use. If it cannot listen within 5 seconds, it returns an error.
func (l Listener) Listen(ctx context.Context, pool *sql.DB, channel string, use func(listen.Notifications) error) error {
	opening, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if l.DSN != "" {
		conn, err := pgx.Connect(opening, l.DSN)
		if err != nil {
			return fmt.Errorf("pgxfeed: %w", err)
		}
		defer hangUp(conn)
		return subscribe(opening, conn, channel, use)
	}
	c, err := pool.Conn(opening)
	if err != nil {
		return fmt.Errorf("pgxfeed: taking a connection from the pool: %w", err)
	}
	defer c.Close()
	var used error
	err = c.Raw(func(driverConn any) error {
		pgxConn, ok := driverConn.(*stdlib.Conn)
		if !ok {
			used = fmt.Errorf("pgxfeed: the pool's driver is not pgx (its connections are of type %T): set Listener.DSN", driverConn)
			return nil
		}
		used = subscribe(opening, pgxConn.Conn(), channel, use)
		// The connection still listens, so it must not return to the pool.
		hangUp(pgxConn.Conn())
		return driver.ErrBadConn
	})
	if used == nil && !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return used
}

// hangUp closes the connection. It waits only briefly, because the server may not
// answer.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	conn.Close(ctx)
}

// stayIdle turns off idle_session_timeout (PostgreSQL 14 and later) for this session,
// because the server considers a session idle if it only receives notifications.
const stayIdle = `SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'idle_session_timeout'`

func subscribe(ctx context.Context, conn *pgx.Conn, channel string, use func(listen.Notifications) error) error {
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("pgxfeed: listening to channel %q: %w", channel, err)
	}
	if _, err := conn.Exec(ctx, stayIdle); err != nil {
		return fmt.Errorf("pgxfeed: turning off idle_session_timeout: %w", err)
	}
	return use(notifications{conn})
}

type notifications struct{ conn *pgx.Conn }

func (n notifications) Next(ctx context.Context) (string, error) {
	notification, err := n.conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return notification.Payload, nil
}
