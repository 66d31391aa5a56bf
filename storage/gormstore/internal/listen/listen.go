// Package listen defines the interface through which gormstore receives PostgreSQL's
// notifications. Package pgxfeed implements it for the driver pgx.
package listen

import (
	"context"
	"database/sql"
)

// A Listener receives PostgreSQL's notifications. Each driver needs its own, because
// package [database/sql] has no call for it.
type Listener interface {
	// Listen takes a connection, listens to the channel, calls use, closes the
	// connection, and returns the result of use. An implementation may take the
	// connection from pool, which is the pool of the store, or open its own.
	Listen(ctx context.Context, pool *sql.DB, channel string, use func(Notifications) error) error
	// UsesPool reports whether Listen takes its connection from the pool. The store
	// then refuses a pool of only one connection.
	UsesPool() bool
}

// Notifications are the notifications that arrive on one connection. They must be used
// by one goroutine at a time.
type Notifications interface {
	// Next waits for the next notification and returns its payload. If the
	// context ends first, it returns the context's error, wrapped. The
	// connection remains usable.
	Next(ctx context.Context) (payload string, err error)
}
