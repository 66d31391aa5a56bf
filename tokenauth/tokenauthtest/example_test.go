package tokenauthtest_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

// reports stands for a handler of the host, with a route that needs a role.
func reports(auth *tokenauth.Service) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/reports", auth.RequireRole("Auditor")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})))
	return mux
}

func expect(t *testing.T, h http.Handler, r *http.Request, status int) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != status {
		t.Errorf("%s %s: got %d, want %d", r.Method, r.URL, w.Code, status)
	}
}

// TestReports shows how a host tests a protected route.
func TestReports(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, nil)
	h := reports(auth.Service)
	get := func() *http.Request { return httptest.NewRequest("GET", "/reports", nil) }
	auditor := auth.As(tokenauth.Principal{UserID: "17", Roles: []string{"Auditor"}}, get())
	reader := auth.As(tokenauth.Principal{UserID: "42", Roles: []string{"Reader"}}, get())

	expect(t, h, get(), http.StatusUnauthorized) // no token
	expect(t, h, reader, http.StatusForbidden)   // not an Auditor
	expect(t, h, auditor, http.StatusOK)
	auth.Storage.Fail(errors.New("connection refused"))
	expect(t, h, auditor, http.StatusServiceUnavailable)
	auth.Storage.Heal()
	expect(t, h, auditor, http.StatusOK)
	auth.Clock.Advance(15 * 24 * time.Hour)
	expect(t, h, auditor, http.StatusUnauthorized) // expired
}
