// Package failover measures what clients see while they sign in and a database server
// fails, and then comes back or is replaced.
package failover

import (
	"context"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/examples/torture/internal/inject"
	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A setup is an engine with its settings, and a fault.
type setup struct {
	engine, fault string // as in the table
	lasts         time.Duration
	// keeps is whether the engine promises to lose no confirmed change.
	keeps bool
	// late is whether the documentation says that these settings make the recovery
	// slow. Then a slow recovery is not a violation.
	late bool
	open func(tb testing.TB) scene
}

// A scene is a setup whose servers run.
type scene struct {
	connect func(tb testing.TB) tokenauth.Storage // opens a handle; called once for each replica
	strike  func(context.Context) (heal func() error, err error)
}

const long = 30 * time.Second

// setups lists the rows of the table, in order.
var setups = []setup{
	{engine: "PostgreSQL, `connect_timeout=1`", fault: "network swallows", lasts: long, keeps: true, open: proxied("postgres:", "connect_timeout=1", true)},
	{engine: "PostgreSQL, no `connect_timeout`", fault: "network swallows", lasts: long, keeps: true, late: true, open: proxied("postgres:", "", true)},
	{engine: "PostgreSQL", fault: "proxy refuses connections", lasts: long, keeps: true, open: proxied("postgres:", "connect_timeout=1", false)},
	{engine: "PostgreSQL", fault: "server stopped, started again", lasts: long, keeps: true, open: struck("postgres:", "server stopped", false)},
	{engine: "PostgreSQL, synchronous standby", fault: "primary killed, standby promoted", lasts: 2 * time.Second, keeps: true, open: struck("postgres-standby:", "fail-over: primary killed, standby promoted", false)},
	{engine: "PostgreSQL, asynchronous standby", fault: "primary killed, standby promoted", lasts: 2 * time.Second, open: struck("postgres-standby:", "fail-over: primary killed, standby promoted", true)},
	{engine: "PostgreSQL, asynchronous standby", fault: "standby cut off for 1 s, primary killed, standby promoted", lasts: 2 * time.Second, open: struck("postgres-standby:", "fail-over: standby cut off, primary killed, standby promoted", true)},
	{engine: "MariaDB", fault: "server stopped, started again", lasts: 5 * time.Second, keeps: true, open: struck("mariadb:", "server stopped", false)},
	{engine: "MariaDB, `timeout=1s&readTimeout=3s`", fault: "network swallows", lasts: 10 * time.Second, keeps: true, open: proxied("mariadb:", "timeout=1s&readTimeout=3s", true)},
	{engine: "MariaDB, no `readTimeout`", fault: "network swallows", lasts: 10 * time.Second, keeps: true, late: true, open: proxied("mariadb:", "", true)},
	{engine: "Galera, a node for each replica", fault: "node of one replica killed, started again", lasts: 10 * time.Second, keeps: true, open: nodeLeaves(killed, false)},
	{engine: "Galera, a node for each replica", fault: "node of one replica cut off from the others", lasts: 10 * time.Second, keeps: true, open: nodeLeaves(cutOff, false)},
	{engine: "Galera, three nodes by a balancer", fault: "a node killed, started again", lasts: 10 * time.Second, keeps: true, open: nodeLeaves(killed, true)},
	{engine: "Galera, three nodes by a balancer", fault: "a node cut off from the others", lasts: 10 * time.Second, keeps: true, open: nodeLeaves(cutOff, true)},
	{engine: "Redis with Sentinel", fault: "master killed, replaced", open: struck("redis-sentinel:", "fail-over, master killed", false)},
	{engine: "Redis with Sentinel", fault: "replica cut off for 0.3 s, master killed, replaced", open: struck("redis-sentinel:", "fail-over, master killed while its replica lags", false)},
	{engine: "Redis Cluster", fault: "master killed, replaced", open: struck("redis-cluster:", "fail-over, master killed", false)},
	{engine: "Redis Cluster", fault: "replica cut off for 0.3 s, master killed, replaced", open: struck("redis-cluster:", "fail-over, master killed while its replica lags", false)},
}

// open starts the throwaway servers that the value of -store names.
func open(tb testing.TB, name string) *store.Backend {
	tb.Helper()
	b, err := store.Open(tb, name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// struck opens the throwaway storage, with one of its faults from [inject.Open].
func struck(name, fault string, asynchronous bool) func(testing.TB) scene {
	return func(tb testing.TB) scene {
		target := inject.Open(tb, open(tb, name), asynchronous)
		i := slices.IndexFunc(target.Faults, func(f *inject.Fault) bool { return f.Name == fault })
		if i < 0 {
			tb.Fatalf("failover: %s has no fault %q", name, fault)
		}
		f := target.Faults[i]
		s := scene{connect: func(tb testing.TB) tokenauth.Storage { return target.Connect(tb, nil) }, strike: f.Strike}
		if f.Losing != nil {
			s.strike = func(ctx context.Context) (func() error, error) { return f.Losing(ctx, witness{}) }
		}
		if f.Prepare != nil { // after the first replica has created the tables
			strike := s.strike
			s.strike = func(ctx context.Context) (func() error, error) { return strike(ctx) }
			connect, prepared := s.connect, false
			s.connect = func(tb testing.TB) tokenauth.Storage {
				c := connect(tb)
				if !prepared {
					prepared = true
					if err := f.Prepare(tb.Context()); err != nil {
						tb.Fatal(err)
					}
				}
				return c
			}
		}
		return s
	}
}

// A witness is an [inject.Witness] that does nothing. The books do not need to know
// when changes may be lost.
type witness struct{}

func (witness) MayLose()     {}
func (witness) LosesNoMore() {}

// proxied opens an SQL server behind a network that drops all data or, without
// swallows, refuses connections. Settings are added to the DSN.
func proxied(name, settings string, swallows bool) func(testing.TB) scene {
	return func(tb testing.TB) scene {
		var all []*network.Network
		s := scene{connect: behind(tb, open(tb, name), settings, &all)}
		s.strike = func(context.Context) (func() error, error) {
			for _, n := range all {
				if swallows {
					n.Swallow()
				} else {
					n.Down()
				}
			}
			return func() (err error) {
				for _, n := range all {
					if swallows {
						n.Pass()
					} else if up := n.Up(); up != nil {
						err = up
					}
				}
				return err
			}, nil
		}
		return s
	}
}

// behind returns a function that connects through a network of its own, and adds
// the network to all.
func behind(tb testing.TB, b *store.Backend, settings string, all *[]*network.Network) func(testing.TB) tokenauth.Storage {
	tb.Helper()
	through := func(tb testing.TB, kind, address string) string {
		n := network.New(tb, kind, address)
		*all = append(*all, n)
		return n.Entrance()
	}
	if b.Name == "mariadb" {
		return func(tb testing.TB) tokenauth.Storage {
			config, err := mysql.ParseDSN(b.DSN)
			if err != nil {
				tb.Fatal("failover: the DSN of MariaDB is not one of the Go driver")
			}
			config.Net, config.Addr = "tcp", through(tb, config.Net, config.Addr)
			return store.OpenGORM(tb, gormmysql.Open(config.FormatDSN()+"?"+settings), nil)
		}
	}
	return func(tb testing.TB) tokenauth.Storage {
		u, err := url.Parse(b.DSN)
		if err != nil {
			tb.Fatal("failover: the DSN of PostgreSQL is not a URL")
		}
		at := u.Query()
		u.Host = through(tb, "unix", filepath.Join(at.Get("host"), ".s.PGSQL."+at.Get("port")))
		u.RawQuery = "sslmode=disable&" + settings
		return store.OpenGORM(tb, postgres.Open(u.String()), &pgxfeed.Listener{})
	}
}
