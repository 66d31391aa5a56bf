package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	sqldriver "github.com/go-sql-driver/mysql"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/redis/rueidis"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A store is where tokens and users are kept.
type store struct {
	tokens tokenauth.Storage
	users  tokenauth.Authenticator
	empty  func(context.Context) (bool, error)
	create func(context.Context, gormstore.User, tokenauth.Secret) error
	close  func() error
}

// openStore opens a store, with a feed of its changes if that is wanted.
func openStore(ctx context.Context, storeURL string, feed bool) (*store, error) {
	scheme, rest, _ := strings.Cut(storeURL, ":")
	if slices.Contains([]string{"postgres", "postgresql", "mysql"}, scheme) && !strings.HasPrefix(rest, "//") {
		return nil, fmt.Errorf("-store %[1]s needs a URL, such as %[1]s://user:password@localhost/database", scheme)
	}
	switch scheme {
	case "memory":
		return openMemory()
	case "sqlite":
		if rest == "" {
			return nil, errors.New("-store sqlite: needs the path of a file behind the colon")
		}
		return openGORM(ctx, gormlite.Open(sqliteDSN(rest)), feed)
	case "postgres", "postgresql":
		return openGORM(ctx, postgres.Open(postgresDSN(storeURL)), feed)
	case "mysql":
		dsn, err := mysqlDSN(storeURL)
		if err != nil {
			return nil, err
		}
		return openGORM(ctx, mysql.Open(dsn), feed)
	case "redis", "rediss", "unix":
		return openRedis(storeURL, feed)
	}
	return nil, fmt.Errorf("-store must begin with sqlite:, memory:, postgres://, mysql://, redis://, rediss:// or unix://, not %q", scheme+":")
}

// sqliteDSN opens a file for many readers beside one writer, who waits for
// another at most half as long as the service waits for its storage.
func sqliteDSN(path string) string {
	pragmas := url.Values{
		"_pragma": {"busy_timeout(1000)", "journal_mode(wal)", "synchronous(full)"},
		"_txlock": {"immediate"},
	}
	file := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: pragmas.Encode()}
	return file.String()
}

// mysqlDSN makes the driver's form of mysql://user:password@host:port/database.
// A Unix socket is named by ?socket=PATH.
func mysqlDSN(storeURL string) (string, error) {
	u, err := url.Parse(storeURL)
	if err != nil {
		return "", errors.New("-store mysql:// is no URL") // the error would show the password
	}
	c := sqldriver.NewConfig()
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.TrimPrefix(u.Path, "/")
	if socket := u.Query().Get("socket"); socket != "" {
		c.Net, c.Addr = "unix", socket
	} else {
		port := u.Port()
		if port == "" {
			port = "3306"
		}
		c.Net, c.Addr = "tcp", net.JoinHostPort(u.Hostname(), port)
	}
	// A connection that hangs while it is made would keep all others waiting.
	c.Timeout, c.ReadTimeout = 2*time.Second, 10*time.Second
	return c.FormatDSN(), nil
}

// postgresDSN bounds how long a connection may take, unless the URL does: one that
// hangs would keep all others waiting.
func postgresDSN(storeURL string) string {
	u, err := url.Parse(storeURL)
	if err != nil {
		return storeURL // the driver's error does not show the password
	}
	if query := u.Query(); !query.Has("connect_timeout") {
		query.Set("connect_timeout", "2")
		u.RawQuery = query.Encode()
	}
	return u.String()
}

func openGORM(ctx context.Context, dialector gorm.Dialector, feed bool) (*store, error) {
	db, err := gorm.Open(dialector, &gorm.Config{})
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	s, err := openTables(ctx, db, pool, feed)
	if err != nil {
		pool.Close()
	}
	return s, err
}

func openTables(ctx context.Context, db *gorm.DB, pool *sql.DB, feed bool) (*store, error) {
	options := &gormstore.Options{Feed: feed}
	if err := gormstore.Migrate(ctx, db, options); err != nil {
		return nil, err
	}
	s, err := gormstore.New(ctx, db, options)
	if err != nil {
		return nil, err
	}
	var tokens tokenauth.Storage = s
	if feed {
		if tokens, err = gormstore.WithFeed(ctx, s, pgxfeed.Listener{}); err != nil {
			return nil, err
		}
	}
	return &store{
		tokens: tokens,
		users:  s.Users(),
		empty: func(ctx context.Context) (bool, error) {
			n, err := s.Users().Count(ctx)
			return n == 0, err
		},
		create: func(ctx context.Context, user gormstore.User, newPassword tokenauth.Secret) error {
			_, err := s.Users().Create(ctx, user, newPassword)
			return err
		},
		close: pool.Close,
	}, nil
}

// openMemory keeps everything in memory.
func openMemory() (*store, error) {
	s, err := usersInMemory()
	if err != nil {
		return nil, err
	}
	s.tokens = new(memory.Store)
	s.close = func() error { return nil }
	return s, nil
}

// openRedis keeps tokens in Redis and users in memory. Redis on a Unix socket
// is named by unix:///PATH.
func openRedis(storeURL string, feed bool) (*store, error) {
	option, err := rueidis.ParseURL(storeURL)
	if err != nil {
		return nil, errors.New("-store redis:// is no URL") // the error would show the password
	}
	option.DisableCache = true            // the client's own, which the store has no use for
	option.ConnWriteTimeout = time.Second // for a connection that the network has forgotten
	s, err := usersInMemory()
	if err != nil {
		return nil, err
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, err
	}
	if s.tokens, err = openRedisTokens(client, option, feed); err != nil {
		client.Close()
		return nil, err
	}
	s.close = func() error { client.Close(); return nil }
	return s, nil
}

func openRedisTokens(client rueidis.Client, option rueidis.ClientOption, feed bool) (tokenauth.Storage, error) {
	s, err := redisstore.New(client, nil)
	if err != nil || !feed {
		return s, err
	}
	return redisstore.WithFeed(s, option)
}

// usersInMemory keeps users in a map, to show what a host with users of its own
// has to bring: a look-up.
func usersInMemory() (*store, error) {
	var mu sync.RWMutex
	accounts := make(map[string]password.Account)
	users, err := password.New(func(_ context.Context, name string) (password.Account, error) {
		mu.RLock()
		defer mu.RUnlock()
		if account, ok := accounts[name]; ok {
			return account, nil
		}
		return password.Account{}, tokenauth.ErrNotFound
	}, nil)
	if err != nil {
		return nil, err
	}
	return &store{
		users: users,
		empty: func(context.Context) (bool, error) { return true, nil },
		create: func(_ context.Context, user gormstore.User, newPassword tokenauth.Secret) error {
			hash, err := password.Hash(newPassword.Reveal())
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			accounts[user.Name] = password.Account{
				UserID:       fmt.Sprintf("user-%d", len(accounts)+1),
				UserName:     user.Name,
				PasswordHash: hash,
				Roles:        user.Roles,
			}
			return nil
		},
	}, nil
}
