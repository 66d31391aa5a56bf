// Package listen is how gormstore listens to PostgreSQL's notifications. The
// package pgxfeed implements it for a driver.
package listen

import (
	"context"
	"database/sql"
)

// A Listener listens to PostgreSQL's notifications. That is a driver's job:
// database/sql has no call for it.
type Listener interface {
	// Listen opens a connection for itself, listens to the channel, calls use,
	// closes the connection, and returns what use returned. Pool is the host's
	// database, for a Listener that takes a connection from it.
	Listen(ctx context.Context, pool *sql.DB, channel string, use func(Notifications) error) error
	// UsesPool reports whether the connection is one of the pool's, so that the
	// Listener is not left to take the only one.
	UsesPool() bool
}

// Notifications are those that come over one connection. One goroutine uses
// them.
type Notifications interface {
	// Next waits for the next one and returns its payload. If the context ends
	// first, it returns the context's error, wrapped, and the connection can
	// still be used.
	Next(ctx context.Context) (payload string, err error)
}
