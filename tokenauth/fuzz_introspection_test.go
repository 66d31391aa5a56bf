package tokenauth_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Only a body with the exact token and the client's exact secret can introspect
// or revoke the token.
func FuzzTokenForms(f *testing.F) {
	const good = "token=TOKEN&client_id=api&client_secret=SECRET"
	for _, seed := range []string{
		good, "TOKEN=TOKEN&client_id=api&CLIENT_SECRET=SECRET&token_type_hint=x", "token=TOKEN", "token=%54OKEN&client_id=api&client_secret=SECRET",
		"token=TOKEN&token=TOKEN&client_id=api&client_secret=SECRET", "token=TOKEN+&client_id=api&client_secret=SECRET", `{"token":"TOKEN"}`, "client_id=api&client_secret=SECRET",
	} {
		f.Add(seed)
	}
	auth := newService(f, new(scripted), &staff{}, &tokenauth.Options{Clients: registered{"api": all}})
	accessToken := issue(f, auth, alice(), "api")
	f.Fuzz(func(t *testing.T, body string) {
		body = strings.NewReplacer("TOKEN", accessToken, "SECRET", registeredSecret.Reveal()).Replace(body)
		post := func(h http.Handler) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/", strings.NewReader(body)))
			return w
		}
		// An independent parser decides whether the body has the token and the
		// secret.
		values, _ := url.ParseQuery(body)
		entitled := false
		for name := range values {
			entitled = entitled || strings.EqualFold(name, "token") && values.Get(name) == accessToken
		}
		entitled = entitled && strings.Contains(body, registeredSecret.Reveal())

		w := post(endpoint(t, auth, "/introspect"))
		if active := strings.HasPrefix(w.Body.String(), `{"active":true`); active && (!entitled || w.Code != http.StatusOK) {
			t.Fatalf("introspection of %q answered %d %s", body, w.Code, w.Body)
		}
		if w.Code >= 500 {
			t.Fatalf("introspection of %q answered %d", body, w.Code)
		}
		w = post(endpoint(t, auth, "/revoke"))
		_, err := auth.Validate(t.Context(), accessToken)
		if revoked := err != nil; revoked && (!entitled || w.Code != http.StatusOK) {
			t.Fatalf("%q revoked the token, answered %d", body, w.Code)
		}
		if body == strings.NewReplacer("TOKEN", accessToken, "SECRET", registeredSecret.Reveal()).Replace(good) && err == nil {
			t.Fatalf("%q does not revoke the token", body)
		}
		if err != nil {
			accessToken = issue(t, auth, alice(), "api")
		}
	})
}
