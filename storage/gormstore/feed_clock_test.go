package gormstore_test

import (
	"context"
	"database/sql"
	"strings"
	"sync/atomic"
	"testing"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
)

// offset is a pool of a server whose clock is a day ahead while set is true.
type offset struct {
	*sql.DB
	set *atomic.Bool
}

func (o offset) GetDBConn() (*sql.DB, error) { return o.DB, nil }

func (o offset) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if o.set.Load() {
		query = strings.ReplaceAll(query, "pg_catalog.now()", "(pg_catalog.now() + interval '24 hours')")
	}
	return o.DB.QueryContext(ctx, query, args...)
}

// If the database's clock is a day ahead, the trigger does not report the end of some
// tokens that are valid here. The feed must then be lost.
func TestFeedIsLostIfTheDatabaseClockIsAhead(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	admin := openDialector(t, postgres.Open(dsn), nil)
	store := newStore(t, admin, &gormstore.Options{Feed: true})
	pool, err := admin.DB()
	if err != nil {
		t.Fatal(err)
	}
	var ahead atomic.Bool
	db := openDialector(t, postgres.New(postgres.Config{Conn: offset{pool, &ahead}}), nil)
	s, err := gormstore.New(t.Context(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	reader, log := logged(t, w, lease)
	replica(t, watched{store, withListener(t, admin, pgxfeed.Listener{})}, lease) // writes some of the heartbeats
	ahead.Store(true)
	eventually(t, "the feed is lost", func() bool { return !reader.CacheStats().FeedAlive })
	eventually(t, "the log says why", func() bool { return strings.Contains(log.String(), "the database's clock is 24h0m") })
	ahead.Store(false)
	eventually(t, "the feed is alive again", func() bool { return reader.CacheStats().FeedAlive })
}
