// Package pgxfeed listens to PostgreSQL's notifications through pgx, the driver
// that gorm.io/driver/postgres uses.
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

// A Listener listens for gormstore.WithFeed. The zero value takes a connection out of
// the host's pool for as long as it listens: one of those that SetMaxOpenConns
// allows. It is safe for concurrent use.
type Listener struct {
	// DSN leads to the same database by a connection that is not the pool's.
	// It is needed where the pool leads through a proxy that pools
	// transactions, such as PgBouncer, which cannot LISTEN, and where the
	// pool's driver is not pgx itself. With a DSN that leads elsewhere, no
	// heartbeat arrives, and the cache does not serve.
	DSN string
}

var _ listen.Listener = Listener{}

// UsesPool reports whether the connection is one of the pool's.
func (l Listener) UsesPool() bool { return l.DSN == "" }

// patience is how long it may take until a connection listens. The server of
// one that lies idle in the pool may be gone without a word, and then there is
// no end to waiting for it.
const patience = 5 * time.Second

// Listen is called by the store. It returns an error if it takes longer
// than 5 seconds until a connection listens.
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
			used = fmt.Errorf("pgxfeed: the pool's connections are of type %T, not pgx's; give a DSN", driverConn)
			return nil
		}
		used = subscribe(opening, pgxConn.Conn(), channel, use)
		// It still listens, so it must not go back to the pool.
		hangUp(pgxConn.Conn())
		return driver.ErrBadConn
	})
	if used == nil && !errors.Is(err, driver.ErrBadConn) {
		return err
	}
	return used
}

func hangUp(conn *pgx.Conn) {
	// The server may not answer, and whoever waits for us should not have to.
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	conn.Close(ctx)
}

// stayIdle switches off idle_session_timeout, of PostgreSQL 14 and later, for this
// session. For the server one that only receives notifications is idle.
const stayIdle = `SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings WHERE name = 'idle_session_timeout'`

func subscribe(ctx context.Context, conn *pgx.Conn, channel string, use func(listen.Notifications) error) error {
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
		return fmt.Errorf("pgxfeed: %w", err)
	}
	if _, err := conn.Exec(ctx, stayIdle); err != nil {
		return fmt.Errorf("pgxfeed: %w", err)
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
