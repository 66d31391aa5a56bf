package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The accounts that an empty store gets. Anybody can read their password here.
var (
	trialAccounts = []gormstore.User{
		{Name: "username", Roles: []string{"Administrator"}},
		{Name: "reader", Roles: []string{"Reader"}},
	}
	trialPassword = tokenauth.NewSecret("password")
)

// createAccounts fills an empty store. Where others can reach it there are no
// such accounts: neither made now nor left from a start before.
func createAccounts(ctx context.Context, s *store, listening net.Addr) (created bool, err error) {
	empty, err := s.empty(ctx)
	if err != nil {
		return false, err
	}
	switch public := !isLoopback(listening); {
	case public && empty:
		return false, fmt.Errorf("the store is empty, and its accounts for trying out have a password that everybody knows: "+
			"they are not created while listening on %s; use a loopback address such as 127.0.0.1:8080", listening)
	case public:
		return false, refuseTrialAccounts(ctx, s.users, listening)
	case !empty:
		return false, nil
	}
	for _, account := range trialAccounts {
		// Another process may be starting on the same store.
		if err := s.create(ctx, account, trialPassword); err != nil && !errors.Is(err, gormstore.ErrExists) {
			return false, err
		}
	}
	return true, nil
}

// refuseTrialAccounts returns an error if one of the accounts for trying out is
// there and has the password that everybody knows.
func refuseTrialAccounts(ctx context.Context, users tokenauth.Authenticator, listening net.Addr) error {
	for _, account := range trialAccounts {
		_, err := users.Authenticate(ctx, tokenauth.Credentials{UserName: account.Name, Password: trialPassword})
		if err == nil {
			return fmt.Errorf("the store has the account %q for trying out, with a password that everybody knows: "+
				"not listening on %s; use a loopback address such as 127.0.0.1:8080, or another -store", account.Name, listening)
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
	fmt.Printf("Token API on http://%s, tokens in %s.\n", addr, scheme)
	if created {
		fmt.Print(`
*** The store was empty. It now has two accounts FOR TRYING OUT ONLY: ***
***   username / password  (role Administrator)                       ***
***   reader   / password  (role Reader)                              ***
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

  curl -H "Authorization: Bearer $TOKEN" "$HOST/me"      # anybody who signed in
  curl -H "Authorization: Bearer $TOKEN" "$HOST/admin"   # Administrator only

Or do it in a browser: http://%[1]s/docs

Sign in again, and the token before is refused. Ctrl-C stops.
`, addr)
}

func joinRoles(roles []string) string { return strings.Join(roles, ",") }
