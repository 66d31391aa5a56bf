// Package store opens the storage that the flag -store names. It starts a throwaway
// server if the flag names none.
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

// A Backend is a storage under test.
type Backend struct {
	Name string
	// Connect opens another handle. Each replica has its own.
	Connect func(tb testing.TB) tokenauth.Storage
	// Watched is whether the handles are Watchers, as a cache needs.
	Watched bool
	// DSN is empty for memory, and a list for "mariadb-galera" and
	// "postgres-pgbouncer". Server is the server that a trial may stop and kill,
	// nil if the storage was there before. Standby is its standby, if it has one.
	DSN             string
	Server, Standby *throwaway.Server
}

// Forms lists the values of the flag -store.
const Forms = "memory:, sqlite:[PATH], postgres:, postgres-pgbouncer:, postgres-standby:, mariadb:, mariadb-galera:, redis:, redis-sentinel: and redis-cluster: (all of them throwaway servers), postgres://…, mysql://DSN of the Go driver, redis://…"

func init() {
	mysql.SetLogger(&mysql.NopLogger{}) // connections that break are no news
}

// Open opens the storage that the value of -store names.
func Open(tb testing.TB, store string) (*Backend, error) {
	scheme, rest, found := strings.Cut(store, ":")
	if !found {
		return nil, fmt.Errorf("-store is %q, must be one of %s", store, Forms)
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
			return nil, fmt.Errorf("-store mysql:// has no DSN of the Go driver behind it")
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
			return nil, fmt.Errorf("-store redis:// is no URL")
		}
		b.Watched = true
	case "redis-sentinel":
		_, sentinels := throwaway.StartRedisSentinel(tb)
		b.DSN, b.Watched = sentinels[0].DSN(), true
	case "redis-cluster":
		b.DSN, b.Watched = strings.Join(throwaway.RedisCluster(tb), ","), true
	default:
		return nil, fmt.Errorf("-store is %q, must be one of %s", store, Forms)
	}
	return b, nil
}

// Direct returns the DSN of the database itself, if there is a pooler before it, and
// otherwise the DSN.
func (b *Backend) Direct() string {
	if pooled, direct, ok := strings.Cut(b.DSN, separator); ok && strings.HasPrefix(pooled, "postgres:") {
		return direct
	}
	return b.DSN
}

// Connect opens a handle by the name and the DSN of a Backend. It works in another
// process, too, and so not for memory.
func Connect(tb testing.TB, name, dsn string) (tokenauth.Storage, error) {
	tb.Helper()
	switch name {
	case "sqlite":
		return OpenGORM(tb, gormlite.Open(dsn), nil), nil
	case "postgres", "postgres-standby":
		return OpenGORM(tb, postgres.Open(dsn), &pgxfeed.Listener{}), nil
	case "postgres-pgbouncer":
		pooled, direct, _ := strings.Cut(dsn, separator)
		// PgBouncer before 1.21 knows no prepared statements.
		return OpenGORM(tb, postgres.Open(pooled), &pgxfeed.Listener{DSN: direct}), nil
	case "mariadb", "mysql":
		return OpenGORM(tb, gormmysql.Open(dsn), nil), nil
	case "mariadb-galera":
		return OpenGORM(tb, gormmysql.Open(nextNode(dsn)), nil), nil
	case "redis":
		option, err := rueidis.ParseURL(dsn)
		if err != nil {
			return nil, fmt.Errorf("the URL of Redis cannot be read")
		}
		return OpenRedis(tb, option), nil
	case "redis-sentinel":
		option, err := SentinelOption(dsn)
		if err != nil {
			return nil, fmt.Errorf("the URL of the sentinels cannot be read")
		}
		return OpenRedis(tb, option), nil
	case "redis-cluster":
		return OpenRedis(tb, rueidis.ClientOption{InitAddress: strings.Split(dsn, ",")}), nil
	}
	return nil, fmt.Errorf("nothing connects to %q", name)
}

// separator separates the DSNs of a list.
const separator = " "

var node atomic.Uint64

// nextNode returns the DSN of the nodes of a cluster in turn: each replica is at
// another node than the one before.
func nextNode(dsns string) string {
	nodes := strings.Split(dsns, separator)
	return nodes[node.Add(1)%uint64(len(nodes))]
}

// OpenGORM opens a handle with its own pool of connections. It has a feed if the
// listener is not nil.
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

// OpenRedis opens a handle with its own client and a feed.
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

// RedisPatience is ClientOption.ConnWriteTimeout: how long a client waits for the
// answer to a PING before it drops a connection. The default of the client is ten
// seconds, for which all calls on a dead connection fail.
const RedisPatience = time.Second

// SentinelOption returns the option of a client that finds the master by Sentinel.
func SentinelOption(dsn string) (rueidis.ClientOption, error) {
	option, err := rueidis.ParseURL(dsn)
	option.ConnWriteTimeout = RedisPatience
	option.Sentinel.TopologyRefreshInterval = 5 * time.Second // as rueidis advises
	return option, err
}
