package password_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

func ExampleHash() {
	hash, err := password.Hash("correct horse")
	if err != nil {
		panic(err)
	}
	fmt.Println(hash[:31])

	_, err = password.Hash("")
	fmt.Println(errors.Is(err, password.ErrUnacceptable))
	// Output:
	// $argon2id$v=19$m=19456,t=2,p=1$
	// true
}

// An Employee is a row of the users table that the service already has.
type Employee struct {
	ID           uint
	Email        string `gorm:"uniqueIndex"`
	PasswordHash string
	Role         string
	Left         bool
}

// employees returns a Lookup that finds an Employee by login.
func employees(db *gorm.DB) password.Lookup {
	return func(ctx context.Context, userName string) (password.Account, error) {
		var e Employee
		err := db.WithContext(ctx).Where("email = ?", userName).Take(&e).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return password.Account{}, tokenauth.ErrNotFound
		}
		if err != nil {
			return password.Account{}, err
		}
		return password.Account{
			UserID:       fmt.Sprint(e.ID),
			UserName:     e.Email,
			PasswordHash: e.PasswordHash,
			Roles:        []string{e.Role},
			Disabled:     e.Left,
		}, nil
	}
}

// A service signs in the users of its own table.
func ExampleNew() {
	ctx := context.Background()
	db, remove := openExample() // the service's own *gorm.DB
	defer remove()
	hash, err := password.Hash("correct horse")
	if err != nil {
		panic(err)
	}
	alice := Employee{Email: "alice@example.com", PasswordHash: hash, Role: "Reader"}
	bob := Employee{Email: "bob@example.com", PasswordHash: hash, Role: "Reader", Left: true}
	if err := db.Create([]*Employee{&alice, &bob}).Error; err != nil {
		panic(err)
	}

	users, err := password.New(employees(db), nil)
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, nil)
	if err != nil {
		panic(err)
	}
	signIn := func(userName, text string) (tokenauth.IssuedToken, error) {
		return auth.SignIn(ctx, tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(text)})
	}
	grant, err := signIn("alice@example.com", "correct horse")
	if err != nil {
		panic(err)
	}
	p := grant.Token.Principal
	fmt.Println(p.UserID, p.UserName, p.Roles)

	// Every rejected sign-in gets the same response.
	_, err = signIn("alice@example.com", "battery staple")
	fmt.Println("wrong password:", errors.Is(err, tokenauth.ErrRejected))
	_, err = signIn("bob@example.com", "correct horse")
	fmt.Println("disabled:", errors.Is(err, tokenauth.ErrRejected))
	_, err = signIn("carol@example.com", "correct horse")
	fmt.Println("unknown:", errors.Is(err, tokenauth.ErrRejected))

	// After each change of a user, and after its commit, the service ends the user's tokens.
	if err := db.Model(&alice).Update("role", "Auditor").Error; err != nil {
		panic(err)
	}
	if err := auth.RevokeUser(ctx, fmt.Sprint(alice.ID)); err != nil {
		panic(err)
	}
	_, err = auth.Validate(ctx, grant.AccessToken.Reveal())
	fmt.Println("old token:", errors.Is(err, tokenauth.ErrInvalidToken))
	grant, err = signIn("alice@example.com", "correct horse")
	fmt.Println("new token:", grant.Token.Principal.Roles, err)
	// Output:
	// 1 alice@example.com [Reader]
	// wrong password: true
	// disabled: true
	// unknown: true
	// old token: true
	// new token: [Auditor] <nil>
}

// openExample opens a temporary database. The caller must call remove.
func openExample() (db *gorm.DB, remove func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	db, err = gorm.Open(gormlite.Open("file:"+filepath.Join(dir, "service.db")), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		panic(err)
	}
	if err := db.AutoMigrate(&Employee{}); err != nil {
		panic(err)
	}
	return db, func() {
		if pool, err := db.DB(); err == nil {
			pool.Close()
		}
		os.RemoveAll(dir)
	}
}
