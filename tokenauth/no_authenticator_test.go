package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A host may authenticate its users by itself. Its Service then needs no
// Authenticator to issue, validate and revoke tokens.
func TestServiceWithoutAuthenticatorIssuesAndValidates(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	auth := newService(t, store, nil, &tokenauth.Options{Clients: registered{"api": all}})
	mux := http.NewServeMux()
	mounted := auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect"})
	if len(mounted.Token) != 0 {
		t.Errorf("mounted %+v, want no token endpoint", mounted)
	}
	mux.Handle("/me", auth.RequireBearer(whoHandler))
	accessToken := issue(t, auth, alice(), "api")
	get := func() string {
		r := httptest.NewRequest("GET", "/me", nil)
		r.Header.Set("Authorization", "Bearer "+accessToken)
		return serve(mux, r)
	}
	post := func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, strings.NewReader(url.Values{"token": {accessToken}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth("api", registeredSecret.Reveal())
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		return w
	}
	if got := get(); got != "alice" {
		t.Errorf("with a token: got %s, want alice", got)
	}
	if w := post("/introspect"); w.Code != 200 || !strings.Contains(w.Body.String(), `"active":true`) {
		t.Errorf("/introspect: got %d %s, want an active token", w.Code, w.Body)
	}
	if w := post("/revoke"); w.Code != 200 {
		t.Errorf("/revoke: got %d %s, want 200", w.Code, w.Body)
	}
	if got := get(); got != "401" {
		t.Errorf("with a revoked token: got %s, want 401", got)
	}
	for _, path := range []string{"/Token", "/token"} {
		if w := post(path); w.Code != 404 {
			t.Errorf("%s: got %d %s, want 404", path, w.Code, w.Body)
		}
	}
}

// Without an Authenticator there is nothing that could check a password. The host
// learns that when it mounts the token endpoint, or from the error of SignIn.
func TestSignInNeedsAnAuthenticator(t *testing.T) {
	t.Parallel()
	events := new(eventRecorder)
	auth := newService(t, new(memory.Store), nil, &tokenauth.Options{
		Observers: []func(context.Context, tokenauth.Event){events.Observe}, Logger: slog.New(slog.DiscardHandler),
	})
	const says = "Authenticator, and tokenauth.New got none"
	for name, e := range map[string][]tokenauth.Endpoints{
		"no Endpoints":              {},
		"zero Endpoints":            {{}},
		"a token path":              {{Token: []string{"/Token"}, Revocation: "/revoke"}},
		"metadata":                  {{Revocation: "/revoke", Issuer: "https://api.example.com"}},
		"metadata and nothing else": {{Issuer: "https://api.example.com"}},
	} {
		if handlers, _, err := auth.Handlers("", e...); handlers != nil || err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Handlers with %s: got %v, %v, want an error with %q", name, handlers, err, says)
		}
	}
	for name, mount := range map[string]func(){
		"Mount":        func() { auth.Mount(http.NewServeMux()) },
		"TokenHandler": func() { auth.TokenHandler() },
	} {
		func() {
			defer func() {
				if p := recover(); !strings.Contains(fmt.Sprint(p), says) {
					t.Errorf("%s panics with %v, want a text with %q", name, p, says)
				}
			}()
			mount()
		}()
	}
	_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("secret")})
	if !errors.Is(err, tokenauth.ErrUnavailable) || !strings.Contains(err.Error(), "New got no Authenticator") {
		t.Errorf("SignIn: got the error %v, want ErrUnavailable that names the missing Authenticator", err)
	}
	if got := events.drain(); !slices.Equal(got, []string{"unavailable"}) {
		t.Errorf("SignIn: observed %q, want unavailable", got)
	}
	_, err = auth.Issue(t.Context(), alice(), &tokenauth.IssueOptions{Recheck: true})
	if !errors.Is(err, tokenauth.ErrInvalidPrincipal) || !strings.Contains(err.Error(), "Recheck needs an Authenticator") {
		t.Errorf("Issue with Recheck: got the error %v, want ErrInvalidPrincipal that names the missing Authenticator", err)
	}
}
