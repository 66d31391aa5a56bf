package password_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// Issue a token after single sign-on. It passes LiveCheck until the account changes, and
// a disabled account gets none.
func ExampleAccount_Principal() {
	ctx := context.Background()
	account := password.Account{UserID: "17", UserName: "alice", Stamp: "1"} // a row of your table
	users, err := password.New(func(context.Context, string) (password.Account, error) { return account, nil }, nil)
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{
		LiveCheck: func(ctx context.Context, t tokenauth.Token) error { return users.Recheck(ctx, t.Principal) },
	})
	if err != nil {
		panic(err)
	}
	issue := func() (tokenauth.IssuedToken, error) {
		return auth.Issue(ctx, account.Principal(), &tokenauth.IssueOptions{Recheck: true})
	}
	issued, err := issue()
	if err != nil {
		panic(err)
	}
	_, err = auth.Validate(ctx, issued.AccessToken.Reveal())
	fmt.Println("valid:", err == nil)

	account.Stamp = "2" // the password changed
	_, err = auth.Validate(ctx, issued.AccessToken.Reveal())
	fmt.Println("ended:", errors.Is(err, tokenauth.ErrInvalidToken))

	account.Disabled = true
	_, err = issue()
	fmt.Println("disabled:", errors.Is(err, tokenauth.ErrRejected))
	// Output:
	// valid: true
	// ended: true
	// disabled: true
}
