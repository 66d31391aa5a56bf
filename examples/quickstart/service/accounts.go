package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Accounts that are created in an empty store. Their password is in this file, so
// it is public.
var (
	trialAccounts = []gormstore.User{
		{Name: "username", Roles: []string{"Administrator"}},
		{Name: "reader", Roles: []string{"Reader"}},
	}
	trialPassword = tokenauth.NewSecret("password")
)

// createAccounts creates the trial accounts if the store is empty. If other
// machines can reach the address, it creates no accounts. In that case it returns an
// error if the store is empty, or has a trial account with the public password.
func createAccounts(ctx context.Context, s *Store, listening net.Addr) (created bool, err error) {
	empty, err := s.Empty(ctx)
	if err != nil {
		return false, err
	}
	switch public := !isLoopback(listening); {
	case public && empty:
		return false, fmt.Errorf("the store is empty, and trial accounts with a public password cannot be created: "+
			"other machines can reach the address %s; listen on a loopback address such as 127.0.0.1:8080", listening)
	case public:
		return false, refuseTrialAccounts(ctx, s.Users, listening)
	case !empty:
		return false, nil
	}
	for _, account := range trialAccounts {
		// Another process that starts on the same store may create them first.
		if err := s.Create(ctx, account, trialPassword); err != nil && !errors.Is(err, gormstore.ErrExists) {
			return false, err
		}
	}
	return true, nil
}

// refuseTrialAccounts returns an error if a trial account exists and still has the
// public password.
func refuseTrialAccounts(ctx context.Context, users tokenauth.Authenticator, listening net.Addr) error {
	for _, account := range trialAccounts {
		_, err := users.Authenticate(ctx, tokenauth.Credentials{UserName: account.Name, Password: trialPassword})
		if err == nil {
			return fmt.Errorf("the store has the trial account %q with its public password, "+
				"and other machines can reach the address %s; listen on a loopback address such as 127.0.0.1:8080, or use another -store", account.Name, listening)
		}
		if !errors.Is(err, tokenauth.ErrRejected) {
			return err
		}
	}
	return nil
}

func isLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

func printWelcome(addr net.Addr, storeURL string, created bool) {
	scheme, _, _ := strings.Cut(storeURL, ":")
	fmt.Printf("Token API on http://%s, tokens in %s. Open it in a browser to try it out.\n", addr, scheme)
	if created {
		fmt.Print(`
*** The store was empty. It now has two accounts, FOR TRIALS ONLY: ***
***   username / password  (role Administrator)                    ***
***   reader   / password  (role Reader)                           ***
`)
	}
	fmt.Printf(`
Sign in:

  HOST=http://%[1]s
  curl --location --request GET "$HOST/Token" \
    --header 'Content-Type: application/json' \
    --data-urlencode 'grant_type=password' \
    --data-urlencode 'username=username' \
    --data-urlencode 'password=password'

Then, with the access_token of the answer:

  curl -H "Authorization: Bearer $TOKEN" "$HOST/me"      # for every user
  curl -H "Authorization: Bearer $TOKEN" "$HOST/admin"   # for Administrators only

Or do it in a browser: http://%[1]s/docs

After you sign in again, the earlier token is refused. Ctrl-C stops the program.
`, addr)
}
