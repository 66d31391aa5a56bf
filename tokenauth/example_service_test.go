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

// Issue returns a token for a user who signed in by other means, for example by
// a link in an email. Only the returned value contains the access token: the
// storage keeps a digest.
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

// Validate returns an error for each reason why a token is not valid.
// ErrExpiredToken and ErrReplacedToken are returned only for the exact token
// that was issued.
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
			fmt.Println("not known:", err) // ErrUnavailable
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

// Revoke ends one token, for example when its user signs out. Revoking a
// replaced token does not end the newer one.
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

// RevokeUser ends all tokens of a user. Call it after the change of the user is
// committed, not before: a sign-in between the two would keep its token.
func ExampleService_RevokeUser() {
	ctx := context.Background()
	auth := newAuth(nil)
	accessToken := signIn(auth)

	// First commit the change: a new password, or a disabled account.
	if err := auth.RevokeUser(ctx, "17"); err != nil {
		panic(err)
	}
	_, err := auth.Validate(ctx, accessToken)
	fmt.Println(err)
	// Output: tokenauth: the access token is invalid
}
