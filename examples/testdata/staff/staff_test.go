package staff

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func credentials(password string) tokenauth.Credentials {
	return tokenauth.Credentials{Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr("10.0.0.1")}
}

// A change of the password throttles guesses of the old one. It ends the old token
// even if the client disconnects as soon as the password is stored.
func TestChangePassword(t *testing.T) {
	ctx := t.Context()
	db, err := open(gormlite.Open("file:" + filepath.Join(t.TempDir(), "staff.db") + "?_pragma=busy_timeout(1000)&_pragma=journal_mode(wal)&_txlock=immediate"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	hash, err := bcrypt.GenerateFromPassword([]byte("old"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	row := Employee{Login: "alice", Password: string(hash), Role: "Reader"}
	if err := errors.Join(db.AutoMigrate(&row), db.Create(&row).Error, gormstore.Migrate(ctx, db, nil)); err != nil {
		t.Fatal(err)
	}
	store, err := gormstore.New(ctx, db, nil)
	if err != nil {
		t.Fatal(err)
	}
	auth, err := newAuth(db, store)
	if err != nil {
		t.Fatal(err)
	}
	signIn := func(password string) (tokenauth.IssuedToken, error) {
		c := credentials(password)
		c.UserName = "alice"
		return auth.SignIn(ctx, c)
	}
	valid := func(issued tokenauth.IssuedToken) bool {
		_, err := auth.Validate(ctx, issued.AccessToken.Reveal())
		return err == nil
	}
	first, err := signIn("old")
	if err != nil {
		t.Fatal(err)
	}

	for i := range 6 {
		want := tokenauth.ErrRejected
		if i == 5 {
			want = tokenauth.ErrThrottled
		}
		if _, err := changePassword(ctx, db, auth, lookup(db), first.Token, credentials(fmt.Sprint("guess ", i)), tokenauth.NewSecret("new")); !errors.Is(err, want) {
			t.Errorf("guess %d: got error %v, want %v", i, err, want)
		}
	}
	if !valid(first) {
		t.Error("wrong guesses ended the token")
	}
	if err := auth.Unthrottle(ctx, "employee-1", "alice"); err != nil {
		t.Fatal(err)
	}

	request, disconnect := context.WithCancel(ctx)
	defer disconnect()
	err = db.Callback().Update().After("gorm:update").Register("disconnect", func(*gorm.DB) { disconnect() })
	if err != nil {
		t.Fatal(err)
	}
	second, err := changePassword(request, db, auth, lookup(db), first.Token, credentials("old"), tokenauth.NewSecret("new"))
	if err != nil || request.Err() == nil {
		t.Fatalf("got error %v, and the client disconnected: %v; want no error, and true", err, request.Err() != nil)
	}
	if valid(first) || !valid(second) {
		t.Errorf("the old token is valid: %v, the new one: %v; want false and true", valid(first), valid(second))
	}
	if _, err := signIn("old"); !errors.Is(err, tokenauth.ErrRejected) {
		t.Errorf("a sign-in with the old password returned error %v", err)
	}
	if _, err := signIn("new"); err != nil {
		t.Errorf("a sign-in with the new password returned error %v", err)
	}
}
