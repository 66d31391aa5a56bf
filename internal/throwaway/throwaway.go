// Package throwaway starts real servers for tests: databases, Redis, PgBouncer
// and nginx. It removes them when the test ends.
//
//	func TestMain(m *testing.M) { os.Exit(throwaway.Main(m)) }
//
//	func TestStore(t *testing.T) {
//		db, err := sql.Open("pgx", throwaway.Postgres(t))
//		…
//	}
//
// It uses the servers that are installed on the machine. Each runs in a
// temporary folder, and most listen only on a Unix socket in that folder. A
// Redis Cluster, servers with sentinels, Twemproxy and nginx listen on ports of
// the loopback address. Galera nodes use such ports to communicate with each
// other. The servers end with the test process, even if that process crashes or
// is killed. Committed data survive [Server.Kill], but may not survive a crash
// of the machine, because the servers do not wait for the disk.
//
// If a server is not installed, the test is skipped. It fails instead if the
// environment variable TOKENAUTH_REQUIRE names the server. The variable is a
// comma-separated list of "postgres", "pgbouncer", "mariadb", "galera",
// "redis", "twemproxy" and "nginx". It may also contain "chromium"
// ([Chromium]), "modules" ([Module]), and the names that tests pass to [Need].
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

// Postgres returns the URL of a new, empty database, which is dropped when the
// test ends.
//
// The database is on a PostgreSQL server that all tests of the process share.
// The first call starts it. If the environment variable TOKENAUTH_POSTGRES_DSN
// is set, the server with that URL is used instead.
func Postgres(tb testing.TB) string {
	tb.Helper()
	return sharedPostgres.database(tb)
}

// MariaDB returns the DSN of a new, empty database, which is dropped when the
// test ends. The DSN has the format of [mysql.ParseDSN], and no parameters.
//
// The database is on a MariaDB server that all tests of the process share. The
// first call starts it. If the environment variable TOKENAUTH_MARIADB_DSN is set,
// the server with that DSN is used instead.
func MariaDB(tb testing.TB) string {
	tb.Helper()
	return sharedMariaDB.database(tb)
}

// StartPostgres starts a PostgreSQL server for this test only. It is removed when
// the test ends.
func StartPostgres(tb testing.TB) *Server {
	tb.Helper()
	return startServer(tb, postgres{})
}

// StartMariaDB starts a MariaDB server for this test only. It is removed when the
// test ends.
func StartMariaDB(tb testing.TB) *Server {
	tb.Helper()
	return startServer(tb, mariadb{})
}

// StartMariaDBWith is like [StartMariaDB], with further options for the server,
// such as "--log-bin".
func StartMariaDBWith(tb testing.TB, options ...string) *Server {
	tb.Helper()
	return startServer(tb, mariadb{options})
}

// Redis returns the URL of a new, empty Redis server, for
// [github.com/redis/rueidis.ParseURL]. The server is removed when the test ends.
//
// If the environment variable TOKENAUTH_REDIS_URL is set, Redis returns its
// value instead. That server may already have data, and other users. So a test
// that calls Redis must use unique keys, and remove them.
func Redis(tb testing.TB) string {
	tb.Helper()
	if u := os.Getenv("TOKENAUTH_REDIS_URL"); u != "" {
		return u
	}
	return StartRedis(tb).DSN()
}

// StartRedis starts a Redis server for this test only. The server writes all
// changes to a file, so that they survive a restart. It is removed when the
// test ends.
func StartRedis(tb testing.TB) *Server {
	tb.Helper()
	return start(tb, redis{})
}

// RedisCluster starts a Redis Cluster for this test only, and returns the
// addresses of its three masters. Each master has a third of the slots and no
// replicas. The cluster is removed when the test ends.
func RedisCluster(tb testing.TB) []string {
	tb.Helper()
	var addresses []string
	for _, s := range startRedisCluster(tb, 0) {
		addresses = append(addresses, strings.TrimPrefix(s.DSN(), "redis://"))
	}
	return addresses
}

// StartRedisCluster is like [RedisCluster], but returns the servers. A stopped
// master keeps its port when [Server.Start] restarts it. It rejoins the cluster
// some seconds later, once the other masters agree; CLUSTER INFO shows when.
func StartRedisCluster(tb testing.TB) []*Server {
	tb.Helper()
	return startRedisCluster(tb, 0)
}

// StartReplicatedRedisCluster is like [StartRedisCluster], and also starts a
// replica of each master. Each replica has the same index as its master. The
// function returns when the replicas have all the data of their masters.
func StartReplicatedRedisCluster(tb testing.TB) (masters, replicas []*Server) {
	tb.Helper()
	servers := startRedisCluster(tb, 1)
	return servers[:redisMasters], servers[redisMasters:]
}

// StartRedisSentinel starts a Redis server, a replica of it and three
// sentinels, for this test only. All are removed when the test ends. The
// function returns when the sentinels know both servers and each other. The
// sentinels regard a server as down after 5 seconds without an answer. The
// command SENTINEL SET changes this time limit.
//
// The DSN of each sentinel is a URL with the addresses of all sentinels, for
// [github.com/redis/rueidis.ParseURL].
//
// After [Server.Kill] and [Server.Start], the first server starts as a master
// again, because it has no record of the failover. About 10 seconds later the
// sentinels make it a replica.
func StartRedisSentinel(tb testing.TB) (servers, sentinels []*Server) {
	tb.Helper()
	return startRedisSentinel(tb)
}

// Main runs the tests, stops the servers that the tests shared, and returns the
// exit code. Call it from TestMain. If Main is not called, the shared servers
// stop shortly after the end of the test process.
func Main(m *testing.M) int {
	defer sharedPostgres.close()
	defer sharedMariaDB.close()
	return m.Run()
}

var (
	sharedPostgres = shared{engine: postgres{}, variable: "TOKENAUTH_POSTGRES_DSN"}
	sharedMariaDB  = shared{engine: mariadb{}, variable: "TOKENAUTH_MARIADB_DSN"}
)

// shared is a server that all tests of the process share.
type shared struct {
	engine   engine
	variable string // the environment variable with the DSN of a server to use instead

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
	s.once.Do(func() { s.err = errors.New("throwaway: the shared servers are already closed") })
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
	tb.Cleanup(func() {
		s.report(tb)
		s.close()
	})
	s.dsn = s.admin
	return s
}

// createDatabase creates a database on the server, to which it connects with
// the DSN admin. It returns the name and the DSN of the new database.
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
