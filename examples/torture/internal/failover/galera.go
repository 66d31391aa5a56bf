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

// A node is a server of a Galera cluster.
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
			tb.Fatal("failover: the DSN of the Galera node is not one of the Go driver")
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

// A balancer connects to each node in turn, and skips nodes that accept no
// connection. It does no health check. So it also connects to nodes that refuse all
// statements: those that have not joined the cluster, or lost the majority.
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

// A leaving is a way in which a node leaves its cluster and comes back.
type leaving struct {
	leave func(testing.TB, *node)
	join  func(testing.TB, *node) // returns when the node is part of the cluster again
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

// isolate starts ("1") or ends ("0") the node's isolation from the other nodes.
func (n *node) isolate(tb testing.TB, on string) {
	tb.Helper()
	if _, err := n.admin.Exec("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=" + on + "'"); err != nil {
		tb.Fatal(err)
	}
}

// awaitOthers waits until the node belongs to the majority, and has applied all that
// the majority committed.
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

// nodeLeaves starts a cluster of three nodes. The first one leaves and comes back. If
// balanced, each replica connects to all nodes through a balancer. Otherwise each has
// a node of its own, and the first replica has the node that leaves.
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
