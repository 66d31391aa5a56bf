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

// booksName is the client name of the connections of books on Redis.
const booksName = "torture-books"

// books read what a storage holds: through a handle of their own, and directly from
// the database.
type books struct {
	name    string
	storage tokenauth.Storage
	db      *sql.DB        // nil for Redis
	redis   rueidis.Client // nil for SQL databases
}

// openBooks opens books on a storage whose tables exist. The caller closes them
// soon, because SQLite recovers a database only for the first process that opens it.
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

// childStore returns the value with which openChildBackend opens the storage.
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

// openChildBackend opens the storage like [store.Open]. It also accepts the unix: URL
// of a throwaway Redis server.
func openChildBackend(tb testing.TB, form string) (*store.Backend, error) {
	if !strings.HasPrefix(form, "unix:") {
		return store.Open(tb, form)
	}
	option, err := rueidis.ParseURL(form)
	return &store.Backend{Name: "redis", DSN: form, Connect: func(tb testing.TB) tokenauth.Storage { return store.OpenRedis(tb, option) }}, err
}

// A reading is the content of the storage at one moment.
type reading struct {
	held   map[tokenauth.Slot]tokenauth.Token
	rows   int      // number of rows, including those of earlier users
	broken []string // violations that it shows
}

// read reads the slots, and the table's rows of all users with the prefix. Each row
// must be readable and the only one of its slot, and must look the same through the
// storage and in the table. The slots of earlier users must be unchanged.
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
			r.broken = append(r.broken, fmt.Sprintf("a row is corrupt: %v", err))
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
		r.broken = append(r.broken, fmt.Sprintf("listing the tokens of a user failed: %v", err))
	} else if listed != nil {
		maps.DeleteFunc(want, func(s tokenauth.Slot, _ []tokenauth.Digest) bool { return earlier[s] != nil })
		r.broken = append(r.broken, listed.differ("the list", want)...)
	}
	return r, nil
}

// digests holds each [tokenauth.Digest] that is stored for each slot. There should
// be one each.
type digests map[tokenauth.Slot][]tokenauth.Digest

// differ returns a text for each slot whose digests are not as wanted. Name says
// where d was read.
func (d digests) differ(name string, want digests) (broken []string) {
	all := maps.Clone(want)
	maps.Copy(all, d)
	for s := range all {
		if !slices.Equal(d[s], want[s]) {
			broken = append(broken, fmt.Sprintf("slot %x: %s has the digests %v, want %v", s, name, d[s], want[s]))
		}
	}
	return broken
}

// list lists the tokens of the slots' users. It returns nil if the storage is not a
// [tokenauth.Lister].
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

// past reads the rows of the users with the prefix directly from the table. It
// returns nil for Redis, where a slot is a field of a hash.
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
