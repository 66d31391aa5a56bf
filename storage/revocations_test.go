// Package storage_test tests services that use several storages together.
package storage_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/redis/rueidis"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

var engines = map[string]func(testing.TB) gorm.Dialector{
	"sqlite": func(tb testing.TB) gorm.Dialector {
		return gormlite.Open("file:" + filepath.Join(tb.TempDir(), "test.db") + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_txlock=immediate")
	},
	"postgres": func(tb testing.TB) gorm.Dialector { return postgres.Open(throwaway.Postgres(tb)) },
	"mariadb":  func(tb testing.TB) gorm.Dialector { return mysql.Open(throwaway.MariaDB(tb)) },
}

func openStore(t *testing.T, d gorm.Dialector) (*gormstore.Store, *gorm.DB) {
	t.Helper()
	db, err := gorm.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(8)
	t.Cleanup(func() { pool.Close() })
	if err := gormstore.Migrate(t.Context(), db, nil); err != nil {
		t.Fatal(err)
	}
	return newStore(t, db), db
}

func newStore(t *testing.T, db *gorm.DB) *gormstore.Store {
	t.Helper()
	s, err := gormstore.New(t.Context(), db, &gormstore.Options{Passwords: &password.Options{KeepHashes: true}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A wrapper is a host's wrapper around a storage. It implements only some of the
// optional interfaces.
type wrapper struct {
	tokenauth.Storage
	tokenauth.BulkRevoker
}

// Each change of a user or a client ends its tokens, in every storage. The change
// may be made by this process, by another one, or in a transaction of the host
// whose process then does nothing more.
func TestChangesEndTokensInAnotherStorage(t *testing.T) {
	t.Parallel()
	storages := map[string]func(*testing.T, *gormstore.Store) tokenauth.Storage{
		"memory": func(*testing.T, *gormstore.Store) tokenauth.Storage { return new(memory.Store) },
		"redis": func(t *testing.T, _ *gormstore.Store) tokenauth.Storage {
			return openRedis(t)(t)
		},
		"another database": func(t *testing.T, _ *gormstore.Store) tokenauth.Storage {
			s, _ := openStore(t, engines["sqlite"](t))
			return s
		},
		"a wrapper": func(*testing.T, *gormstore.Store) tokenauth.Storage {
			s := new(memory.Store)
			return wrapper{s, s}
		},
		"the same store": func(_ *testing.T, s *gormstore.Store) tokenauth.Storage { return s },
	}
	for engine, dialector := range engines {
		for name, storage := range storages {
			t.Run(engine+", "+name, func(t *testing.T) {
				t.Parallel()
				s, db := openStore(t, dialector(t))
				testChangesEndTokens(t, s, db, storage(t, s))
			})
		}
	}
}

// ways are the ways to make a change.
var ways = map[string]func(t *testing.T, db *gorm.DB, s *gormstore.Store, change func(*gormstore.Users, *gormstore.Clients) error) error{
	"this process": func(t *testing.T, db *gorm.DB, s *gormstore.Store, change func(*gormstore.Users, *gormstore.Clients) error) error {
		return change(s.Users(), s.Clients())
	},
	"another process": func(t *testing.T, db *gorm.DB, s *gormstore.Store, change func(*gormstore.Users, *gormstore.Clients) error) error {
		other := newStore(t, db)
		return change(other.Users(), other.Clients())
	},
	"a host's transaction": func(t *testing.T, db *gorm.DB, s *gormstore.Store, change func(*gormstore.Users, *gormstore.Clients) error) error {
		return db.Transaction(func(tx *gorm.DB) error { return change(s.Users().WithTx(tx), s.Clients().WithTx(tx)) })
	},
}

var userChanges = map[string]func(context.Context, *gormstore.Users, string) error{
	"SetPassword": func(ctx context.Context, u *gormstore.Users, id string) error {
		return u.SetPassword(ctx, id, tokenauth.NewSecret("another"))
	},
	"SetRoles":    func(ctx context.Context, u *gormstore.Users, id string) error { return u.SetRoles(ctx, id, "Reader") },
	"SetDisabled": func(ctx context.Context, u *gormstore.Users, id string) error { return u.SetDisabled(ctx, id, true) },
	"SetAttributes": func(ctx context.Context, u *gormstore.Users, id string) error {
		return u.SetAttributes(ctx, id, map[string]string{"tenant": "b"})
	},
	"Rename": func(ctx context.Context, u *gormstore.Users, id string) error {
		return u.Rename(ctx, id, "renamed-"+id)
	},
	"Delete": func(ctx context.Context, u *gormstore.Users, id string) error { return u.Delete(ctx, id) },
}

var clientChanges = map[string]func(context.Context, *gormstore.Clients, string) error{
	"SetDisabled": func(ctx context.Context, c *gormstore.Clients, id string) error { return c.SetDisabled(ctx, id, true) },
	"enabling":    func(ctx context.Context, c *gormstore.Clients, id string) error { return c.SetDisabled(ctx, id, false) },
	"Delete":      func(ctx context.Context, c *gormstore.Clients, id string) error { return c.Delete(ctx, id) },
}

func testChangesEndTokens(t *testing.T, s *gormstore.Store, db *gorm.DB, storage tokenauth.Storage) {
	ctx := t.Context()
	auth, err := tokenauth.New(storage, s.Users(), &tokenauth.Options{
		Clients: s.Clients(), Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, auth)
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	createUser := func(name string) gormstore.User {
		t.Helper()
		user, err := s.Users().Import(ctx, gormstore.User{Name: name, Roles: []string{"Administrator"}}, string(hash))
		if err != nil {
			t.Fatal(err)
		}
		return user
	}
	createClient := func(id string) {
		t.Helper()
		if err := s.Clients().CreatePublic(ctx, tokenauth.Client{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	signIn := func(name, password, clientID string) string {
		t.Helper()
		issued, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: name, Password: tokenauth.NewSecret(password), ClientID: clientID})
		if err != nil {
			t.Fatalf("%s at %s: %v", name, clientID, err)
		}
		return issued.AccessToken.Reveal()
	}
	createClient("web")
	createUser("bystander")
	bystander := signIn("bystander", "password", "web")
	old := make(map[string]string) // tokens that must end
	var fresh []string
	n := 0
	for way, do := range ways {
		for name, change := range userChanges {
			n++
			userName := fmt.Sprint("user", n)
			user := createUser(userName)
			old[name+" of a user by "+way] = signIn(userName, "password", "web")
			if err := do(t, db, s, func(u *gormstore.Users, _ *gormstore.Clients) error { return change(ctx, u, user.ID) }); err != nil {
				t.Fatalf("%s by %s: %v", name, way, err)
			}
			switch _, lists := storage.(tokenauth.Lister); {
			case !lists:
			case name == "SetPassword":
				createClient(userName)
				fresh = append(fresh, signIn(userName, "another", userName))
			case name == "SetRoles":
				createClient(userName)
				fresh = append(fresh, signIn(userName, "password", userName))
			}
		}
		for name, change := range clientChanges {
			n++
			clientID := fmt.Sprint("client", n)
			createClient(clientID)
			old[name+" of a client by "+way] = signIn("bystander", "password", clientID)
			if err := do(t, db, s, func(_ *gormstore.Users, c *gormstore.Clients) error { return change(ctx, c, clientID) }); err != nil {
				t.Fatalf("%s by %s: %v", name, way, err)
			}
		}
	}
	expectEnd(t, auth, old)
	for _, accessToken := range append(fresh, bystander) {
		if _, err := auth.Validate(ctx, accessToken); err != nil {
			t.Errorf("a token that was issued after the change, or belongs to another user, is not valid: %v", err)
		}
	}
}

// run runs the Service until the test ends.
func run(t *testing.T, auth *tokenauth.Service) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { auth.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}

// expectEnd waits until all the access tokens have ended. That takes about a
// second, and longer on a busy machine.
func expectEnd(t *testing.T, auth *tokenauth.Service, accessTokens map[string]string) {
	t.Helper()
	const longest = 30 * time.Second
	began := time.Now()
	for what, accessToken := range accessTokens {
		for {
			_, err := auth.Validate(t.Context(), accessToken)
			if errors.Is(err, tokenauth.ErrInvalidToken) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if time.Since(began) > longest {
				t.Errorf("%s: a token is still valid", what)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	t.Logf("all ended within %v", time.Since(began).Round(time.Millisecond))
}

// A host may issue a token after it changed the user, for example in the same
// request. The token stays valid if its Principal comes from the Authenticator,
// with the new stamp.
func TestIssuedTokenStaysIfItHasTheNewStamp(t *testing.T) {
	t.Parallel()
	for engine, dialector := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			s, _ := openStore(t, dialector(t))
			auth, err := tokenauth.New(new(memory.Store), s.Users(), &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			user, err := s.Users().Create(ctx, gormstore.User{Name: "alice"}, tokenauth.NewSecret("password"))
			if err != nil {
				t.Fatal(err)
			}
			newPassword := tokenauth.NewSecret("another")
			if err := s.Users().SetPassword(ctx, user.ID, newPassword); err != nil {
				t.Fatal(err)
			}
			p, err := s.Users().Authenticate(ctx, tokenauth.Credentials{UserName: "alice", Password: newPassword})
			if err != nil {
				t.Fatal(err)
			}
			issue := func(p tokenauth.Principal, clientID string) string {
				t.Helper()
				issued, err := auth.Issue(ctx, p, &tokenauth.IssueOptions{ClientID: clientID})
				if err != nil {
					t.Fatal(err)
				}
				return issued.AccessToken.Reveal()
			}
			stays := issue(p, "web")
			p.Stamp = ""
			ends := issue(p, "mobile")

			run(t, auth)
			expectEnd(t, auth, map[string]string{"a token without a stamp": ends})
			if _, err := auth.Validate(ctx, stays); err != nil {
				t.Errorf("a token with the new stamp is not valid: %v", err)
			}
		})
	}
}

// An open transaction of the host may lock the rows of changed users. Run still
// ends the tokens of these users, and of other changed users.
func TestOpenTransactionKeepsNoTokenValid(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"postgres", "mariadb"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s, db := openStore(t, engines[engine](t))
			auth, err := tokenauth.New(new(memory.Store), s.Users(), &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}
			var ids []string
			tokens := make(map[string]string)
			for i := range 10 {
				u, err := s.Users().Import(t.Context(), gormstore.User{Name: fmt.Sprint("user", i)}, string(hash))
				if err != nil {
					t.Fatal(err)
				}
				issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: u.Name, Password: tokenauth.NewSecret("password")})
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, u.ID)
				tokens[u.Name] = issued.AccessToken.Reveal()
			}
			for _, id := range ids {
				if err := s.Users().SetDisabled(t.Context(), id, true); err != nil {
					t.Fatal(err)
				}
			}
			tx := db.Begin()
			t.Cleanup(func() { tx.Rollback() }) // after Run has ended, because Run must not wait for the transaction
			for _, id := range ids[:9] {
				if err := s.Users().WithTx(tx).SetRoles(t.Context(), id, "Reader"); err != nil {
					t.Fatal(err)
				}
			}
			run(t, auth)
			expectEnd(t, auth, tokens)
		})
	}
}

// redisClient returns a client of the Redis server with this URL.
func redisClient(t *testing.T, url string) rueidis.Client {
	t.Helper()
	option, err := rueidis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	option.DisableCache = true
	client, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// openRedis connects to a Redis server, and returns a function that makes stores
// on it.
func openRedis(t *testing.T) func(*testing.T) tokenauth.Storage {
	t.Helper()
	client := redisClient(t, throwaway.Redis(t))
	return func(t *testing.T) tokenauth.Storage {
		t.Helper()
		s, err := redisstore.New(client, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}
