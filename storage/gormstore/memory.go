package gormstore

import (
	"context"
	"fmt"
	"time"
)

// checkMemory returns errMemory, wrapped, if two connections in the pool do not see the
// same tables. It does not look at the DSN, because each driver has its own syntax for
// an in-memory database.
func (d *database) checkMemory(ctx context.Context) error {
	if d.db.Name() != "sqlite" {
		return nil
	}
	pool, err := d.db.DB()
	if err != nil {
		return nil // a pool that is not a *sql.DB cannot be checked
	}
	var versions [2]int
	for i := range versions {
		waiting, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		conn, err := pool.Conn(waiting)
		if waiting.Err() != nil {
			return ctx.Err() // all connections are in use: start without the check
		}
		if err != nil {
			return fmt.Errorf("gormstore: opening a connection: %w", err)
		}
		defer conn.Close()
		if versions[i], err = d.schemaVersion(ctx, conn); err != nil {
			return fmt.Errorf("gormstore: looking for the tables on connection %d of the pool (with locking_mode=EXCLUSIVE the pool must have only one: SetMaxOpenConns(1)): %w", i+1, err)
		}
		if pool.Stats().MaxOpenConnections == 1 {
			return nil
		}
	}
	if versions[0] != versions[1] {
		return fmt.Errorf("%w (two connections of the pool find different schema versions, %d and %d; table prefix %q)", errMemory, versions[0], versions[1], d.prefix)
	}
	return nil
}
