package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/redis/rueidis"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/storage/storagetest/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A backend is a storage under test.
type backend struct {
	name string
	// connect opens a handle of its own on it, as each replica has one.
	connect func(tb testing.TB) tokenauth.Storage
	// watched is whether the handles tell of changes, for the cache.
	watched bool
	// dsn is where it is, and server what may be stopped and killed; zero for
	// memory, and server for what was there before. The standby is the server's.
	dsn             string
	server, standby *throwaway.Server
}

const storeForms = "memory:, sqlite:[PATH], postgres:, postgres-standby:, mariadb:, redis:, redis-sentinel: and redis-cluster: (all of them throwaway servers), postgres://…, mysql://DSN of the Go driver, redis://…"

// openBackend opens the storage that -store names.
func openBackend(tb testing.TB, store string) (*backend, error) {
	scheme, rest, found := strings.Cut(store, ":")
	if !found {
		return nil, fmt.Errorf("-store is %q, must be one of %s", store, storeForms)
	}
	b := &backend{name: scheme, dsn: store}
	b.connect = func(tb testing.TB) tokenauth.Storage {
		s, err := connectTo(tb, b.name, b.dsn)
		must(tb, err)
		return s
	}
	switch scheme {
	case "memory":
		s := new(memory.Store)
		b.connect = func(testing.TB) tokenauth.Storage { return s }
		b.watched, b.dsn = true, ""
	case "sqlite":
		if rest == "" {
			rest = filepath.Join(tb.TempDir(), "torture.db")
		}
		b.dsn = "file:" + rest + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)&_txlock=immediate"
	case "postgres":
		if rest == "" {
			b.server = throwaway.StartPostgres(tb)
			b.dsn = b.server.DSN()
		}
		b.watched = true
	case "postgres-standby":
		b.server = throwaway.StartPostgres(tb)
		b.standby = throwaway.StartPostgresStandby(tb, b.server)
		b.dsn = throwaway.PrimaryDSN(tb, b.server, b.standby)
		b.watched = true
	case "mariadb", "mysql":
		if rest == "" {
			b.server = throwaway.StartMariaDB(tb)
			b.dsn = b.server.DSN()
		} else {
			b.dsn = strings.TrimPrefix(rest, "//")
		}
		if _, err := mysql.ParseDSN(b.dsn); err != nil {
			return nil, fmt.Errorf("-store mysql:// has no DSN of the Go driver behind it")
		}
	case "redis":
		if rest == "" {
			b.server = throwaway.StartRedis(tb)
			b.dsn = b.server.DSN()
		}
		if _, err := rueidis.ParseURL(b.dsn); err != nil {
			return nil, fmt.Errorf("-store redis:// is no URL")
		}
		b.watched = true
	case "redis-sentinel":
		_, sentinels := throwaway.StartRedisSentinel(tb)
		b.dsn, b.watched = sentinels[0].DSN(), true
	case "redis-cluster":
		b.dsn, b.watched = strings.Join(throwaway.RedisCluster(tb), ","), true
	default:
		return nil, fmt.Errorf("-store is %q, must be one of %s", store, storeForms)
	}
	return b, nil
}

// connectTo opens a handle to the storage of a backend that other processes
// reach, too.
func connectTo(tb testing.TB, name, dsn string) (tokenauth.Storage, error) {
	tb.Helper()
	switch name {
	case "sqlite":
		return openGORM(tb, gormlite.Open(dsn), nil), nil
	case "postgres", "postgres-standby":
		return openGORM(tb, postgres.Open(dsn), pgxfeed.Listener{}), nil
	case "mariadb", "mysql":
		return openGORM(tb, gormmysql.Open(dsn), nil), nil
	case "redis":
		option, err := rueidis.ParseURL(dsn)
		if err != nil {
			return nil, fmt.Errorf("the URL of Redis cannot be read")
		}
		return openRedis(tb, option), nil
	case "redis-sentinel":
		option, err := sentinelOption(dsn)
		if err != nil {
			return nil, fmt.Errorf("the URL of the sentinels cannot be read")
		}
		return openRedis(tb, option), nil
	case "redis-cluster":
		return openRedis(tb, rueidis.ClientOption{InitAddress: strings.Split(dsn, ",")}), nil
	}
	return nil, fmt.Errorf("nothing connects to %q", name)
}

// openGORM opens a pool of connections of its own, with a feed if there is a
// listener.
func openGORM(tb testing.TB, dialector gorm.Dialector, listener gormstore.Listener) tokenauth.Storage {
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
	options := &gormstore.Options{TablePrefix: "torture_", Feed: listener != nil}
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

func openRedis(tb testing.TB, option rueidis.ClientOption) tokenauth.Storage {
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
