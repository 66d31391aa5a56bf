package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/gormstore"
)

// A countedPool is a connection pool that counts its connections.
type countedPool struct {
	*sql.DB
	connections *counter
}

// openCounted opens a pool with the default settings of database/sql, which
// gorm.Open does not change.
func openCounted(tb testing.TB, d database, dsn string) countedPool {
	connector, err := d.connector(dsn)
	if err != nil {
		tb.Fatal(err)
	}
	c := &counter{Connector: connector}
	pool := sql.OpenDB(c)
	c.pool = pool
	tb.Cleanup(func() { pool.Close() })
	return countedPool{pool, c}
}

// madeToMeasure limits the pool to the given number of connections, and lets it
// keep all of them open when idle. It returns the pool.
func (p countedPool) madeToMeasure(connections int) countedPool {
	p.SetMaxOpenConns(connections)
	p.SetMaxIdleConns(connections)
	return p
}

// A counter is a connector that counts connections. It does not wrap the driver's
// connections, so that database/sql finds all interfaces that they implement.
type counter struct {
	driver.Connector
	pool         *sql.DB
	opened, most atomic.Int64 // connections opened in total, and the most open at the same time
}

func (c *counter) Connect(ctx context.Context) (driver.Conn, error) {
	// OpenConnections already includes the connection that is opened below.
	now := int64(c.pool.Stats().OpenConnections)
	for {
		most := c.most.Load()
		if now <= most || c.most.CompareAndSwap(most, now) {
			break
		}
	}
	conn, err := c.Connector.Connect(ctx)
	if err == nil {
		c.opened.Add(1)
	}
	return conn, err
}

// storeOn creates the token tables, and returns a store that uses the pool.
func storeOn(tb testing.TB, d database, pool *sql.DB) *gormstore.Store {
	db, err := gorm.Open(d.dialector(pool), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		tb.Fatal(err)
	}
	if err := gormstore.Migrate(tb.Context(), db, nil); err != nil {
		tb.Fatal(err)
	}
	s, err := gormstore.New(tb.Context(), db, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}
