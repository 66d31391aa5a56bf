package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// cheapHash returns a hash of "password" that is fast to verify.
var cheapHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})

func create(tb testing.TB, s *gormstore.Store, name string, roles ...string) gormstore.User {
	tb.Helper()
	user, err := s.Users().Import(tb.Context(), gormstore.User{Name: name, Roles: roles}, cheapHash())
	if err != nil {
		tb.Fatal(err)
	}
	return user
}

func service(tb testing.TB, s tokenauth.Storage, a tokenauth.Authenticator) *tokenauth.Service {
	tb.Helper()
	auth, err := tokenauth.New(s, a, &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{InsecureOff: true}})
	if err != nil {
		tb.Fatal(err)
	}
	return auth
}

func signIn(ctx context.Context, auth *tokenauth.Service, name, password string) (tokenauth.IssuedToken, error) {
	return auth.SignIn(ctx, tokenauth.Credentials{UserName: name, Password: tokenauth.NewSecret(password)})
}

func mustSignIn(tb testing.TB, auth *tokenauth.Service, name string) string {
	tb.Helper()
	grant, err := signIn(tb.Context(), auth, name, "password")
	if err != nil {
		tb.Fatal(err)
	}
	return grant.AccessToken.Reveal()
}

func TestUserNamesAreNormalized(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		users, ctx := s.Users(), t.Context()
		want := gormstore.User{Name: "Jürgen", Roles: []string{"Administrator", "Reader"}, Attributes: map[string]string{"tenant": "ä\"<"}}
		user, err := users.Create(ctx, want, tokenauth.NewSecret("correct horse"))
		if err != nil {
			t.Fatal(err)
		}
		for _, spelling := range []string{"Jürgen", "JÜRGEN", "ju\u0308rgen", "ｊürgen"} {
			found, err := users.FindByName(ctx, spelling)
			if err != nil || found.ID != user.ID || found.Name != "Jürgen" || !slices.Equal(found.Roles, want.Roles) || found.Attributes["tenant"] != "ä\"<" {
				t.Errorf("%q finds %v, error %v", spelling, found, err)
			}
			if _, err := users.Import(ctx, gormstore.User{Name: spelling}, cheapHash()); !errors.Is(err, gormstore.ErrExists) {
				t.Errorf("creating %q again: error %v, want ErrExists", spelling, err)
			}
			if _, err := signIn(ctx, service(t, s, users), spelling, "correct horse"); err != nil {
				t.Errorf("signing in as %q: %v", spelling, err)
			}
		}
		for _, other := range []string{"Jurgen", "jürgen\u200b", "jür gen", "јürgen", ""} {
			if _, err := users.FindByName(ctx, other); !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("FindByName(%q): error %v, want ErrNotFound", other, err)
			}
			if _, err := signIn(ctx, service(t, s, users), other, "correct horse"); !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("signing in as %q: error %v, want ErrRejected", other, err)
			}
		}
		if found, err := users.Find(ctx, user.ID); err != nil || found.Name != "Jürgen" || found.CreatedAt.IsZero() {
			t.Errorf("Find: %v, %v", found, err)
		}
		if n, err := users.Count(ctx); n != 1 || err != nil {
			t.Errorf("Count: %d, %v", n, err)
		}
		for _, bad := range []struct {
			user     gormstore.User
			password string
			err      error
		}{
			{gormstore.User{Name: "has space"}, "x", gormstore.ErrInvalid},
			{gormstore.User{Name: strings.Repeat("x", 257)}, "x", gormstore.ErrInvalid},
			{gormstore.User{Name: "a", ID: "1"}, "x", gormstore.ErrInvalid}, // Import refuses the hash x
			{gormstore.User{Name: "a", CreatedAt: time.Now()}, "x", gormstore.ErrInvalid},
			{gormstore.User{Name: "a", Roles: []string{"a,b"}}, "x", gormstore.ErrInvalid},
			{gormstore.User{Name: "a", Attributes: map[string]string{"": "b"}}, "x", gormstore.ErrInvalid},
			{gormstore.User{Name: "a"}, "", password.ErrUnacceptable},
			{gormstore.User{Name: "a"}, strings.Repeat("x", 1025), password.ErrUnacceptable},
		} {
			if _, err := users.Create(ctx, bad.user, tokenauth.NewSecret(bad.password)); !errors.Is(err, bad.err) {
				t.Errorf("creating %q: %v, want %v", bad.user.Name, err, bad.err)
			}
			if _, err := users.Import(ctx, bad.user, bad.password); !errors.Is(err, gormstore.ErrInvalid) {
				t.Errorf("importing %q: error %v, want ErrInvalid", bad.user.Name, err)
			}
		}
		disabled, err := users.Import(ctx, gormstore.User{Name: "disabled", Disabled: true}, cheapHash())
		if err != nil || !disabled.Disabled {
			t.Errorf("a user created as disabled: %+v, error %v", disabled, err)
		}
		for name, err := range map[string]error{
			"SetPassword": users.SetPassword(ctx, "no-id", tokenauth.NewSecret("x")),
			"SetRoles":    users.SetRoles(ctx, "no-id", "Reader"),
			"SetDisabled": users.SetDisabled(ctx, "no-id", true),
			"Delete":      users.Delete(ctx, "no-id"),
		} {
			if !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("%s of an unknown user: error %v, want ErrNotFound", name, err)
			}
		}
	})
}

// Each change of a user ends all tokens of this user and no others, in the same
// transaction. That is the store's or the host's.
func TestChangesEndTokens(t *testing.T) {
	changes := map[string]func(*gormstore.Users, context.Context, string) error{
		"SetPassword": func(u *gormstore.Users, ctx context.Context, id string) error {
			return u.SetPassword(ctx, id, tokenauth.NewSecret("another"))
		},
		"SetRoles":    func(u *gormstore.Users, ctx context.Context, id string) error { return u.SetRoles(ctx, id, "Auditor") },
		"SetDisabled": func(u *gormstore.Users, ctx context.Context, id string) error { return u.SetDisabled(ctx, id, true) },
		"Rename": func(u *gormstore.Users, ctx context.Context, id string) error {
			return u.Rename(ctx, id, newName("renamed"))
		},
		"SetAttributes": func(u *gormstore.Users, ctx context.Context, id string) error {
			return u.SetAttributes(ctx, id, map[string]string{"tenant": "b"})
		},
		"Delete": func(u *gormstore.Users, ctx context.Context, id string) error { return u.Delete(ctx, id) },
	}
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		auth, ctx := service(t, s, s.Users()), t.Context()
		create(t, s, "bystander")
		bystander := mustSignIn(t, auth, "bystander")
		valid := func(accessToken string) bool {
			_, err := auth.Validate(ctx, accessToken)
			if err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Error(err)
			}
			return err == nil
		}
		for name, change := range changes {
			user := create(t, s, "own-"+name, "Reader")
			token := mustSignIn(t, auth, "own-"+name)
			if err := change(s.Users(), ctx, user.ID); err != nil || valid(token) {
				t.Errorf("%s: error %v, the token is still valid: %v", name, err, valid(token))
			}

			user = create(t, s, "host-"+name, "Reader")
			token = mustSignIn(t, auth, "host-"+name)
			errRollback := errors.New("rolled back")
			err := db.Transaction(func(tx *gorm.DB) error {
				if err := change(s.Users().WithTx(tx), ctx, user.ID); err != nil {
					return err
				}
				return errRollback
			})
			if !errors.Is(err, errRollback) || !valid(token) {
				t.Errorf("%s, rolled back: error %v, the token is valid: %v", name, err, valid(token))
			}
			err = db.Transaction(func(tx *gorm.DB) error { return change(s.Users().WithTx(tx), ctx, user.ID) })
			if err != nil || valid(token) {
				t.Errorf("%s in the host's transaction: error %v, the token is valid: %v", name, err, valid(token))
			}
		}
		if !valid(bystander) {
			t.Error("another user's token has ended")
		}
		if _, err := signIn(ctx, auth, "own-SetDisabled", "password"); !errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("a disabled user signs in: error %v, want ErrRejected", err)
		}
		grant, err := signIn(ctx, auth, "own-SetRoles", "password")
		if err != nil || !slices.Equal(grant.Token.Principal.Roles, []string{"Auditor"}) {
			t.Errorf("roles are %v, error %v", grant.Token.Principal.Roles, err)
		}
		if _, err := signIn(ctx, auth, "own-SetPassword", "another"); err != nil {
			t.Errorf("signing in with the new password: %v", err)
		}
	})
}

// Users sign in while they are changed. After the change, no token with the state from
// before the change is valid.
func TestChangeEndsConcurrentSignIns(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		auth, ctx := service(t, s, s.Users()), t.Context()
		for round := range long(10) {
			name := fmt.Sprint("user", round)
			user := create(t, s, name, "Before")
			tokens := make(chan string, 100)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 4 {
						grant, err := signIn(ctx, auth, name, "password")
						if err == nil {
							tokens <- grant.AccessToken.Reveal()
						} else if !errors.Is(err, tokenauth.ErrRejected) {
							t.Error(err)
						}
					}
				})
			}
			wg.Go(func() {
				if err := s.Users().SetRoles(ctx, user.ID, "After"); err != nil {
					t.Error(err)
				}
			})
			wg.Wait()
			close(tokens)
			for accessToken := range tokens {
				token, err := auth.Validate(ctx, accessToken)
				if err == nil && !slices.Equal(token.Principal.Roles, []string{"After"}) {
					t.Errorf("a token with the roles %v outlived the change", token.Principal.Roles)
				}
			}
		}
	})
}

// A host's transaction on a snapshot would miss a token that was issued later. It is
// refused before it changes anything. The store's own transactions have the right level,
// whatever the default is.
func TestSnapshotTransactionMissesNoToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		auth, ctx := service(t, s, s.Users()), t.Context()
		user := create(t, s, "alice")
		if e.name == "sqlite" {
			return // SQLite has no isolation levels
		}
		tx := db.Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		var n int
		if err := tx.Raw("SELECT count(*) FROM tokenauth_users").Row().Scan(&n); err != nil { // takes the snapshot
			t.Fatal(err)
		}
		accessToken := mustSignIn(t, auth, "alice")
		err := s.Users().WithTx(tx).SetRoles(ctx, user.ID, "Auditor")
		if e.name == "postgres" {
			if !errors.Is(err, gormstore.ErrIsolationLevel) {
				t.Errorf("at REPEATABLE READ: error %v, want ErrIsolationLevel", err)
			}
			tx.Rollback()
			pool, err := db.DB()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := pool.Exec("ALTER ROLE CURRENT_USER IN DATABASE " + db.Migrator().CurrentDatabase() + " SET default_transaction_isolation TO serializable"); err != nil {
				t.Fatal(err)
			}
			pool.SetMaxIdleConns(0)
			err = s.Users().SetRoles(ctx, user.ID, "Auditor")
			if err != nil {
				t.Error(err)
			}
		} else if err = errors.Join(err, tx.Commit().Error); err != nil {
			t.Error(err)
		}
		if _, err := auth.Validate(ctx, accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("the token outlived the change: error %v, want ErrInvalidToken", err)
		}
	})
}

func FuzzNormalizeUserName(f *testing.F) {
	for _, seed := range []string{"alice", "ALICE", "ＡＬＩＣＥ", "İ", "ß", "ẞ", "ǅ", "a\u0308", "\u03c2", "e\u0301@example.com", "\u200b", "ﬁ", " "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		once, err := gormstore.NormalizeUserName(name)
		if err != nil {
			return
		}
		twice, err := gormstore.NormalizeUserName(once)
		if len(once) <= 256 && (err != nil || twice != once) {
			t.Errorf("%q becomes %q, and that %q, error %v", name, once, twice, err)
		}
	})
}

// If the row that had the name is gone again, as after a concurrent Delete, the name is
// free, and Import tries again. A trigger stands for the concurrent change: it undoes the
// first INSERT.
func TestImportTriesAgainIfTheNameIsFree(t *testing.T) {
	t.Parallel()
	s, db := engines[1].store(t)
	for _, statement := range []string{
		`CREATE SEQUENCE inserted`,
		`CREATE FUNCTION undo_first() RETURNS trigger LANGUAGE plpgsql AS $$
			BEGIN IF nextval('inserted') = 1 THEN RETURN NULL; END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER undo_first BEFORE INSERT ON tokenauth_users FOR EACH ROW EXECUTE FUNCTION undo_first()`,
	} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	user, err := s.Users().Import(t.Context(), gormstore.User{Name: "alice"}, cheapHash())
	if err != nil {
		t.Fatal(err)
	}
	if found, err := s.Users().FindByName(t.Context(), "alice"); err != nil || found.ID != user.ID {
		t.Errorf("found user %q, error %v, want %q", found.ID, err, user.ID)
	}
}
