package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/ncruces/go-sqlite3/vfs/memdb"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/examples/internal/stores"
	quickstart "github.com/bearerkit/bearerkit/examples/quickstart/service"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A store has the tokens and the users. Your service has one of them: a few lines
// of openStore are enough for it.
type store struct {
	tokens tokenauth.Storage
	users  users
	table  *gormstore.Users // the table of the users
	db     *gorm.DB         // has the tables of the users and their factors
	stop   []func()
}

func (s *store) close() {
	for _, stop := range s.stop {
		defer stop() // the last one first
	}
}

const schemes = "sqlite:PATH, memory:, postgres://, mysql://, redis://, rediss:// or unix://"

func openStore(ctx context.Context, storeURL string) (_ *store, err error) {
	s := new(store)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	var dialector gorm.Dialector
	scheme, _, _ := strings.Cut(storeURL, ":")
	switch scheme {
	case "sqlite":
		dialector, err = quickstart.SQLite(storeURL)
	case "postgres", "postgresql":
		dialector, err = stores.Postgres(storeURL)
	case "mysql":
		dialector, err = stores.MySQL(storeURL)
	case "memory":
		s.tokens = new(memory.Store)
	case "redis", "rediss", "unix":
		var stop func()
		if s.tokens, stop, err = stores.Redis(storeURL, true); err == nil {
			s.stop = append(s.stop, stop)
		}
	default:
		err = fmt.Errorf("-store must begin with one of %s, not with %q", schemes, scheme+":")
	}
	if err != nil {
		return nil, err
	}
	if dialector == nil { // the tokens are elsewhere
		name := "/" + rand.Text()
		memdb.Create(name, nil)
		s.stop = append(s.stop, func() { memdb.Delete(name) })
		dialector = gormlite.Open("file:" + name + "?vfs=memdb&_pragma=busy_timeout(1000)&_txlock=immediate")
	}
	return s, s.openTables(ctx, dialector)
}

func (s *store) openTables(ctx context.Context, dialector gorm.Dialector) error {
	db, err := gorm.Open(dialector, &gorm.Config{Logger: logger.New(log.Default(), logger.Config{
		ParameterizedQueries: true, // or the log would have secrets
		SlowThreshold:        time.Second,
		LogLevel:             logger.Warn,
	})})
	if err != nil {
		return err
	}
	s.db = db
	pool, err := db.DB()
	if err != nil {
		return err
	}
	s.stop = append(s.stop, func() { pool.Close() })

	postgres := db.Name() == "postgres"
	options := &gormstore.Options{
		Feed:      postgres, // ends streams within milliseconds; otherwise within Options.StreamInterval
		Passwords: &password.Options{Check: check(db)},
	}
	if err := gormstore.Migrate(ctx, db, options); err != nil {
		return err
	}
	if err := db.WithContext(ctx).AutoMigrate(&factor{}); err != nil {
		// Another process may have created the table at the same time.
		if err := db.WithContext(ctx).AutoMigrate(&factor{}); err != nil {
			return err
		}
	}
	tables, err := gormstore.New(ctx, db, options)
	if err != nil {
		return err
	}
	s.table = tables.Users()
	switch {
	case s.tokens != nil:
		s.users = inMemory(tables.Users)
		return nil
	case postgres:
		s.users = s.table
		s.tokens, err = gormstore.WithFeed(ctx, tables, pgxfeed.Listener{})
		return err
	}
	s.users, s.tokens = s.table, tables
	return nil
}
