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

// A feedStore is a Store on PostgreSQL with a feed.
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

// WithFeed returns the store with the feed that the cache needs: a storage that is
// also a tokenauth.Watcher, and has all abilities of the store. A trigger on the
// table of tokens reports every change, an operator's DELETE included, in every
// session. Migrate installs the trigger if Options.Feed is set;
// migrations/postgres_feed has it as SQL. L is a pgxfeed.Listener.
//
// The table gets one row that is not a token. One of the processes that watch
// updates it for each heartbeat (README.md describes it).
//
// Each call of Watch keeps a connection of its own (see the Listener); a Service
// with a cache has one call in progress. PostgreSQL serialises the commits that
// notify, so sign-ins that replace a token and revocations have a limit of their
// own; first sign-ins and validations do not notify.
//
// It returns an error on engines that do not notify (MariaDB, MySQL, SQLite), if
// the trigger is missing, old or not ENABLE ALWAYS, if the table is partitioned or
// inherited from, if the pool may have only one connection and the Listener would
// take it, or if the database failed.
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

// leavesConnections returns an error if the feed would take the only connection
// of the pool, and each call of the store then wait for it in vain.
func (w *feedStore) leavesConnections() error {
	if w.listener.UsesPool() && w.pool.Stats().MaxOpenConnections == 1 {
		return errors.New("gormstore: the pool may have only one connection (SetMaxOpenConns(1)), and the feed would keep it: allow at least two, or give the listener a DSN for a connection of its own")
	}
	return nil
}

// otherBeat begins the payload of a heartbeat that proves nothing here. Those of
// the version before came from the connection that listens.
const otherBeat = "beat "

// Watch implements tokenauth.Watcher. Its heartbeat is a change of a row of the
// table of tokens, so that it takes the way of all changes: from the pool of the
// store, by the trigger, to the listener. See heartbeat.
//
// It returns an error that says why if there was no heartbeat for four beats, and
// soon after somebody removed or disabled the trigger.
func (w *feedStore) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if err := w.leavesConnections(); err != nil {
		return err // the host set its limit after WithFeed
	}
	return w.listener.Listen(ctx, w.pool, w.channel, func(n listen.Notifications) error {
		return w.watch(ctx, n, beat, feed)
	})
}

// watch passes on notifications while the heartbeat runs beside it: no
// notification waits for a statement of the heartbeat.
func (w *feedStore) watch(ctx context.Context, n listen.Notifications, beat time.Duration, feed tokenauth.Invalidator) error {
	watching, stop := context.WithCancelCause(ctx)
	h := newHeartbeat(w.row, beat, feed)
	var running sync.WaitGroup
	running.Go(func() { stop(h.run(watching)) })
	defer running.Wait() // it calls feed
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
		default: // "all", or what no trigger of ours sent
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
