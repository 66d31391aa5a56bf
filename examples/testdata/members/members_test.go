package members

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/pquerna/otp/totp"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A member who has a second factor needs a code, which works once.
func TestSecondFactor(t *testing.T) {
	db, err := gorm.Open(gormlite.Open("file:"+filepath.Join(t.TempDir(), "members.db")), nil)
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "test", AccountName: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	rows := []Member{
		{Email: "alice", Password: string(hash), EmailConfirmed: true, TOTPSecret: key.Secret()},
		{Email: "bob", Password: string(hash), EmailConfirmed: true},
		{Email: "carol", Password: string(hash)},
	}
	if err := errors.Join(db.AutoMigrate(&Member{}), db.Create(&rows).Error); err != nil {
		t.Fatal(err)
	}
	auth, err := newAuth(db, new(memory.Store))
	if err != nil {
		t.Fatal(err)
	}
	// The code of the next time step is valid whether or not that step begins
	// during the test.
	code, err := totp.GenerateCode(key.Secret(), time.Now().Add(30*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	const reason, next = "Confirm your e-mail address first.", "Send a one-time code."
	const used = "The code is wrong, or was used before."
	for _, test := range []struct{ email, password, code, want string }{
		{"bob", "right", "", ""},
		{"carol", "right", "", reason},
		{"carol", "wrong", "", "none"},
		{"alice", "wrong", code, "none"},
		{"alice", "right", "", next},
		{"alice", "right", "12345", used},
		{"alice", "right", code, ""},
		{"alice", "right", code, used},
	} {
		c := tokenauth.Credentials{UserName: test.email, Password: tokenauth.NewSecret(test.password)}
		if test.code != "" {
			c.Parameters = map[string]tokenauth.Secret{"otp": tokenauth.NewSecret(test.code)}
		}
		_, err := auth.SignIn(t.Context(), c)
		got := ""
		if rejection := (*tokenauth.Rejection)(nil); errors.As(err, &rejection) {
			got = rejection.Description
		} else if errors.Is(err, tokenauth.ErrRejected) {
			got = "none"
		} else if err != nil {
			t.Fatal(err)
		}
		if got != test.want {
			t.Errorf("%s, %s, %s: got the reason %q, want %q", test.email, test.password, test.code, got, test.want)
		}
	}
}
