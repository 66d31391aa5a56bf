package gormstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"testing"
)

// A balancer connects to several servers in turn, as a load balancer does.
type balancer struct {
	nodes []driver.Connector
	next  atomic.Uint64
	fixed atomic.Uint64 // if not 0, all connections go to the server with this number, counted from 1
}

func (b *balancer) Connect(ctx context.Context) (driver.Conn, error) {
	n := b.fixed.Load()
	if n == 0 {
		n = 1 + b.next.Add(1)%uint64(len(b.nodes))
	}
	return b.nodes[n-1].Connect(ctx)
}

func (b *balancer) Driver() driver.Driver { return b.nodes[0].Driver() }

func openConnector(tb testing.TB, c driver.Connector) *sql.DB {
	tb.Helper()
	pool := sql.OpenDB(c)
	tb.Cleanup(func() { pool.Close() })
	return pool
}
