package service

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A Store keeps tokens and users.
type Store struct {
	Tokens tokenauth.Storage
	Users  tokenauth.Authenticator
	Empty  func(context.Context) (bool, error)
	Create func(context.Context, gormstore.User, tokenauth.Secret) error
	Close  func() error
}

// An Open opens a store. The parameter storeURL is the value of the flag -store. If
// feed is true, a store that can report token changes reports them to the cache.
type Open func(ctx context.Context, storeURL string, feed bool) (*Store, error)

// anystore lists the URL schemes that only the program anystore supports.
var anystore = []string{"mysql", "postgres", "postgresql", "redis", "rediss", "unix"}

func open(ctx context.Context, stores map[string]Open, storeURL string, feed bool) (*Store, error) {
	scheme, _, _ := strings.Cut(storeURL, ":")
	if openStore := stores[scheme]; openStore != nil {
		return openStore(ctx, storeURL, feed)
	}
	if slices.Contains(anystore, scheme) {
		return nil, fmt.Errorf("-store %s: this program does not include that storage; use the program with all storages: go run ./examples/quickstart/anystore, with the same flags", scheme)
	}
	return nil, fmt.Errorf("-store must begin with one of %s, not with %q", usage(stores), scheme+":")
}

// usage lists the schemes of the stores, for the help text of -store and for error
// messages. It has the form "memory:, sqlite:".
func usage(stores map[string]Open) string {
	return strings.Join(slices.Sorted(maps.Keys(stores)), ":, ") + ":"
}

// OpenSQLite opens the file in sqlite:PATH, and creates it if it does not exist.
func OpenSQLite(ctx context.Context, storeURL string, _ bool) (*Store, error) {
	dialector, err := SQLite(storeURL)
	if err != nil {
		return nil, err
	}
	return OpenGORM(ctx, dialector, nil)
}

// SQLite returns the database in the file of sqlite:PATH.
func SQLite(storeURL string) (gorm.Dialector, error) {
	path := strings.TrimPrefix(storeURL, "sqlite:")
	if path == "" {
		return nil, errors.New("-store sqlite: needs the path of a file after the colon")
	}
	// SQLite supports many readers, but one writer at a time. A writer waits for
	// another writer for at most a second, which is half of the time that the
	// service waits for its storage.
	settings := url.Values{
		"_pragma": {"busy_timeout(1000)", "journal_mode(wal)", "synchronous(full)"},
		"_txlock": {"immediate"},
	}
	file := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: settings.Encode()}
	return gormlite.Open(file.String()), nil
}

// OpenGORM opens a database, and creates the token and user tables if they do not
// exist.
func OpenGORM(ctx context.Context, dialector gorm.Dialector, options *gormstore.Options) (*Store, error) {
	db, err := gorm.Open(dialector, &gorm.Config{})
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	s, err := openTables(ctx, db, pool, options)
	if err != nil {
		pool.Close()
	}
	return s, err
}

func openTables(ctx context.Context, db *gorm.DB, pool *sql.DB, options *gormstore.Options) (*Store, error) {
	if err := gormstore.Migrate(ctx, db, options); err != nil {
		return nil, err
	}
	s, err := gormstore.New(ctx, db, options)
	if err != nil {
		return nil, err
	}
	return &Store{
		Tokens: s,
		Users:  s.Users(),
		Empty: func(ctx context.Context) (bool, error) {
			n, err := s.Users().Count(ctx)
			return n == 0, err
		},
		Create: func(ctx context.Context, user gormstore.User, newPassword tokenauth.Secret) error {
			_, err := s.Users().Create(ctx, user, newPassword)
			return err
		},
		Close: pool.Close,
	}, nil
}

// OpenMemory opens a store with tokens and users in memory. A service with its own
// users table passes a look-up such as the one here to [password.New].
func OpenMemory(context.Context, string, bool) (*Store, error) {
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
	return &Store{
		Tokens: new(memory.Store),
		Users:  users,
		Empty:  func(context.Context) (bool, error) { return true, nil },
		Create: func(_ context.Context, user gormstore.User, newPassword tokenauth.Secret) error {
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
		Close: func() error { return nil },
	}, nil
}
