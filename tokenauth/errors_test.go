package tokenauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Trouble is 503 even if its cause is what another Service refused.
func TestTroubleIsNeverARefusal(t *testing.T) {
	t.Parallel()
	elsewhere := newService(t, new(scripted), &staff{}, nil)
	refusal := func(authorize tokenauth.Authorizer, authorization ...string) error {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = authorization
		_, refusal := authorize(r)
		return refusal
	}
	good := "Bearer " + issue(t, elsewhere, bob(), "")
	for _, cause := range []error{
		tokenauth.ErrRejected, tokenauth.ErrInvalidToken, tokenauth.ErrExpiredToken, tokenauth.ErrReplacedToken,
		tokenauth.ErrInvalidClient, tokenauth.ErrThrottled, tokenauth.ErrInvalidPrincipal,
		refusal(elsewhere.Authorize), refusal(elsewhere.Authorize, "Bearer", "Bearer"),
		refusal(elsewhere.RoleAuthorizer("Staff"), good), refusal(elsewhere.ClientAuthorizer("web"), good),
	} {
		trouble := fmt.Errorf("asking elsewhere: %w", cause)
		storage, w := new(scripted), new(witness)
		options := tokenauth.Options{Observers: []tokenauth.Observer{w}, Clients: registered{"api": tokenauth.IntrospectAll}}
		own := newService(t, storage, &staff{}, &options)
		accessToken := issue(t, own, alice(), "api")
		storage.before = func(context.Context, string) error { return trouble }

		options.Fallback = func(*http.Request) (tokenauth.Principal, error) { return tokenauth.Principal{}, trouble }
		if cause == tokenauth.ErrRejected {
			options.Fallback = nil // this is how it says no
		}
		other := newService(t, new(scripted), &staff{}, &options)

		w.told()
		expect503 := func(what string, h http.Handler, r *http.Request, observed string) {
			t.Helper()
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, r)
			if recorder.Code != http.StatusServiceUnavailable {
				t.Errorf("%s, %v: answered %d %s", what, cause, recorder.Code, recorder.Body)
			}
			w.expect(t, observed)
		}
		asking := httptest.NewRequest("GET", "/", nil)
		asking.Header.Set("Authorization", "Bearer "+accessToken)
		expect503("storage", own.RequireBearer(http.NotFoundHandler()), asking, "unavailable")
		expect503("storage, optional", own.Optional(http.NotFoundHandler()), asking, "unavailable")
		form := func(path string) *http.Request {
			r := httptest.NewRequest("POST", path, strings.NewReader("token="+accessToken))
			r.SetBasicAuth("api", registeredSecret.Reveal())
			return r
		}
		expect503("revocation", own.RevocationHandler(), form("/revoke"), "unavailable api")
		expect503("introspection", own.IntrospectionHandler(), form("/introspect"), "unavailable")
		if err := own.Revoke(t.Context(), accessToken); reason(err) != "unavailable" {
			t.Errorf("Revoke, %v: %v", cause, err)
		}
		w.expect(t, "unavailable")
		if options.Fallback != nil {
			expect503("fallback", other.RequireBearer(http.NotFoundHandler()), httptest.NewRequest("GET", "/", nil), "unavailable")
			expect503("fallback, optional", other.Optional(http.NotFoundHandler()), httptest.NewRequest("GET", "/", nil), "unavailable")
		}
	}
}
