package gormstore

import (
	"context"
	"fmt"
	"time"
)

// checkMemory returns errMemory, wrapped, if another connection of the pool does not
// have the tables that one has. It looks at the effect, as drivers have many names
// for such a database.
func (d *database) checkMemory(ctx context.Context) error {
	if d.db.Name() != "sqlite" {
		return nil
	}
	pool, err := d.db.DB()
	if err != nil {
		return nil // a pool of the host's own kind
	}
	var versions [2]int
	for i := range versions {
		waiting, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		conn, err := pool.Conn(waiting)
		if waiting.Err() != nil {
			return ctx.Err() // the host uses all: the check is not worth a start
		}
		if err != nil {
			return fmt.Errorf("gormstore: opening a connection: %w", err)
		}
		defer conn.Close()
		if versions[i], err = d.schemaVersion(ctx, conn); err != nil {
			return fmt.Errorf("gormstore: looking for the tables by connection %d of the pool (with locking_mode=EXCLUSIVE it must have one: SetMaxOpenConns(1)): %w", i+1, err)
		}
		if pool.Stats().MaxOpenConnections == 1 {
			return nil
		}
	}
	if versions[0] != versions[1] {
		return fmt.Errorf("%w (two connections of the pool find versions %d and %d of the tables %s…)", errMemory, versions[0], versions[1], d.prefix)
	}
	return nil
}
