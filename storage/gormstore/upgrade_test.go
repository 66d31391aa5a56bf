package gormstore_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// Hashes of "my password" from other applications.
var foreignHashes = map[string]string{
	"identity-v2": "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==",
	"identity-v3": "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
}

// stored reads a user's hash and stamp from the table.
func stored(t *testing.T, db *gorm.DB, name string) (hash, stamp string) {
	t.Helper()
	if err := db.Raw("SELECT password_hash, stamp FROM tokenauth_users WHERE name = ?", name).Row().Scan(&hash, &stamp); err != nil {
		t.Fatal(err)
	}
	return hash, stamp
}

func TestSignInUpgradesForeignHashes(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db := e.open(t, nil)
		s := newStore(t, db, &gormstore.Options{})
		auth, ctx := service(t, s, s.Users()), t.Context()
		for name, hash := range foreignHashes {
			if _, err := s.Users().Import(ctx, gormstore.User{Name: name}, hash); err != nil {
				t.Fatal(err)
			}
			_, stamp := stored(t, db, name)
			if _, err := signIn(ctx, auth, name, "your password"); !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("%s, wrong password: error %v, want ErrRejected", name, err)
			}
			if got, _ := stored(t, db, name); got != hash {
				t.Errorf("%s: a wrong password replaces the hash", name)
			}
			grant, err := signIn(ctx, auth, name, "my password")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			upgraded, sameStamp := stored(t, db, name)
			if !strings.HasPrefix(upgraded, "$argon2id$") || sameStamp != stamp {
				t.Errorf("%s: the hash is %s, the stamp has changed: %v", name, upgraded, sameStamp != stamp)
			}
			// The token is valid, and no other token replaced it.
			if _, err := auth.Validate(ctx, grant.AccessToken.Reveal()); err != nil {
				t.Errorf("%s: the token: %v", name, err)
			}
			if err := s.Users().LiveCheck(ctx, grant.Token); err != nil {
				t.Errorf("%s: the live check: %v", name, err)
			}
			if _, err := signIn(ctx, auth, name, "my password"); err != nil {
				t.Errorf("%s, again: %v", name, err)
			}
			if again, _ := stored(t, db, name); again != upgraded {
				t.Errorf("%s: the hash was replaced twice", name)
			}
			if _, err := signIn(ctx, auth, name, "your password"); !errors.Is(err, tokenauth.ErrRejected) {
				t.Errorf("%s, wrong password after the upgrade: error %v, want ErrRejected", name, err)
			}
		}
	})
}

func TestKeepHashes(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db := e.open(t, nil)
		s := newStore(t, db, &gormstore.Options{Passwords: &password.Options{KeepHashes: true}})
		auth := service(t, s, s.Users())
		for name, hash := range foreignHashes {
			if _, err := s.Users().Import(t.Context(), gormstore.User{Name: name}, hash); err != nil {
				t.Fatal(err)
			}
			if _, err := signIn(t.Context(), auth, name, "my password"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got, _ := stored(t, db, name); got != hash {
				t.Errorf("%s: the hash is %s", name, got)
			}
		}
	})
}

// Concurrent sign-ins that upgrade a hash all succeed. The resulting hash verifies the
// password.
func TestConcurrentUpgradesLeaveAValidHash(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		db := e.open(t, nil)
		s := newStore(t, db, &gormstore.Options{Passwords: &password.Options{MaxHashing: 8}})
		auth, ctx := service(t, s, s.Users()), t.Context()
		for round := range long(5) {
			name := fmt.Sprint("user", round)
			if _, err := s.Users().Import(ctx, gormstore.User{Name: name}, foreignHashes["identity-v2"]); err != nil {
				t.Fatal(err)
			}
			start := make(chan struct{})
			var wg sync.WaitGroup
			for range 2 {
				wg.Go(func() {
					<-start
					if _, err := signIn(ctx, auth, name, "my password"); err != nil {
						t.Error(err)
					}
				})
			}
			close(start)
			wg.Wait()
			if hash, _ := stored(t, db, name); !strings.HasPrefix(hash, "$argon2id$") {
				t.Errorf("the hash is %s", hash)
			}
			if _, err := signIn(ctx, auth, name, "my password"); err != nil {
				t.Errorf("after the race: %v", err)
			}
		}
	})
}

// If a password is changed while a user signs in with the old one, the upgrade does not
// overwrite the new hash.
func TestUpgradeDoesNotOverwriteNewPassword(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		var between func()
		format := func(stored string) func(string) bool {
			if stored != "old" {
				return nil
			}
			return func(string) bool { between(); return true }
		}
		db := e.open(t, nil)
		s := newStore(t, db, &gormstore.Options{Passwords: &password.Options{Formats: []func(string) func(string) bool{format}, MaxHashing: 2}})
		auth, ctx := service(t, s, s.Users()), t.Context()
		user, err := s.Users().Import(ctx, gormstore.User{Name: "alice"}, "old")
		if err != nil {
			t.Fatal(err)
		}
		between = func() {
			if err := s.Users().SetPassword(ctx, user.ID, tokenauth.NewSecret("new password")); err != nil {
				t.Error(err)
			}
		}
		if _, err := signIn(ctx, auth, "alice", "my password"); !errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("with the password from before the change: error %v, want ErrRejected", err)
		}
		if _, err := signIn(ctx, auth, "alice", "new password"); err != nil {
			t.Errorf("with the new password: %v", err)
		}
		if _, err := signIn(ctx, auth, "alice", "my password"); !errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("with the old password: error %v, want ErrRejected", err)
		}
	})
}
