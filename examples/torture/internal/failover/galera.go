package failover

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	gormmysql "gorm.io/driver/mysql"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A node is one of a Galera cluster.
type node struct {
	*throwaway.Server
	connector driver.Connector
	admin     *sql.DB
}

func startNodes(tb testing.TB) (nodes []*node) {
	tb.Helper()
	for _, s := range throwaway.StartGalera(tb, 3) { // two are a majority
		config, err := mysql.ParseDSN(s.DSN() + "?timeout=1s&readTimeout=3s")
		if err != nil {
			tb.Fatal("the DSN is none of the Go driver's")
		}
		config.Logger = &mysql.NopLogger{}
		connector, err := mysql.NewConnector(config)
		if err != nil {
			tb.Fatal(err)
		}
		n := &node{s, connector, sql.OpenDB(connector)}
		tb.Cleanup(func() { n.admin.Close() })
		nodes = append(nodes, n)
	}
	return nodes
}

// A balancer connects to each node in turn, and passes over those that take no
// connection. A node takes connections before it has joined its cluster, and after it
// has lost the majority, and refuses statements then. This balancer does not ask.
type balancer struct {
	nodes []*node
	next  atomic.Uint64
}

func (b *balancer) Connect(ctx context.Context) (conn driver.Conn, err error) {
	for range b.nodes {
		n := b.nodes[b.next.Add(1)%uint64(len(b.nodes))]
		if conn, err = n.connector.Connect(ctx); err == nil || ctx.Err() != nil {
			return conn, err
		}
	}
	return nil, err
}

func (b *balancer) Driver() driver.Driver { return b.nodes[0].connector.Driver() }

// A leaving is how a node leaves its cluster, and comes back.
type leaving struct {
	leave func(testing.TB, *node)
	join  func(testing.TB, *node) // returns once it takes part again
}

var (
	killed = leaving{
		func(tb testing.TB, n *node) { n.Kill(tb) },
		func(tb testing.TB, n *node) { n.Start(tb) },
	}
	cutOff = leaving{
		func(tb testing.TB, n *node) { n.isolate(tb, "1") },
		func(tb testing.TB, n *node) { n.isolate(tb, "0"); n.awaitOthers(tb) },
	}
)

// isolate has the node lose all that other nodes send, or no longer.
func (n *node) isolate(tb testing.TB, on string) {
	tb.Helper()
	if _, err := n.admin.Exec("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=" + on + "'"); err != nil {
		tb.Fatal(err)
	}
}

// awaitOthers waits until the node is one of a majority, and has applied what was
// committed there.
func (n *node) awaitOthers(tb testing.TB) {
	tb.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, err = n.admin.Exec("SET STATEMENT wsrep_sync_wait = 7 FOR SELECT 1"); err == nil {
			return
		}
	}
	tb.Fatal(err)
}

// nodeLeaves is a cluster of three nodes, one of which leaves and comes back. Either
// all replicas are at all nodes, by a balancer, or each is at its own, the first one
// at that which leaves.
func nodeLeaves(how leaving, balanced bool) func(testing.TB) scene {
	return func(tb testing.TB) scene {
		nodes := startNodes(tb)
		var all driver.Connector = &balancer{nodes: nodes}
		replica := 0
		s := scene{connect: func(tb testing.TB) tokenauth.Storage {
			connector := nodes[replica].connector
			if balanced {
				connector = all
			}
			replica++
			pool := sql.OpenDB(connector)
			tb.Cleanup(func() { pool.Close() })
			return store.OpenGORM(tb, gormmysql.New(gormmysql.Config{Conn: pool}), nil)
		}}
		s.strike = func(context.Context) (func() error, error) {
			how.leave(tb, nodes[0])
			return func() error { how.join(tb, nodes[0]); return nil }, nil
		}
		return s
	}
}
