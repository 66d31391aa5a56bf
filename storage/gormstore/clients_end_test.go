package gormstore_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Changes of a client end its tokens, in the same store and in another storage.
func TestClientRegistryEndsTokens(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		open := func(t *testing.T) *gormstore.Store {
			t.Helper()
			s, _ := e.store(t)
			return s
		}
		t.Run("the same store", func(t *testing.T) {
			t.Parallel()
			storagetest.RunClients(t, func(t *testing.T) (tokenauth.Storage, storagetest.Registry) {
				s := open(t)
				return s, s.Clients()
			})
		})
		t.Run("another storage", func(t *testing.T) {
			t.Parallel()
			storagetest.RunClients(t, func(t *testing.T) (tokenauth.Storage, storagetest.Registry) {
				return new(memory.Store), open(t).Clients()
			})
		})
	})
}

// anyone is an Authenticator that accepts any password.
type anyone struct{}

func (anyone) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{UserID: c.UserName, UserName: c.UserName}, nil
}

// atClients returns a service with the Authenticator anyone and with public clients.
func atClients(t *testing.T, s *gormstore.Store, ids ...string) *tokenauth.Service {
	t.Helper()
	auth, err := tokenauth.New(s, anyone{}, &tokenauth.Options{
		Clients: s.Clients(), Logger: quiet, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if err := s.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	return auth
}

func signInAt(t *testing.T, auth *tokenauth.Service, user, client string) string {
	t.Helper()
	issued, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: user, ClientID: client})
	if err != nil {
		t.Fatalf("a sign-in of %s at %s: %v", user, client, err)
	}
	return issued.AccessToken.Reveal()
}

// clientEndings are the changes that end a client's tokens.
var clientEndings = map[string]func(*gormstore.Clients, context.Context, string) error{
	"SetDisabled": func(c *gormstore.Clients, ctx context.Context, id string) error { return c.SetDisabled(ctx, id, true) },
	"Delete":      (*gormstore.Clients).Delete,
}

// awaitLock waits until one transaction of the database waits for another one's lock.
func awaitLock(t *testing.T, db *gorm.DB) {
	t.Helper()
	query := `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`
	if db.Name() == "mysql" {
		query = `SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist ON id = trx_mysql_thread_id
			WHERE trx_state = 'LOCK WAIT' AND db = database()`
	}
	// MariaDB reads that table again only if no one read it for a tenth of a second.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		var waiting int
		if err := db.Raw(query).Scan(&waiting).Error; err != nil {
			t.Fatal(err)
		}
		if waiting > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no transaction waits for a lock")
		}
	}
}

// lockable are the engines that lock rows.
func lockable(t *testing.T, test func(t *testing.T, db *gorm.DB)) {
	t.Parallel()
	for name, dialector := range map[string]func(t *testing.T) gorm.Dialector{
		"postgres": func(t *testing.T) gorm.Dialector { return postgres.Open(throwaway.Postgres(t)) },
		"mariadb":  func(t *testing.T) gorm.Dialector { return mysql.Open(throwaway.MariaDB(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, openDialector(t, dialector(t), nil))
		})
	}
}

// A user signs in while a transaction disables the client. The transaction has already
// scanned past the user's token and has not committed. The token ends even so, without
// Service.Run.
func TestDisablingAClientEndsConcurrentSignIns(t *testing.T) {
	lockable(t, func(t *testing.T, db *gorm.DB) {
		s := newStore(t, db, nil)
		for name, change := range clientEndings {
			auth := atClients(t, s, name)
			users := []string{"1", "2", "3", "4"}
			slices.SortFunc(users, func(a, b string) int {
				x, y := tokenauth.UserKeyOf(a), tokenauth.UserKeyOf(b)
				return bytes.Compare(x[:], y[:])
			})
			first, last := users[0], users[len(users)-1]
			signInAt(t, auth, last, name)
			key := tokenauth.UserKeyOf(last)
			holding := db.Begin(&sql.TxOptions{Isolation: sql.LevelReadCommitted})
			if err := holding.Exec(`UPDATE tokenauth_tokens SET user_name = 'held' WHERE user_key = ?`, key[:]).Error; err != nil {
				t.Fatal(err)
			}
			changed := make(chan error, 1)
			go func() { changed <- change(s.Clients(), t.Context(), name) }()
			awaitLock(t, db)
			accessToken := signInAt(t, auth, first, name)
			if err := holding.Rollback().Error; err != nil {
				t.Fatal(err)
			}
			if err := <-changed; err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Validate(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("%s: validating the token of a concurrent sign-in: error %v, want ErrInvalidToken", name, err)
			}
		}
	})
}

// While a host's transaction that disables or deletes a client is open, users can still
// sign in at every client. After the commit, the tokens of the changed client end.
func TestClientsWithTxBlocksNoSignIn(t *testing.T) {
	lockable(t, func(t *testing.T, db *gorm.DB) {
		s := newStore(t, db, nil)
		auth := atClients(t, s, "mobile")
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { auth.Run(ctx) })
		defer wg.Wait()
		defer cancel()
		for name, change := range clientEndings {
			atClients(t, s, name)
			var ended []string
			for i := range 20 {
				ended = append(ended, signInAt(t, auth, fmt.Sprint("old", i), name))
				signInAt(t, auth, fmt.Sprint("old", i), "mobile")
			}
			tx := db.Begin()
			if err := change(s.Clients().WithTx(tx), t.Context(), name); err != nil {
				t.Fatal(err)
			}
			var others []string
			for i := range 20 {
				others = append(others, signInAt(t, auth, fmt.Sprint("old", i), "mobile"), signInAt(t, auth, fmt.Sprint(name, i), "mobile"))
				ended = append(ended, signInAt(t, auth, fmt.Sprint("new", i), name))
			}
			if err := tx.Commit().Error; err != nil {
				t.Fatal(err)
			}
			for _, accessToken := range ended {
				refuses(t, auth, accessToken, name)
			}
			for _, accessToken := range others {
				if _, err := auth.Validate(t.Context(), accessToken); err != nil {
					t.Errorf("%s: the token of another client: %v", name, err)
				}
			}
		}
	})
}

// Users who sign in at a client after it was enabled keep their tokens. Enabling a client
// that is already enabled ends its tokens.
func TestEnablingAClientKeepsNewTokens(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		auth := atClients(t, s, "web")
		ctx, clients := t.Context(), s.Clients()
		queued := func() int {
			t.Helper()
			pending, err := clients.PendingRevocations(ctx, tokenauth.Revocation{})
			if err != nil {
				t.Fatal(err)
			}
			return len(pending)
		}
		for range 2 {
			accessToken := signInAt(t, auth, "alice", "web")
			if err := clients.SetDisabled(ctx, "web", false); err != nil {
				t.Fatal(err)
			}
			if _, err := auth.Validate(ctx, accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) || queued() != 1 {
				t.Errorf("enabling an enabled client left %d revocations and a token: %v", queued(), err)
			}
			if err := clients.SetDisabled(ctx, "web", true); err != nil {
				t.Fatal(err)
			}
			pending, err := clients.PendingRevocations(ctx, tokenauth.Revocation{})
			if err != nil || len(pending) != 1 {
				t.Fatalf("disabling left %v, error %v", pending, err)
			}
			if err := clients.RemoveRevocation(ctx, pending[0]); err != nil {
				t.Fatal(err)
			}
			if err := clients.SetDisabled(ctx, "web", false); err != nil {
				t.Fatal(err)
			}
			if n := queued(); n != 0 {
				t.Errorf("enabling a disabled client queued %d revocations", n)
			}
		}
		if err := clients.SetDisabled(ctx, "unknown", false); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("an unknown client: error %v, want ErrNotFound", err)
		}
	})
}

// The queue lists all revocations in pages and keeps one for each user.
// RemoveRevocation removes only the revocation that it is given.
func TestRevocationQueue(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx, users := t.Context(), s.Users()
		const n = 1001 // more than one page
		err := db.Transaction(func(tx *gorm.DB) error {
			for i := range n {
				if err := tx.Exec(`INSERT INTO tokenauth_revocations (kind, id, change_id) VALUES (1, ?, ?)`, fmt.Sprint("user", i), fmt.Sprint("change", i)).Error; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		list := func(q tokenauth.RevocationQueue) map[string]tokenauth.Revocation {
			t.Helper()
			found := make(map[string]tokenauth.Revocation)
			for after := (tokenauth.Revocation{}); ; {
				page, err := q.PendingRevocations(ctx, after)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) == 0 {
					return found
				}
				for _, r := range page {
					found[r.UserID+r.ClientID] = r
				}
				after = page[len(page)-1]
			}
		}
		if found := list(users); len(found) != n || len(list(s.Clients())) != 0 {
			t.Errorf("%d revocations are queued, want %d", len(found), n)
		}
		user := create(t, s, "alice")
		for range 3 {
			if err := users.SetRoles(ctx, user.ID, "Reader"); err != nil {
				t.Fatal(err)
			}
		}
		first := list(users)[user.ID]
		if err := users.SetRoles(ctx, user.ID, "Auditor"); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := users.RemoveRevocation(ctx, first); err != nil {
				t.Fatal(err)
			}
		}
		found := list(users)
		if second, ok := found[user.ID]; !ok || second.Change == first.Change || len(found) != n+1 {
			t.Errorf("the first change is %v, the second %v, of %d", first, second, len(found))
		}
		if err := users.RemoveRevocation(ctx, found[user.ID]); err != nil {
			t.Fatal(err)
		}
		if _, ok := list(users)[user.ID]; ok {
			t.Error("a removed revocation is still queued")
		}
		// A change that is rolled back, or that finds no user, queues no revocation.
		errRollBack := errors.New("roll back")
		err = db.Transaction(func(tx *gorm.DB) error {
			if err := users.WithTx(tx).Delete(ctx, user.ID); err != nil {
				return err
			}
			return errRollBack
		})
		if !errors.Is(err, errRollBack) {
			t.Fatal(err)
		}
		if err := users.Delete(ctx, "nobody"); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Error(err)
		}
		if found := list(users); len(found) != n {
			t.Errorf("%d revocations are queued, want %d", len(found), n)
		}
	})
}
