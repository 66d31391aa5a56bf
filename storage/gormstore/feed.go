package gormstore

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/storage/gormstore/internal/listen"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A feedStore is a [Store] in PostgreSQL that also implements [tokenauth.Watcher].
type feedStore struct {
	*Store
	pool     *sql.DB
	listener listen.Listener
	channel  string
	row      beatRow
}

var (
	_ tokenauth.Watcher     = (*feedStore)(nil)
	_ tokenauth.BatchFinder = (*feedStore)(nil)
	_ tokenauth.Lister      = (*feedStore)(nil)
)

// WithFeed adds a change feed to a store in PostgreSQL. The cache
// ([tokenauth.Options.Cache]) requires this feed. WithFeed returns a storage that can
// do everything that s can, and is also a [tokenauth.Watcher]. Pass a Listener from
// package pgxfeed as l. Keep s for [Store.ChangeUser] and [Store.WithTx]: the feed also
// reports the tokens that they end.
//
// A trigger on the token table reports each token that ends, even if an operator
// deletes it in psql. Install the trigger with [Options.Feed] and [Migrate], or with
// the SQL files in migrations/postgres_feed.
//
// The feed adds a heartbeat row to the token table. This row is not a token. For each
// heartbeat, one of the watching processes updates the row (see "The heartbeat" in
// README.md).
//
// Each call to Watch uses one connection until it returns. A [tokenauth.Service] with a
// cache keeps one such call running. PostgreSQL serializes the commits of
// transactions that notify, which limits the rate of revocations and of sign-ins that
// replace a token. First sign-ins and validations do not notify.
//
// WithFeed returns an error if
//   - the engine has no notifications (MariaDB, MySQL, SQLite);
//   - the trigger is missing, old or not ENABLE ALWAYS;
//   - the token table is partitioned, or another table inherits from it;
//   - the pool may have only one connection, and the listener would take it;
//   - the database returns an error.
func WithFeed(ctx context.Context, s *Store, l listen.Listener) (tokenauth.Storage, error) {
	if l == nil {
		return nil, errors.New("gormstore: the listener is nil")
	}
	if err := s.canFeed(); err != nil {
		return nil, err
	}
	installed, err := s.feedInstalled(ctx, s.pool)
	if err != nil {
		return nil, fmt.Errorf("gormstore: looking for the trigger: %w", err)
	}
	if !installed {
		return nil, s.noTrigger()
	}
	pool, err := s.db.DB()
	if err != nil {
		return nil, fmt.Errorf("gormstore: %w", err)
	}
	w := &feedStore{Store: s, pool: pool, listener: l, channel: s.prefix + "feed", row: newBeatRow(s.database)}
	if err := w.leavesConnections(); err != nil {
		return nil, err
	}
	return w, nil
}

// leavesConnections returns an error if the feed would take the pool's only connection.
// Every other call to the store would then wait until its timeout.
func (w *feedStore) leavesConnections() error {
	if w.listener.UsesPool() && w.pool.Stats().MaxOpenConnections == 1 {
		return errors.New("gormstore: the pool may have only one connection (SetMaxOpenConns(1)), and the feed would occupy it: allow at least two, or give the listener a DSN for a connection of its own")
	}
	return nil
}

// otherBeat is the prefix of the heartbeat payloads that an earlier version of this
// package sends. watch ignores these payloads. The earlier version sends them on its
// listening connection, so they prove nothing about the trigger.
const otherBeat = "beat "

// Watch implements [tokenauth.Watcher]. For each heartbeat, a process changes a row
// in the token table. So the heartbeat takes the same path as a change to a token:
// from the store's pool, through the trigger, to the listener.
//
// If no heartbeat arrives within four times the duration beat, Watch returns an error
// that gives the reason. It also returns an error soon after the trigger is removed or
// disabled.
func (w *feedStore) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if err := w.leavesConnections(); err != nil {
		return err // SetMaxOpenConns may have been called after WithFeed
	}
	return w.listener.Listen(ctx, w.pool, w.channel, func(n listen.Notifications) error {
		return w.watch(ctx, n, beat, feed)
	})
}

// watch passes notifications to feed. Another goroutine runs the statements that write
// and read the heartbeat row, so that no notification has to wait for them.
func (w *feedStore) watch(ctx context.Context, n listen.Notifications, beat time.Duration, feed tokenauth.Invalidator) error {
	watching, stop := context.WithCancelCause(ctx)
	h := newHeartbeat(w.row, beat, feed)
	var running sync.WaitGroup
	running.Go(func() { stop(h.run(watching)) })
	defer running.Wait() // the heartbeat must not call feed after watch returns
	defer stop(nil)
	for {
		payload, err := n.Next(watching)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case watching.Err() != nil:
			return context.Cause(watching)
		case err != nil:
			return err
		}
		key, isKey := userKey(payload)
		nonce, isRow := strings.CutPrefix(payload, rowBeat)
		switch {
		case isKey:
			feed.Invalidate(key)
		case isRow:
			h.receive(nonce)
		case strings.HasPrefix(payload, otherBeat):
		default: // "all", or a payload that this package's trigger did not send
			feed.InvalidateAll()
		}
	}
}

func userKey(payload string) (key tokenauth.UserKey, ok bool) {
	if len(payload) != hex.EncodedLen(len(key)) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(payload))
	return key, err == nil
}
