package gormstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
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
}

var (
	_ tokenauth.Watcher = (*feedStore)(nil)
	_ tokenauth.Lister  = (*feedStore)(nil)
)

// WithFeed returns the store with the feed that the cache needs: a storage that is
// also a tokenauth.Watcher, and has all abilities of the store. A trigger on the
// table of tokens reports every change, an operator's DELETE included. Migrate
// installs the trigger if Options.Feed is set; migrations/postgres_feed has it as
// SQL. L is a pgxfeed.Listener.
//
// Each call of Watch keeps a connection of its own (see the Listener); a Service
// with a cache has one call in progress. PostgreSQL serialises the commits that
// notify, so sign-ins that replace a token and revocations have a limit of their
// own; first sign-ins and validations do not notify.
//
// It returns an error on engines that do not notify (MariaDB, MySQL, SQLite), if
// the trigger is missing, if the pool may have only one connection and the
// Listener would take it, or if the database failed.
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
		return nil, fmt.Errorf("%w: table %stokens lacks the trigger, or has an old one: call Migrate with Options.Feed, or apply the SQL files in storage/gormstore/migrations/postgres_feed", errNoFeed, s.prefix)
	}
	pool, err := s.db.DB()
	if err != nil {
		return nil, fmt.Errorf("gormstore: %w", err)
	}
	w := &feedStore{Store: s, pool: pool, listener: l, channel: s.prefix + "feed"}
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

// beatPrefix begins the payload of a heartbeat.
const beatPrefix = "beat "

// Watch implements tokenauth.Watcher. It sends itself a heartbeat the way that
// the notifications of others come. PostgreSQL delivers them in the order of
// their commits, so one that arrives proves that all before it have. If one is
// on its way for four beats, the connection is taken for dead.
func (w *feedStore) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if err := w.leavesConnections(); err != nil {
		return err // the host set its limit after WithFeed
	}
	return w.listener.Listen(ctx, w.pool, w.channel, func(n listen.Notifications) error {
		return w.watch(ctx, n, beat, feed)
	})
}

func (w *feedStore) watch(ctx context.Context, n listen.Notifications, beat time.Duration, feed tokenauth.Invalidator) error {
	const patience = 4 // beats
	var (
		mine    = beatPrefix + rand.Text()
		sent    time.Time
		pending bool
	)
	for next := time.Now(); ; {
		now := time.Now()
		switch {
		case pending && now.Sub(sent) >= patience*beat:
			return fmt.Errorf("gormstore: a notification that was sent %v ago has not come back; behind a proxy that pools transactions give the listener a DSN that leads past it", now.Sub(sent))
		case !pending && !now.Before(next):
			// The time counts from before the sending: what is committed
			// later may be notified behind the heartbeat.
			sent, pending, next = now, true, now.Add(beat)
			if err := w.send(ctx, n, mine, patience*beat); err != nil {
				return err
			}
		}
		until := next
		if pending {
			until = sent.Add(patience * beat)
		}
		payload, err := receive(ctx, n, until)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			continue
		case err != nil:
			return err
		}
		switch key, isKey := userKey(payload); {
		case payload == mine:
			feed.Heartbeat(sent)
			pending = false
		case isKey:
			feed.Invalidate(key)
		case strings.HasPrefix(payload, beatPrefix): // another replica's
		default: // "all", or what no trigger of ours sent
			feed.InvalidateAll()
		}
	}
}

func (w *feedStore) send(ctx context.Context, n listen.Notifications, payload string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return n.Notify(ctx, w.channel, payload)
}

func receive(ctx context.Context, n listen.Notifications, until time.Time) (string, error) {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	return n.Next(ctx)
}

func userKey(payload string) (key tokenauth.UserKey, ok bool) {
	if len(payload) != hex.EncodedLen(len(key)) {
		return key, false
	}
	_, err := hex.Decode(key[:], []byte(payload))
	return key, err == nil
}
