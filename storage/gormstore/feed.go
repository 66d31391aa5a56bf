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

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Listener listens to PostgreSQL's notifications, which is a driver's affair:
// database/sql has no call for it. The package pgxfeed has one for pgx, the
// driver that GORM uses.
type Listener interface {
	// Listen opens a connection for itself, listens to the channel, calls use
	// and returns what that returned, having closed the connection. Pool is
	// the host's database, for a Listener that takes a connection from it. Such
	// a one has a method UsesPool() bool, so that it is not left to take the
	// only one.
	Listen(ctx context.Context, pool *sql.DB, channel string, use func(Notifications) error) error
}

// A pooled Listener can say that it takes its connection from the pool.
type pooled interface{ UsesPool() bool }

// Notifications are those that come over one connection. They are used by one
// goroutine.
type Notifications interface {
	// Next waits for the next one and returns its payload. If the context ends
	// first it returns an error that is the context's, and the connection can
	// still be used.
	Next(ctx context.Context) (payload string, err error)
	// Notify sends one, to all who listen: this connection is among them.
	Notify(ctx context.Context, channel, payload string) error
}

// A Watched store is a Store on PostgreSQL that also is a tokenauth.Watcher,
// which is what the cache needs.
type Watched struct {
	*Store
	pool     *sql.DB
	listener Listener
	channel  string
}

var (
	_ tokenauth.Watcher = (*Watched)(nil)
	_ tokenauth.Lister  = (*Watched)(nil)
)

// ErrNoFeed is returned, wrapped, by WithFeed and Migrate for a database that
// cannot tell of changes.
var ErrNoFeed = errors.New("gormstore: no feed of changes")

// WithFeed adds to a store on PostgreSQL the feed that the cache needs. What
// tells of changes is a trigger on the table of tokens, so it tells of all of
// them, an operator's DELETE included. Migrate installs it if Options.Feed says
// so; migrations/postgres_feed has it as SQL.
//
// Each call of Watch, of which a service with a cache has one under way, keeps
// a connection of its own (see the Listener). PostgreSQL serialises the commits
// that notify, so sign-ins that replace a token and revocations have a limit of
// their own; first sign-ins and validations do not notify.
//
// It returns ErrNoFeed, wrapped, on engines that do not notify (MariaDB, MySQL,
// SQLite) and if the trigger is missing; an error if the pool may have only one
// connection and the Listener would take it; or the database's error.
func WithFeed(ctx context.Context, s *Store, l Listener) (*Watched, error) {
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
		return nil, fmt.Errorf("%w: table %stokens lacks the trigger: call Migrate with Options.Feed, or apply the SQL files in storage/gormstore/migrations/postgres_feed", ErrNoFeed, s.prefix)
	}
	pool, err := s.db.DB()
	if err != nil {
		return nil, fmt.Errorf("gormstore: %w", err)
	}
	w := &Watched{Store: s, pool: pool, listener: l, channel: s.prefix + "feed"}
	if err := w.leavesConnections(); err != nil {
		return nil, err
	}
	return w, nil
}

// leavesConnections returns an error if the feed would take the only connection
// of the pool, and each call of the store then wait for it in vain.
func (w *Watched) leavesConnections() error {
	if p, ok := w.listener.(pooled); ok && p.UsesPool() && w.pool.Stats().MaxOpenConnections == 1 {
		return errors.New("gormstore: the pool may have only one connection (SetMaxOpenConns(1)), and the feed would keep it: allow at least two, or give the listener a DSN for a connection of its own")
	}
	return nil
}

func (s *Store) canFeed() error {
	if s.db.Name() != "postgres" {
		return fmt.Errorf("%w: %s does not tell of changes; only PostgreSQL does", ErrNoFeed, s.db.Name())
	}
	return nil
}

func (s *Store) feedInstalled(ctx context.Context, pool gorm.ConnPool) (bool, error) {
	var triggers int
	err := pool.QueryRowContext(ctx, s.sql(`SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass(?) AND tgenabled <> 'D' AND tgname IN (?, ?)`),
		s.prefix+"tokens", s.prefix+"tell", s.prefix+"tell_all").Scan(&triggers)
	return triggers == 2, err
}

// beatPrefix begins the payload of a heartbeat.
const beatPrefix = "beat "

// Watch implements tokenauth.Watcher. It sends itself a heartbeat the way that
// the notifications of others come. PostgreSQL delivers them in the order of
// their commits, so one that arrives proves that all before it have. If one is
// on its way for four beats, the connection is taken for dead.
func (w *Watched) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Feed) error {
	if err := w.leavesConnections(); err != nil {
		return err // the host set its limit after WithFeed
	}
	return w.listener.Listen(ctx, w.pool, w.channel, func(n Notifications) error {
		return w.watch(ctx, n, beat, feed)
	})
}

func (w *Watched) watch(ctx context.Context, n Notifications, beat time.Duration, feed tokenauth.Feed) error {
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
			feed.Alive(sent)
			pending = false
		case isKey:
			feed.Changed(key)
		case strings.HasPrefix(payload, beatPrefix): // another replica's
		default: // "all", or what no trigger of ours sent
			feed.ChangedAll()
		}
	}
}

func (w *Watched) send(ctx context.Context, n Notifications, payload string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return n.Notify(ctx, w.channel, payload)
}

func receive(ctx context.Context, n Notifications, until time.Time) (string, error) {
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
