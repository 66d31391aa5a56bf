// Package failover measures what clients see of a server that goes away while they
// sign in, and comes back or is replaced.
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

// A setup is an engine, and what befalls it.
type setup struct {
	engine, fault string // as the table has them
	lasts         time.Duration
	// keeps is whether the engine promises that nothing is lost that it confirmed.
	keeps bool
	// late is whether the settings are known to bring it back late, which the
	// documentation says.
	late bool
	open func(tb testing.TB) scene
}

// A scene is a setup that was started.
type scene struct {
	connect func(tb testing.TB) tokenauth.Storage // for each replica
	strike  func(context.Context) (heal func() error, err error)
}

const long = 30 * time.Second

// setups are the rows of the table, one after the other.
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

// open starts the throwaway servers of a value of -store.
func open(tb testing.TB, name string) *store.Backend {
	tb.Helper()
	b, err := store.Open(tb, name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// struck is a fault that package inject has for that storage.
func struck(name, fault string, asynchronous bool) func(testing.TB) scene {
	return func(tb testing.TB) scene {
		target := inject.Open(tb, open(tb, name), asynchronous)
		i := slices.IndexFunc(target.Faults, func(f *inject.Fault) bool { return f.Name == fault })
		if i < 0 {
			tb.Fatalf("%s has no fault %q", name, fault)
		}
		f := target.Faults[i]
		s := scene{connect: func(tb testing.TB) tokenauth.Storage { return target.Connect(tb, nil) }, strike: f.Strike}
		if f.Losing != nil {
			s.strike = func(ctx context.Context) (func() error, error) { return f.Losing(ctx, witness{}) }
		}
		if f.Prepare != nil { // after the replicas have made their tables
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

// A witness is told when changes may be lost; the books do not ask.
type witness struct{}

func (witness) MayLose()     {}
func (witness) LosesNoMore() {}

// proxied is an SQL server behind a network that swallows, or refuses. Settings are
// those of the DSN.
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

// behind returns what connects through a network, which it adds to all.
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
				tb.Fatal("the DSN is none of the Go driver's")
			}
			config.Net, config.Addr = "tcp", through(tb, config.Net, config.Addr)
			return store.OpenGORM(tb, gormmysql.Open(config.FormatDSN()+"?"+settings), nil)
		}
	}
	return func(tb testing.TB) tokenauth.Storage {
		u, err := url.Parse(b.DSN)
		if err != nil {
			tb.Fatal("the DSN is no URL")
		}
		at := u.Query()
		u.Host = through(tb, "unix", filepath.Join(at.Get("host"), ".s.PGSQL."+at.Get("port")))
		u.RawQuery = "sslmode=disable&" + settings
		return store.OpenGORM(tb, postgres.Open(u.String()), &pgxfeed.Listener{})
	}
}
