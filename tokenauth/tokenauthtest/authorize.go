package tokenauthtest

import (
	"net/http"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Authorize has the request carry a good access token of the principal, which
// the Service issues without a sign-in, and returns the request. It fails the
// test if the token cannot be issued.
//
// As with sign-ins, a newer token replaces the one before: of two requests of
// one user that are made one after the other and sent later, the first gets
// 401. Bearer is for several requests with one token.
func Authorize(t testing.TB, auth *tokenauth.Service, r *http.Request, p tokenauth.Principal) *http.Request {
	t.Helper()
	r.Header.Set("Authorization", Bearer(t, auth, p))
	return r
}

// Bearer issues a token as Authorize does, and returns the value of the
// Authorization header that carries it.
func Bearer(t testing.TB, auth *tokenauth.Service, p tokenauth.Principal) string {
	t.Helper()
	grant, err := auth.Issue(t.Context(), p, "")
	if err != nil {
		t.Fatalf("tokenauthtest: issuing a token: %v", err)
	}
	return "Bearer " + grant.AccessToken.Reveal()
}
