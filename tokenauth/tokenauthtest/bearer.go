package tokenauthtest

import (
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Bearer issues an access token of the principal without a sign-in, and returns
// the value of the Authorization header that carries it. It fails the test if the
// token cannot be issued.
func Bearer(t testing.TB, auth *tokenauth.Service, p tokenauth.Principal) string {
	t.Helper()
	issued, err := auth.Issue(t.Context(), p, "")
	if err != nil {
		t.Fatalf("tokenauthtest: issuing a token: %v", err)
	}
	return "Bearer " + issued.AccessToken.Reveal()
}
