package crash

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/redis/rueidis"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// booksName is by what Redis knows the connections of books.
const booksName = "torture-books"

// books are a storage as the judge reads it: through a handle of its own, and
// past it.
type books struct {
	name    string
	storage tokenauth.Storage
	db      *sql.DB        // nil for Redis
	redis   rueidis.Client // nil for others
}

// openBooks opens books, whose tables are there. They are closed soon, since
// SQLite recovers only for the first to open a database.
func openBooks(ctx context.Context, b *store.Backend) (*books, error) {
	if b.Name == "redis" {
		option, err := rueidis.ParseURL(b.DSN)
		if err != nil {
			return nil, err
		}
		option.DisableCache, option.ClientName = true, booksName
		client, err := rueidis.NewClient(option)
		if err != nil {
			return nil, err
		}
		s, err := redisstore.New(client, &redisstore.Options{Prefix: "torture:"})
		return &books{name: b.Name, storage: s, redis: client}, err
	}
	dialector := postgres.Open(b.DSN)
	switch b.Name {
	case "sqlite":
		dialector = gormlite.Open(b.DSN)
	case "mariadb", "mysql":
		dialector = gormmysql.Open(b.DSN)
	}
	g, err := gorm.Open(dialector, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, err
	}
	db, err := g.DB()
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	s, err := gormstore.New(ctx, g, &gormstore.Options{TablePrefix: "torture_"})
	return &books{name: b.Name, storage: s, db: db}, err
}

func (b *books) close() {
	if b.db != nil {
		b.db.Close()
	} else {
		b.redis.Close()
	}
}

// childStore returns by what openChildBackend finds the same storage.
func childStore(b *store.Backend) string {
	switch b.Name {
	case "sqlite":
		path, _, _ := strings.Cut(strings.TrimPrefix(b.DSN, "file:"), "?")
		return "sqlite:" + path
	case "mariadb", "mysql":
		return "mysql:" + b.DSN
	}
	return b.DSN
}

// openChildBackend also opens a Redis with a Unix socket, as a throwaway one
// has.
func openChildBackend(tb testing.TB, form string) (*store.Backend, error) {
	if !strings.HasPrefix(form, "unix:") {
		return store.Open(tb, form)
	}
	option, err := rueidis.ParseURL(form)
	return &store.Backend{Name: "redis", DSN: form, Connect: func(tb testing.TB) tokenauth.Storage { return store.OpenRedis(tb, option) }}, err
}

// A reading is what books hold.
type reading struct {
	held   map[tokenauth.Slot]tokenauth.Token
	rows   int // that were read, those of earlier slots too
	broken []string
}

// read reads what the slots hold, and what the table has of all users with the
// prefix. Each row has to be readable, alone in its slot, and the same past the
// storage as through it. Slots in which nothing was done since have to hold what
// they held earlier.
func (b *books) read(ctx context.Context, prefix string, slots []tokenauth.Slot, earlier digests) (r reading, err error) {
	r.held = make(map[tokenauth.Slot]tokenauth.Token)
	want := maps.Clone(earlier)
	for _, s := range slots {
		t, err := b.storage.Find(ctx, s)
		switch {
		case err == nil:
			r.held[s] = t
			want[s] = []tokenauth.Digest{t.Digest}
		case errors.Is(err, tokenauth.ErrCorrupt):
			r.broken = append(r.broken, fmt.Sprintf("a row cannot be read: %v", err))
		case !errors.Is(err, tokenauth.ErrNotFound):
			return r, err
		}
	}
	r.rows = len(r.held)
	if past, err := b.past(ctx, prefix); err != nil {
		return r, err
	} else if past != nil {
		r.rows = len(past)
		r.broken = append(r.broken, past.differ("the table", want)...)
	}
	listed, err := b.list(ctx, slots)
	if err != nil {
		r.broken = append(r.broken, fmt.Sprintf("the tokens of a user cannot be listed: %v", err))
	} else if listed != nil {
		maps.DeleteFunc(want, func(s tokenauth.Slot, _ []tokenauth.Digest) bool { return earlier[s] != nil })
		r.broken = append(r.broken, listed.differ("the list", want)...)
	}
	return r, nil
}

// digests are what is kept for slots; each should have one.
type digests map[tokenauth.Slot][]tokenauth.Digest

// differ says in what slots the digests are not those that are wanted.
func (d digests) differ(name string, want digests) (broken []string) {
	all := maps.Clone(want)
	maps.Copy(all, d)
	for s := range all {
		if !slices.Equal(d[s], want[s]) {
			broken = append(broken, fmt.Sprintf("slot %x: %s has %v, must have %v", s, name, d[s], want[s]))
		}
	}
	return broken
}

// list returns what a storage that is a Lister says that the users of the slots
// have; nil for others.
func (b *books) list(ctx context.Context, slots []tokenauth.Slot) (digests, error) {
	l, ok := b.storage.(tokenauth.Lister)
	if !ok {
		return nil, nil
	}
	listed := make(digests)
	users := make(map[tokenauth.UserKey]bool)
	for _, s := range slots {
		if users[s.User] {
			continue
		}
		users[s.User] = true
		tokens, err := l.List(ctx, s.User)
		if err != nil {
			return nil, err
		}
		for _, t := range tokens {
			listed[t.Slot] = append(listed[t.Slot], t.Digest)
		}
	}
	return listed, nil
}

// past reads the table of the users with the prefix past the storage; nil for
// Redis, where a slot is a field of a hash.
func (b *books) past(ctx context.Context, prefix string) (digests, error) {
	if b.db == nil {
		return nil, nil
	}
	rows, err := b.db.QueryContext(ctx, "SELECT user_key, client_key, digest FROM torture_tokens WHERE user_id LIKE '"+prefix+"%'")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	past := make(digests)
	for rows.Next() {
		var user, client, digest []byte
		if err := rows.Scan(&user, &client, &digest); err != nil {
			return nil, err
		}
		var s tokenauth.Slot
		var d tokenauth.Digest
		copy(s.User[:], user)
		copy(s.Client[:], client)
		copy(d[:], digest)
		past[s] = append(past[s], d)
	}
	return past, rows.Err()
}
