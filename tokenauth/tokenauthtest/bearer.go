package tokenauthtest

import (
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Bearer issues an access token for the principal without a sign-in, and
// returns it as the value of an Authorization header: "Bearer " and the token.
// It works with any [tokenauth.Service]. If [tokenauth.Service.Issue] fails,
// the test fails at once.
//
// A new token replaces the user's earlier one. To send several requests as one
// user, call Bearer once and use its result for all of them.
func Bearer(t testing.TB, auth *tokenauth.Service, p tokenauth.Principal) string {
	t.Helper()
	issued, err := auth.Issue(t.Context(), p, nil)
	if err != nil {
		t.Fatalf("tokenauthtest: cannot issue a token for the principal: %v", err)
	}
	return "Bearer " + issued.AccessToken.Reveal()
}
