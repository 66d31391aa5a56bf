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
// At most one [tokenauth.IssueOptions] may follow, for example to name the
// client and the device. Without it, the token is for the client "".
//
// A new token replaces the user's earlier one at the same client and on the same
// device. To send several requests as one user, call Bearer once and use its
// result for all of them.
func Bearer(t testing.TB, auth *tokenauth.Service, p tokenauth.Principal, o ...*tokenauth.IssueOptions) string {
	t.Helper()
	var options *tokenauth.IssueOptions
	switch len(o) {
	case 0:
	case 1:
		options = o[0]
	default:
		t.Fatalf("tokenauthtest: cannot issue a token with %d IssueOptions: pass at most one", len(o))
	}
	issued, err := auth.Issue(t.Context(), p, options)
	if err != nil {
		t.Fatalf("tokenauthtest: cannot issue a token for the principal: %v", err)
	}
	return "Bearer " + issued.AccessToken.Reveal()
}
