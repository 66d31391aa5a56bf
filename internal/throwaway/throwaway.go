// Package throwaway starts real servers, of databases, Redis, PgBouncer and nginx,
// for tests and takes them away again.
//
//	func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }
//
//	func TestStore(t *testing.T) {
//		db, err := sql.Open("pgx", throwaway.Postgres(t))
//		…
//	}
//
// The servers are the ones installed on the machine. They live in a temporary
// folder, listen on a Unix socket in it only (those of a Redis Cluster, with
// sentinels, Twemproxy and nginx: on ports of the loopback address; Galera nodes talk
// to each other at such ports), and end with the test process, whichever way that
// ends. What they have committed survives [Server.Kill]. It may not survive a crash
// of the machine, because they do not wait for the disk.
//
// Tests that need a server which is not installed are skipped, unless the
// environment variable TOKENAUTH_REQUIRE, a comma separated list, names it
// ("postgres", "pgbouncer", "mariadb", "galera", "redis", "twemproxy", "nginx"): then
// they fail. The same holds for a browser ([Chromium]), which the test starts itself.
package throwaway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// Postgres returns the URL of a fresh, empty database, which goes away with
// the test.
//
// The database is on a PostgreSQL server that the first call starts and all
// tests of the process share, or on the server whose URL is in the environment
// variable TOKENAUTH_POSTGRES_DSN.
func Postgres(tb testing.TB) string {
	tb.Helper()
	return sharedPostgres.database(tb)
}

// MariaDB returns the DSN, for github.com/go-sql-driver/mysql, of a fresh,
// empty database, which goes away with the test. It has no parameters.
//
// The database is on a MariaDB server that the first call starts and all tests
// of the process share, or on the server whose DSN is in the environment
// variable TOKENAUTH_MARIADB_DSN.
func MariaDB(tb testing.TB) string {
	tb.Helper()
	return sharedMariaDB.database(tb)
}

// StartPostgres starts a PostgreSQL server for this test alone. It goes away
// with the test.
func StartPostgres(tb testing.TB) *Server {
	tb.Helper()
	return startServer(tb, postgres{})
}

// StartMariaDB starts a MariaDB server for this test alone. It goes away with
// the test.
func StartMariaDB(tb testing.TB) *Server {
	tb.Helper()
	return startServer(tb, mariadb{})
}

// StartMariaDBWith starts what StartMariaDB starts, with further options of the
// server, such as "--log-bin".
func StartMariaDBWith(tb testing.TB, options ...string) *Server {
	tb.Helper()
	return startServer(tb, mariadb{options})
}

// Redis returns the URL, as rueidis.ParseURL reads it, of a fresh, empty Redis
// server, which goes away with the test; or of the server whose URL is in the
// environment variable TOKENAUTH_REDIS_URL, which is neither. A test that can
// do with that one keeps to keys of its own, and removes them.
func Redis(tb testing.TB) string {
	tb.Helper()
	if u := os.Getenv("TOKENAUTH_REDIS_URL"); u != "" {
		return u
	}
	return StartRedis(tb).DSN()
}

// StartRedis starts a Redis server for this test alone. It writes all changes
// to a file, and goes away with the test.
func StartRedis(tb testing.TB) *Server {
	tb.Helper()
	return start(tb, redis{})
}

// RedisCluster starts a Redis Cluster of three masters, with a third of the
// slots each and no replicas, for this test alone, and returns their addresses.
// It goes away with the test.
func RedisCluster(tb testing.TB) []string {
	tb.Helper()
	var addresses []string
	for _, s := range startRedisCluster(tb, 0) {
		addresses = append(addresses, strings.TrimPrefix(s.DSN(), "redis://"))
	}
	return addresses
}

// StartRedisCluster starts what RedisCluster starts, and returns its servers. A
// master that was stopped has its port again after Start, and takes part again
// some seconds later, when the others agree: CLUSTER INFO tells.
func StartRedisCluster(tb testing.TB) []*Server {
	tb.Helper()
	return startRedisCluster(tb, 0)
}

// StartReplicatedRedisCluster starts a Redis Cluster as StartRedisCluster does,
// and a replica of each of its masters, in the same order. It returns when they
// have what their masters have.
func StartReplicatedRedisCluster(tb testing.TB) (masters, replicas []*Server) {
	tb.Helper()
	servers := startRedisCluster(tb, 1)
	return servers[:redisMasters], servers[redisMasters:]
}

// StartRedisSentinel starts a Redis server, a replica of it, and three sentinels
// that watch over them, for this test alone. It goes away with the test. It
// returns when the sentinels know of all. They take the server for dead after 5
// seconds: SENTINEL SET changes that.
//
// The DSN of each sentinel is a URL of all of them, for rueidis.ParseURL. What
// was the first server comes back as a master after Kill and Start, as one does
// whose configuration nobody has written; the sentinels then tell it otherwise,
// some 10 seconds later.
func StartRedisSentinel(tb testing.TB) (servers, sentinels []*Server) {
	tb.Helper()
	return startRedisSentinel(tb)
}

// Main is for TestMain: it runs the tests, stops the servers they shared, and
// returns the exit code. Without it the servers stop a moment after the test
// process has ended, rather than before.
func Main(m *testing.M) int {
	defer sharedPostgres.close()
	defer sharedMariaDB.close()
	return m.Run()
}

var (
	sharedPostgres = shared{engine: postgres{}, variable: "TOKENAUTH_POSTGRES_DSN"}
	sharedMariaDB  = shared{engine: mariadb{}, variable: "TOKENAUTH_MARIADB_DSN"}
)

// shared is the server that the tests of a process have in common.
type shared struct {
	engine   engine
	variable string // names a server to use instead

	once   sync.Once
	server *Server
	err    error
}

func (s *shared) database(tb testing.TB) string {
	tb.Helper()
	admin := os.Getenv(s.variable)
	if admin == "" {
		s.once.Do(func() { s.server, s.err = newServer(s.engine) })
		if s.err != nil {
			giveUp(tb, s.engine, s.err)
		}
		admin = s.server.admin
	}
	name, dsn, err := createDatabase(s.engine, admin)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := dropDatabase(s.engine, admin, name); err != nil {
			tb.Error(err)
		}
	})
	return dsn
}

func (s *shared) close() {
	s.once.Do(func() { s.err = errors.New("throwaway: Main has returned") })
	if s.server != nil {
		s.server.close()
	}
}

func startServer(tb testing.TB, e engine) *Server {
	tb.Helper()
	s := start(tb, e)
	var err error
	if _, s.dsn, err = createDatabase(e, s.admin); err != nil {
		tb.Fatal(err)
	}
	return s
}

func start(tb testing.TB, e program) *Server {
	tb.Helper()
	s, err := newServer(e)
	if err != nil {
		giveUp(tb, e, err)
	}
	tb.Cleanup(s.close)
	s.dsn = s.admin
	return s
}

// createDatabase adds a database to the server behind the DSN admin, and
// returns its name and its own DSN.
func createDatabase(e engine, admin string) (name, dsn string, err error) {
	name = "test_" + random()
	if dsn, err = e.database(admin, name); err != nil {
		return "", "", fmt.Errorf("throwaway: %s: %w", e.name(), err)
	}
	db, err := e.open(admin)
	if err != nil {
		return "", "", fmt.Errorf("throwaway: %s: %w", e.name(), err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", "", fmt.Errorf("throwaway: %s: create a database: %w", e.name(), err)
	}
	return name, dsn, nil
}

func dropDatabase(e engine, admin, name string) error {
	db, err := e.open(admin)
	if err != nil {
		return fmt.Errorf("throwaway: %s: %w", e.name(), err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := e.drop(ctx, db, name); err != nil {
		return fmt.Errorf("throwaway: %s: drop a database: %w", e.name(), err)
	}
	return nil
}
