package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// New needs a storage and an Authenticator. Nil Options select the defaults,
// and an Options field that is zero selects the default of this field. An error
// names the invalid argument or field, so check it at the start of the program.
func ExampleNew() {
	auth, err := tokenauth.New(new(memory.Store), people{}, &tokenauth.Options{Lifetime: 8 * time.Hour})
	if err != nil {
		panic(err)
	}
	fmt.Println(auth.Options().Lifetime, auth.Options().Prefix)
	// Output: 8h0m0s tat_
}

// SignIn returns an access token for a user name and a password. The errors
// tell wrong credentials from a failure that may be temporary.
func ExampleService_SignIn() {
	auth := newAuth(nil)
	for _, password := range []string{"correct horse", "battery staple"} {
		issued, err := auth.SignIn(context.Background(), tokenauth.Credentials{
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
			fmt.Println(issued.Token.Principal.UserName, "for", issued.Token.ExpiresAt.Sub(issued.Token.IssuedAt))
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
	issued, err := auth.Issue(context.Background(), p, nil)
	if err != nil {
		panic(err)
	}
	accessToken := issued.AccessToken.Reveal()
	fmt.Println(accessToken[:4], len(accessToken))

	p.Roles = []string{"Reader,Administrator"}
	_, err = auth.Issue(context.Background(), p, nil)
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
			fmt.Println("valid:", token.Principal.UserName)
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
	// valid: alice
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

// RevokeClient ends the tokens of all users at one client, for example after
// its secret was disclosed.
func ExampleService_RevokeClient() {
	ctx := context.Background()
	auth := newAuth(nil)
	for _, client := range []string{"mobile", "web"} {
		if _, err := auth.Issue(ctx, tokenauth.Principal{UserID: "17"}, &tokenauth.IssueOptions{ClientID: client}); err != nil {
			panic(err)
		}
	}
	if err := auth.RevokeClient(ctx, "mobile"); err != nil {
		panic(err)
	}
	tokens, err := auth.Tokens(ctx, "17")
	if err != nil {
		panic(err)
	}
	for _, token := range tokens {
		fmt.Println(token.ClientID)
	}
	// Output: web
}

// Tokens lists where a user is signed in, without the access tokens.
// RevokeToken ends one of the listed tokens.
func ExampleService_Tokens() {
	ctx := context.Background()
	auth := newAuth(nil)
	for _, client := range []string{"mobile", "web"} {
		if _, err := auth.Issue(ctx, tokenauth.Principal{UserID: "17"}, &tokenauth.IssueOptions{ClientID: client}); err != nil {
			panic(err)
		}
	}
	tokens, err := auth.Tokens(ctx, "17")
	if err != nil {
		panic(err)
	}
	for _, token := range tokens {
		if token.ClientID == "mobile" {
			if err := auth.RevokeToken(ctx, token); err != nil {
				panic(err)
			}
		}
	}
	tokens, err = auth.Tokens(ctx, "17")
	if err != nil {
		panic(err)
	}
	fmt.Println(len(tokens), tokens[0].ClientID)
	// Output: 1 web
}

// Unthrottle lets a user sign in again after too many wrong passwords. Call it
// when the help desk has verified the user.
func ExampleService_Unthrottle() {
	ctx := context.Background()
	auth := newAuth(nil)
	attempt := func(password string) error {
		_, err := auth.SignIn(ctx, tokenauth.Credentials{
			UserName: "alice", Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr("192.0.2.1"),
		})
		return err
	}
	for i := range 5 {
		attempt(fmt.Sprint("guess ", i))
	}
	fmt.Println("throttled:", errors.Is(attempt("correct horse"), tokenauth.ErrThrottled))
	if err := auth.Unthrottle(ctx, "17", "alice"); err != nil {
		panic(err)
	}
	fmt.Println("error:", attempt("correct horse"))
	// Output:
	// throttled: true
	// error: <nil>
}
