package password_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// A member is a row of the users table that the service already has.
type member struct {
	ID             string
	Email          string
	PasswordHash   string
	EmailConfirmed bool
}

// Users sign in only after they confirmed their e-mail address. A client learns
// this reason only with the right password.
func ExampleOptions_check() {
	hash, err := password.Hash("correct horse")
	if err != nil {
		panic(err)
	}
	alice := member{ID: "17", Email: "alice@example.com", PasswordHash: hash}

	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		if userName != alice.Email {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: alice.ID, UserName: alice.Email, PasswordHash: alice.PasswordHash, Row: alice}, nil
	}, &password.Options{
		Check: func(_ context.Context, a password.Account, _ tokenauth.Credentials) error {
			if !a.Row.(member).EmailConfirmed {
				return &tokenauth.Rejection{Description: "Confirm your e-mail address first."}
			}
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, nil)
	if err != nil {
		panic(err)
	}

	signIn := func(text string) {
		_, err := auth.SignIn(context.Background(), tokenauth.Credentials{UserName: "alice@example.com", Password: tokenauth.NewSecret(text)})
		rejection := new(tokenauth.Rejection)
		switch {
		case errors.As(err, &rejection):
			fmt.Println(text+":", rejection.Description)
		case errors.Is(err, tokenauth.ErrRejected):
			fmt.Println(text + ": no reason")
		case err == nil:
			fmt.Println(text + ": signed in")
		}
	}
	signIn("battery staple")
	signIn("correct horse")
	alice.EmailConfirmed = true
	signIn("correct horse")
	// Output:
	// battery staple: no reason
	// correct horse: Confirm your e-mail address first.
	// correct horse: signed in
}
