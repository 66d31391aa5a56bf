package tokenauth_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// registry has one client, "app" with the secret "s3cret".
type registry struct{}

func (registry) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	if id != "app" {
		return tokenauth.Client{}, tokenauth.ErrNotFound
	}
	return tokenauth.Client{ID: "app", Secrets: []tokenauth.Digest{sha256.Sum256([]byte("s3cret"))}}, nil
}

// authenticatorFunc is an Authenticator that calls a function.
type authenticatorFunc func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error)

func (a authenticatorFunc) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return a(ctx, c)
}

// post sends a request to the token endpoint. Basic is "user:password", or ""
// for no Authorization header.
func post(auth *tokenauth.Service, basic, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/token", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user, pass, ok := strings.Cut(basic, ":"); ok {
		r.SetBasicAuth(user, pass)
	}
	w := httptest.NewRecorder()
	auth.TokenHandler().ServeHTTP(w, r)
	return w
}

const passwordGrant = "grant_type=password&username=alice&password=secret"

func TestAuthenticatorSeesTheClientSecret(t *testing.T) {
	t.Parallel()
	var got tokenauth.Credentials
	auth := newService(t, new(memory.Store), authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
		got = c
		return alice(), nil
	}), &tokenauth.Options{Clients: registry{}})

	if _, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("x"), ClientID: "app", ClientSecret: tokenauth.NewSecret("s3cret")}); err != nil {
		t.Fatal(err)
	}
	if got.ClientID != "app" || got.ClientSecret.Reveal() != "s3cret" {
		t.Errorf("SignIn: client %q, secret %q", got.ClientID, got.ClientSecret.Reveal())
	}
	if w := post(auth, "", passwordGrant+"&client_id=app&client_secret=s3cret"); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if got.ClientID != "app" || got.ClientSecret.Reveal() != "s3cret" {
		t.Errorf("in the body: client %q, secret %q", got.ClientID, got.ClientSecret.Reveal())
	}
}

// An Authenticator may wrap any error in ErrRejected. Here an upstream Service
// refused the Authenticator's own client. That must not be answered as
// invalid_client for the client of the request.
func TestRejectedCredentialsAreNotAClientError(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), authenticatorFunc(func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
		return tokenauth.Principal{}, fmt.Errorf("%w: %w", tokenauth.ErrRejected, tokenauth.ErrInvalidClient)
	}), &tokenauth.Options{Clients: registry{}})
	w := post(auth, "app:s3cret", passwordGrant)
	if w.Code != 400 || !strings.Contains(w.Body.String(), "invalid_grant") || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("answered %d %s with challenge %q, want 400 invalid_grant", w.Code, w.Body, w.Header().Get("WWW-Authenticate"))
	}
}

// A panic of the host's code leaves SignIn and Validate with its original
// value, so that a host that recovers can examine it.
func TestPanicKeepsItsValue(t *testing.T) {
	t.Parallel()
	type mine struct{ code int }
	auth := newService(t, new(memory.Store), authenticatorFunc(func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
		panic(mine{7})
	}), &tokenauth.Options{LiveCheck: func(context.Context, tokenauth.Token) error { panic(mine{8}) }})
	issued, err := auth.Issue(t.Context(), alice(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func(){
		"SignIn":   func() { auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice"}) },
		"Validate": func() { auth.Validate(t.Context(), issued.AccessToken.Reveal()) },
	} {
		func() {
			defer func() {
				if p := recover(); p != (mine{7}) && p != (mine{8}) {
					t.Errorf("%s: recovered %T %v, want the value of the panic", name, p, p)
				}
			}()
			call()
		}()
	}
}

// RenderError may write some errors itself and leave the others to
// ErrorResponse.ServeHTTP.
func TestRenderErrorCanFallBackToServeHTTP(t *testing.T) {
	t.Parallel()
	depth := 0
	auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{
		RenderError: func(w http.ResponseWriter, r *http.Request, e *tokenauth.ErrorResponse) {
			if depth++; depth > 10 {
				panic("ServeHTTP calls RenderError in an endless recursion")
			}
			e.ServeHTTP(w, r)
		},
	})
	defer func() {
		if p := recover(); p != nil {
			t.Error(p)
		}
	}()
	w := httptest.NewRecorder()
	auth.RequireBearer(http.NotFoundHandler()).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 401 {
		t.Errorf("answered %d", w.Code)
	}
}

// A host may construct an ErrorResponse of its own for a protected route.
func TestErrorResponseWithoutStatusIs500(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]*tokenauth.ErrorResponse{
		"zero":        {},
		"only a code": {Code: "invalid_request", Description: "No."},
	} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%s: panics: %v", name, p)
				}
			}()
			e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
	}
}
