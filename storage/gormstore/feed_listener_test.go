package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/internal/listen"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// neverAlive calls Watch until it fails. It checks that no heartbeat was reported, and
// that the error contains all of says. A busy machine may cause another error.
func neverAlive(t *testing.T, w tokenauth.Watcher, says ...string) {
	t.Helper()
	trial.Run(t, func(t *trial.T) {
		feed := new(counting)
		ctx, cancel := context.WithTimeout(t.Context(), busyTimeout)
		defer cancel()
		err := w.Watch(ctx, 250*time.Millisecond, feed)
		if n := feed.alive.Load(); n > 0 {
			t.Errorf("Watch reported %d heartbeats, want none", n)
		}
		for _, words := range says {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Late(fmt.Errorf("Watch returned error %v, want %q in it", err, words))
			}
		}
	})
}

// running calls Watch in the background, as a replica does. It calls Watch again if the
// feed was lost on a busy machine.
func running(t *testing.T, w tokenauth.Watcher) *counting {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	feed := new(counting)
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			w.Watch(ctx, 500*time.Millisecond, feed)
		}
	})
	t.Cleanup(func() { cancel(); watching.Wait() })
	eventually(t, "a replica is alive", func() bool { return feed.alive.Load() > 0 })
	return feed
}

// A feed is never alive if its listener does not receive notifications of the store's
// database, even if it receives heartbeats of other services.
func TestFeedIsNotAliveWithAWrongListener(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	admin := openDialector(t, postgres.Open(dsn), nil)
	newStore(t, admin, &gormstore.Options{Feed: true})
	t.Run("another database", func(t *testing.T) {
		t.Parallel()
		elsewhere := throwaway.Postgres(t)
		other, _ := openWatched(t, elsewhere, pgxfeed.Listener{})
		w := withPrefix(t, dsn, "", pgxfeed.Listener{DSN: elsewhere})
		neverAlive(t, w, "another database than the store")
		running(t, other)
		neverAlive(t, w, "another database than the store")
		running(t, withPrefix(t, dsn, "", pgxfeed.Listener{}))
		neverAlive(t, w, "another database than the store")
	})
	t.Run("another server", func(t *testing.T) {
		t.Parallel()
		if !throwaway.Long() {
			t.Skip("starts a second server; set TOKENAUTH_LONG=1")
		}
		elsewhere := throwaway.StartPostgres(t).DSN()
		other, _ := openWatched(t, elsewhere, pgxfeed.Listener{})
		running(t, other)
		neverAlive(t, withPrefix(t, dsn, "", pgxfeed.Listener{DSN: elsewhere}), "another database than the store")
	})
	t.Run("another channel", func(t *testing.T) {
		t.Parallel()
		neverAlive(t, withListener(t, admin, strayed{pgxfeed.Listener{DSN: dsn}}), "another database than the store")
	})
	t.Run("forged heartbeats", func(t *testing.T) {
		t.Parallel()
		neverAlive(t, withListener(t, admin, forger{}), "another database than the store")
	})
	t.Run("a pool that cannot write", func(t *testing.T) {
		t.Parallel()
		db := openDialector(t, postgres.Open(dsn), nil)
		pool, err := db.DB()
		if err != nil {
			t.Fatal(err)
		}
		pool.SetMaxOpenConns(1)
		store := newStore(t, db, &gormstore.Options{Feed: true, TablePrefix: "fixed_"})
		w, err := gormstore.WithFeed(t.Context(), store, pgxfeed.Listener{DSN: dsn})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Exec(`SET default_transaction_read_only = on`).Error; err != nil { // New refuses it
			t.Fatal(err)
		}
		neverAlive(t, w.(tokenauth.Watcher), "could not be written", "fixed_tokens", "read-only")
	})
	for _, mode := range []string{"simple_protocol", "exec"} {
		t.Run("PgBouncer with transactions, "+mode, func(t *testing.T) {
			t.Parallel()
			proxy := with(throwaway.StartPgBouncer(t, dsn, "pool_mode = transaction").DSN(), "default_query_exec_mode="+mode)
			neverAlive(t, withPrefix(t, proxy, "", pgxfeed.Listener{}), "pools transactions", "PgBouncer", "DSN")
			neverAlive(t, withPrefix(t, proxy, "", pgxfeed.Listener{DSN: proxy}), "pools transactions", "PgBouncer", "DSN")
			reportsChanges(t, withPrefix(t, proxy, "", pgxfeed.Listener{DSN: dsn}))
		})
	}
	t.Run("PgBouncer with sessions", func(t *testing.T) {
		t.Parallel()
		proxy := throwaway.StartPgBouncer(t, dsn, "pool_mode = session").DSN()
		reportsChanges(t, withPrefix(t, proxy, "", pgxfeed.Listener{}))
	})
	t.Run("a pool of replicas' sessions", func(t *testing.T) {
		t.Parallel()
		reportsChanges(t, withPrefix(t, with(dsn, "session_replication_role=replica"), "", pgxfeed.Listener{}))
	})
}

// reportsChanges checks that a revocation by another service ends a cached token.
func reportsChanges(t *testing.T, w watched) {
	t.Helper()
	reader, writer := replica(t, w, time.Minute), service(t, w, noUsers{})
	accessToken := issueTo(t, writer, t.Name())
	warm(t, reader, accessToken)
	if err := writer.Revoke(t.Context(), accessToken); err != nil {
		t.Fatal(err)
	}
	refuses(t, reader, accessToken, "a revocation")
}

func withListener(t *testing.T, db *gorm.DB, l listen.Listener) tokenauth.Watcher {
	t.Helper()
	s, err := gormstore.New(t.Context(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := gormstore.WithFeed(t.Context(), s, l)
	if err != nil {
		t.Fatal(err)
	}
	return w.(tokenauth.Watcher)
}

// strayed is a Listener on another channel.
type strayed struct{ pgxfeed.Listener }

func (s strayed) Listen(ctx context.Context, pool *sql.DB, channel string, use func(listen.Notifications) error) error {
	return s.Listener.Listen(ctx, pool, "not_"+channel, use)
}

// forger is a Listener that returns forged heartbeats.
type forger struct{}

func (forger) UsesPool() bool { return false }
func (forger) Listen(_ context.Context, _ *sql.DB, _ string, use func(listen.Notifications) error) error {
	return use(new(forgery))
}

type forgery struct{ n atomic.Int64 }

func (f *forgery) Next(ctx context.Context) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return [...]string{"beat GEZDGNBVGY3TQOJQGEZDGNBVGY", "beat row ", "beat row GEZDGNBVGY3TQOJQGEZDGNBVGY"}[f.n.Add(1)%3], nil
	}
}

// Services in different schemas share a channel if they have the same prefix. The
// heartbeat of one schema does not count for the others.
func TestFeedsOfSchemasWithOnePrefix(t *testing.T) {
	t.Parallel()
	trial.Run(t, feedsOfSchemasWithOnePrefix)
}

func feedsOfSchemasWithOnePrefix(t *trial.T) {
	dsn := throwaway.Postgres(t)
	admin := openDialector(t, postgres.Open(dsn), nil)
	var readers []*tokenauth.Service
	var logs []*syncBuffer
	for _, schema := range []string{"one", "two", "three"} {
		if err := admin.Exec(`CREATE SCHEMA ` + schema).Error; err != nil {
			t.Fatal(err)
		}
		w, _ := openWatched(t, with(dsn, "search_path="+schema), pgxfeed.Listener{})
		reader, log := logged(t, w, lease)
		readers, logs = append(readers, reader), append(logs, log)
	}
	stays, ends := issueTo(t, readers[0], "alice"), issueTo(t, readers[1], "alice")
	warm(t, readers[0], stays)
	warm(t, readers[1], ends)
	if err := admin.Exec(`ALTER TABLE two.tokenauth_tokens DISABLE TRIGGER tokenauth_tell`).Error; err != nil {
		t.Fatal(err)
	}
	if err := admin.Exec(`DELETE FROM two.tokenauth_tokens`).Error; err != nil {
		t.Fatal(err)
	}
	endsWithin(t, readers[1], ends, time.Now(), lease)
	eventually(t, "the log says what is missing", func() bool { return strings.Contains(logs[1].String(), lacksTrigger) })
	warm(t, readers[0], stays)
	for i, log := range []*syncBuffer{logs[0], logs[2]} {
		if text := log.String(); strings.Contains(text, "lost") {
			t.Late(fmt.Errorf("the feed of schema %d: %s", i, text))
		}
	}
}

// While the heartbeat's row is locked, notifications still arrive. After the lease the
// cache stops serving, until the lock is released.
func TestLockedHeartbeatDelaysNoNotification(t *testing.T) {
	t.Parallel()
	w, db := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
	reader, log := logged(t, w, lease)
	writer := service(t, w, noUsers{})
	lock := db.Begin()
	defer lock.Rollback()
	var stamp string
	if err := lock.Raw(`SELECT stamp FROM tokenauth_tokens WHERE user_id = '' FOR UPDATE`).Scan(&stamp).Error; err != nil || stamp == "" {
		t.Fatalf("the stamp is %q, error %v", stamp, err)
	}
	for reader.CacheStats().FeedAlive {
		accessToken := issueTo(t, writer, "alice")
		warmish(t, reader, accessToken)
		before := reader.CacheStats().Invalidations
		if err := writer.Revoke(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
		refuses(t, reader, accessToken, "a revocation")
		eventually(t, "the notification arrives, or the lease has ended", func() bool {
			stats := reader.CacheStats()
			return stats.Invalidations > before || !stats.FeedAlive
		})
		time.Sleep(10 * time.Millisecond)
	}
	eventually(t, "the log says why", func() bool { return strings.Contains(log.String(), "could not be written to table tokenauth_tokens") })
	accessToken := issueTo(t, writer, "alice")
	warmish(t, reader, accessToken)
	if err := writer.Revoke(t.Context(), accessToken); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Validate(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("validating a revoked token without a feed: error %v, want ErrInvalidToken", err)
	}
	lock.Rollback()
	eventually(t, "the feed is alive again", func() bool { return reader.CacheStats().FeedAlive })
}

// The server considers the listening connection idle, but does not close it.
func TestFeedIsNotTerminatedAsIdle(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	const idle = 200 * time.Millisecond
	w, db := openWatched(t, dsn, pgxfeed.Listener{DSN: with(dsn, "idle_session_timeout=200")})
	var since14 bool
	if err := db.Raw(`SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'idle_session_timeout')`).Scan(&since14).Error; err != nil || !since14 {
		t.Skipf("PostgreSQL 14 has that setting; error %v", err)
	}
	feed := new(counting)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Watch(ctx, longBeat, feed) }()
	eventually(t, "the feed is alive", func() bool { return feed.alive.Load() > 0 })
	select {
	case err := <-ended:
		t.Errorf("Watch returned %v", err)
	case <-time.After(5 * idle):
		cancel()
		<-ended
	}
	cancel()
}
