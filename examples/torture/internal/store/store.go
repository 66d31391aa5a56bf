// Package store opens the storage that the flag -store names. If the flag names no
// server, the package starts a throwaway one.
package store

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/redis/rueidis"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A Backend is a storage under test. [Open] opens one.
type Backend struct {
	Name string // the scheme of -store: "postgres", "redis" and so on
	// Connect opens a new handle. Each replica has a handle of its own.
	Connect func(tb testing.TB) tokenauth.Storage
	// Watched is whether the handles are a [tokenauth.Watcher], which a cache needs.
	Watched bool
	// DSN is empty for memory. It is a list for "mariadb-galera" and
	// "postgres-pgbouncer".
	DSN string
	// Server is a throwaway server that a trial may stop and kill, or nil. Standby is
	// its standby, or nil.
	Server, Standby *throwaway.Server
}

// Forms lists the values of the flag -store, for [Open].
const Forms = "memory:, sqlite:[PATH], postgres:, postgres-pgbouncer:, postgres-standby:, mariadb:, mariadb-galera:, redis:, redis-sentinel: and redis-cluster: (all of them throwaway servers), postgres://…, mysql://DSN of the Go driver, redis://…"

func init() {
	mysql.SetLogger(&mysql.NopLogger{}) // the driver would log each broken connection
}

// Open opens the storage that the value of -store names. See [Forms].
func Open(tb testing.TB, store string) (*Backend, error) {
	scheme, rest, found := strings.Cut(store, ":")
	if !found {
		return nil, fmt.Errorf("-store: %q is not one of %s", store, Forms)
	}
	b := &Backend{Name: scheme, DSN: store}
	b.Connect = func(tb testing.TB) tokenauth.Storage {
		s, err := Connect(tb, b.Name, b.DSN)
		if err != nil {
			tb.Fatal(err)
		}
		return s
	}
	switch scheme {
	case "memory":
		s := new(memory.Store)
		b.Connect = func(testing.TB) tokenauth.Storage { return s }
		b.Watched, b.DSN = true, ""
	case "sqlite":
		if rest == "" {
			rest = filepath.Join(tb.TempDir(), "torture.db")
		}
		b.DSN = "file:" + rest + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_txlock=immediate"
	case "postgres":
		if rest == "" {
			b.Server = throwaway.StartPostgres(tb)
			b.DSN = b.Server.DSN()
		}
		b.Watched = true
	case "postgres-pgbouncer":
		b.Server = throwaway.StartPostgres(tb)
		pooled := throwaway.StartPgBouncer(tb, b.Server.DSN(), "pool_mode = transaction", "default_pool_size = 40").DSN()
		b.DSN = pooled + "&default_query_exec_mode=exec" + separator + b.Server.DSN()
		b.Watched = true
	case "postgres-standby":
		b.Server = throwaway.StartPostgres(tb)
		b.Standby = throwaway.StartPostgresStandby(tb, b.Server)
		b.DSN = throwaway.PrimaryDSN(tb, b.Server, b.Standby)
		b.Watched = true
	case "mariadb", "mysql":
		if rest == "" {
			b.Server = throwaway.StartMariaDB(tb)
			b.DSN = b.Server.DSN()
		} else {
			b.DSN = strings.TrimPrefix(rest, "//")
		}
		if _, err := mysql.ParseDSN(b.DSN); err != nil {
			return nil, fmt.Errorf("-store: after mysql:// there must be a DSN of github.com/go-sql-driver/mysql")
		}
	case "mariadb-galera":
		var nodes []string
		for _, s := range throwaway.StartGalera(tb, 2) {
			nodes = append(nodes, s.DSN())
		}
		b.DSN = strings.Join(nodes, separator)
	case "redis":
		if rest == "" {
			b.Server = throwaway.StartRedis(tb)
			b.DSN = b.Server.DSN()
		}
		if _, err := rueidis.ParseURL(b.DSN); err != nil {
			return nil, fmt.Errorf("-store: the value for Redis is not a valid URL")
		}
		b.Watched = true
	case "redis-sentinel":
		_, sentinels := throwaway.StartRedisSentinel(tb)
		b.DSN, b.Watched = sentinels[0].DSN(), true
	case "redis-cluster":
		b.DSN, b.Watched = strings.Join(throwaway.RedisCluster(tb), ","), true
	default:
		return nil, fmt.Errorf("-store: %q is not one of %s", store, Forms)
	}
	return b, nil
}

// Direct returns the DSN of the database itself, without the connection pooler before
// it, if there is one.
func (b *Backend) Direct() string {
	if pooled, direct, ok := strings.Cut(b.DSN, separator); ok && strings.HasPrefix(pooled, "postgres:") {
		return direct
	}
	return b.DSN
}

// Connect opens a handle by the name and the DSN of a [Backend], also in another
// process. It cannot open "memory".
func Connect(tb testing.TB, name, dsn string) (tokenauth.Storage, error) {
	tb.Helper()
	switch name {
	case "sqlite":
		return OpenGORM(tb, gormlite.Open(dsn), nil), nil
	case "postgres", "postgres-standby":
		return OpenGORM(tb, postgres.Open(dsn), &pgxfeed.Listener{}), nil
	case "postgres-pgbouncer":
		pooled, direct, _ := strings.Cut(dsn, separator)
		// PgBouncer before 1.21 does not support prepared statements.
		return OpenGORM(tb, postgres.Open(pooled), &pgxfeed.Listener{DSN: direct}), nil
	case "mariadb", "mysql":
		return OpenGORM(tb, gormmysql.Open(dsn), nil), nil
	case "mariadb-galera":
		return OpenGORM(tb, gormmysql.Open(nextNode(dsn)), nil), nil
	case "redis":
		option, err := rueidis.ParseURL(dsn)
		if err != nil {
			return nil, fmt.Errorf("store: the URL of Redis is invalid")
		}
		return OpenRedis(tb, option), nil
	case "redis-sentinel":
		option, err := SentinelOption(dsn)
		if err != nil {
			return nil, fmt.Errorf("store: the URL of the sentinels is invalid")
		}
		return OpenRedis(tb, option), nil
	case "redis-cluster":
		return OpenRedis(tb, rueidis.ClientOption{InitAddress: strings.Split(dsn, ",")}), nil
	}
	return nil, fmt.Errorf("store: cannot connect to a storage named %q", name)
}

// separator separates the DSNs of a list.
const separator = " "

var node atomic.Uint64

// nextNode returns the DSN of each node of a cluster in turn, so that consecutive
// replicas connect to different nodes.
func nextNode(dsns string) string {
	nodes := strings.Split(dsns, separator)
	return nodes[node.Add(1)%uint64(len(nodes))]
}

// OpenGORM opens a handle with its own pool of connections, and creates the tables. The
// handle is a [tokenauth.Watcher] if the listener is not nil.
func OpenGORM(tb testing.TB, dialector gorm.Dialector, listener *pgxfeed.Listener) tokenauth.Storage {
	tb.Helper()
	db := openPool(tb, dialector)
	options := &gormstore.Options{TablePrefix: "torture_", Feed: listener != nil, Passwords: &password.Options{KeepHashes: true}}
	if err := gormstore.Migrate(tb.Context(), db, options); err != nil {
		tb.Fatal(err)
	}
	s, err := gormstore.New(tb.Context(), db, options)
	if err != nil {
		tb.Fatal(err)
	}
	if listener == nil {
		return s
	}
	watched, err := gormstore.WithFeed(tb.Context(), s, listener)
	if err != nil {
		tb.Fatal(err)
	}
	return watched
}

// openPool opens a pool of at most 16 connections.
func openPool(tb testing.TB, dialector gorm.Dialector) *gorm.DB {
	tb.Helper()
	db, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		tb.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { pool.Close() })
	pool.SetMaxOpenConns(16)
	pool.SetMaxIdleConns(16)
	return db
}

// OpenRedis opens a handle with its own client. The handle is a [tokenauth.Watcher].
func OpenRedis(tb testing.TB, option rueidis.ClientOption) tokenauth.Storage {
	tb.Helper()
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	s, err := redisstore.New(client, &redisstore.Options{Prefix: "torture:"})
	if err != nil {
		tb.Fatal(err)
	}
	watched, err := redisstore.WithFeed(s, option)
	if err != nil {
		tb.Fatal(err)
	}
	return watched
}

// RedisPatience is the value of [rueidis.ClientOption.ConnWriteTimeout]: how long a
// client waits for the answer to a PING before it closes a connection. Until then all
// calls on a dead connection fail. The client's default is ten seconds.
const RedisPatience = time.Second

// SentinelOption returns the [rueidis.ClientOption] of a client that finds the
// master through Sentinel.
func SentinelOption(dsn string) (rueidis.ClientOption, error) {
	option, err := rueidis.ParseURL(dsn)
	option.ConnWriteTimeout = RedisPatience
	option.Sentinel.TopologyRefreshInterval = 5 * time.Second // as rueidis recommends
	return option, err
}
