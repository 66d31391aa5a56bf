package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func ExampleService_SignIn() {
	auth := newAuth(nil)
	for _, password := range []string{"correct horse", "battery staple"} {
		grant, err := auth.SignIn(context.Background(), tokenauth.Credentials{
			UserName: "alice", Password: tokenauth.NewSecret(password),
		})
		switch {
		case errors.Is(err, tokenauth.ErrRejected):
			fmt.Println("wrong name or password")
		case errors.Is(err, tokenauth.ErrUnavailable):
			fmt.Println("try again later")
		case err != nil:
			panic(err)
		default:
			fmt.Println(grant.Token.Principal.UserName, "for", grant.Token.ExpiresAt.Sub(grant.Token.IssuedAt))
		}
	}
	// Output:
	// alice for 336h0m0s
	// wrong name or password
}

// Whoever signed in by other means, a link in a mail say, gets a token too. The
// access token is in the grant and nowhere else.
func ExampleService_Issue() {
	auth := newAuth(nil)
	p := tokenauth.Principal{
		UserID:     "17",
		UserName:   "alice",
		Roles:      []string{"Reader"},
		Attributes: map[string]string{"tenant": "north"},
	}
	grant, err := auth.Issue(context.Background(), p, "")
	if err != nil {
		panic(err)
	}
	accessToken := grant.AccessToken.Reveal()
	fmt.Println(accessToken[:4], len(accessToken))

	p.Roles = []string{"Reader,Administrator"}
	_, err = auth.Issue(context.Background(), p, "")
	fmt.Println(err)
	// Output:
	// tat_ 96
	// tokenauth: invalid principal: Roles must be non-empty UTF-8 without NUL or comma
}

// The reasons why a token is not good. The first two are told only to whoever
// holds the very token.
func ExampleService_Validate() {
	now := time.Date(2020, 9, 13, 9, 35, 33, 0, time.UTC)
	auth := newAuth(&tokenauth.Options{Now: func() time.Time { return now }})
	check := func(accessToken string) {
		token, err := auth.Validate(context.Background(), accessToken)
		switch {
		case errors.Is(err, tokenauth.ErrExpiredToken):
			fmt.Println("expired")
		case errors.Is(err, tokenauth.ErrReplacedToken):
			fmt.Println("replaced: the user signed in elsewhere")
		case errors.Is(err, tokenauth.ErrInvalidToken):
			fmt.Println("invalid")
		case err != nil:
			fmt.Println("cannot tell:", err) // ErrUnavailable
		default:
			fmt.Println("good:", token.Principal.UserName)
		}
	}

	first, second := signIn(auth), signIn(auth)
	check(first)
	check(second)
	check("nonsense")
	now = now.AddDate(0, 0, 14)
	check(second)
	// Output:
	// replaced: the user signed in elsewhere
	// good: alice
	// invalid
	// expired
}

// Signing out ends the token, and only that: an old one never ends the one
// that replaced it.
func ExampleService_Revoke() {
	ctx := context.Background()
	auth := newAuth(nil)
	old, newer := signIn(auth), signIn(auth)

	fmt.Println(auth.Revoke(ctx, old))
	_, err := auth.Validate(ctx, newer)
	fmt.Println(err)

	fmt.Println(auth.Revoke(ctx, newer))
	_, err = auth.Validate(ctx, newer)
	fmt.Println(err)
	// Output:
	// <nil>
	// <nil>
	// <nil>
	// tokenauth: the access token is invalid
}

// After each change of a user that no token must survive: first the
// change, then this. In that order no sign-in slips through between them.
func ExampleService_RevokeUser() {
	ctx := context.Background()
	auth := newAuth(nil)
	accessToken := signIn(auth)

	// Here the host commits the new password, or that the account is disabled.
	if err := auth.RevokeUser(ctx, "17"); err != nil {
		panic(err)
	}
	_, err := auth.Validate(ctx, accessToken)
	fmt.Println(err)
	// Output: tokenauth: the access token is invalid
}
