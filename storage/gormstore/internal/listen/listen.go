// Package listen defines the interface through which gormstore receives PostgreSQL
// notifications. Package pgxfeed implements it for the driver pgx.
package listen

import (
	"context"
	"database/sql"
)

// A Listener receives PostgreSQL notifications. Each driver needs its own Listener,
// because package [database/sql] has no function to receive notifications.
type Listener interface {
	// Listen listens to the channel on one connection, calls use, closes the
	// connection, and returns the result of use. The parameter pool is the store's
	// pool. An implementation may take the connection from that pool or open its own.
	Listen(ctx context.Context, pool *sql.DB, channel string, use func(Notifications) error) error
	// UsesPool reports whether Listen takes its connection from the pool. If it does,
	// the store refuses a pool that may have only one connection.
	UsesPool() bool
}

// Notifications reads the notifications that arrive on one connection. Only one
// goroutine at a time may call Next.
type Notifications interface {
	// Next waits for the next notification and returns its payload. If the context
	// ends first, Next returns the context's error, wrapped, and may be called again.
	Next(ctx context.Context) (payload string, err error)
}
