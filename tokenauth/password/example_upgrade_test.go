package password_test

import (
	"context"
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// An IdentityUser is a row of the users table of ASP.NET Identity.
type IdentityUser struct {
	ID            string
	UserName      string
	PasswordHash  string
	SecurityStamp string
}

// TableName returns the name of the table, for GORM.
func (IdentityUser) TableName() string { return "AspNetUsers" }

// The users of an ASP.NET application sign in with their old passwords. Each
// sign-in replaces the hash by Argon2id.
func ExampleOptions_upgrade() {
	ctx := context.Background()
	db, remove := openExample() // the service's own *gorm.DB
	defer remove()
	if err := db.AutoMigrate(&IdentityUser{}); err != nil {
		panic(err)
	}
	alice := IdentityUser{"5c4f", "alice", "AP6BvSiS6iPzXRl4VpJiSwn2Dd/PJNe6+ezEbE/6Czb4GYYuC5ja0AdAZGYgxCVr0w==", "b1f7"}
	if err := db.Create(&alice).Error; err != nil {
		panic(err)
	}

	users, err := password.New(func(ctx context.Context, userName string) (password.Account, error) {
		var u IdentityUser
		err := db.WithContext(ctx).Where("UPPER(user_name) = UPPER(?)", userName).Take(&u).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: u.ID, UserName: u.UserName, PasswordHash: u.PasswordHash, Stamp: u.SecurityStamp}, err
	}, &password.Options{
		Upgrade: func(ctx context.Context, userID, oldHash, newHash string) error {
			// No error if no row has oldHash any more: the password has just changed.
			return db.WithContext(ctx).Model(&IdentityUser{}).
				Where("id = ? AND password_hash = ?", userID, oldHash).
				Update("password_hash", newHash).Error
		},
		// Set this while the old application is in use, which cannot read Argon2id:
		// KeepHashes: true,
	})
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, nil)
	if err != nil {
		panic(err)
	}
	for range 2 {
		_, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("password")})
		if err := db.Take(&alice).Error; err != nil {
			panic(err)
		}
		fmt.Println(alice.PasswordHash[:31], err)
	}
	// Output:
	// $argon2id$v=19$m=19456,t=2,p=1$ <nil>
	// $argon2id$v=19$m=19456,t=2,p=1$ <nil>
}
