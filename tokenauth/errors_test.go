package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A storage error is answered with 503, whatever error of another Service it
// wraps.
func TestStorageErrorIs503WhateverItsCause(t *testing.T) {
	t.Parallel()
	elsewhere := newService(t, new(scripted), &staff{}, nil)
	refusal := func(authorize func(*http.Request) (*http.Request, *tokenauth.ErrorResponse), authorization ...string) error {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = authorization
		_, refusal := authorize(r)
		return refusal
	}
	bearer := elsewhere.Authorizer(tokenauth.Requirement{})
	good := "Bearer " + issue(t, elsewhere, bob(), "")
	for _, cause := range []error{
		tokenauth.ErrRejected, tokenauth.ErrInvalidToken, tokenauth.ErrExpiredToken, tokenauth.ErrReplacedToken,
		tokenauth.ErrInvalidClient, tokenauth.ErrThrottled, tokenauth.ErrInvalidPrincipal,
		refusal(bearer), refusal(bearer, "Bearer", "Bearer"),
		refusal(elsewhere.Authorizer(tokenauth.Requirement{Roles: []string{"Staff"}}), good),
		refusal(elsewhere.Authorizer(tokenauth.Requirement{Clients: []string{"web"}}), good),
	} {
		storageErr := fmt.Errorf("request to another service: %w", cause)
		storage, w := new(scripted), new(eventRecorder)
		options := tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){w.Observe}, Clients: registered{"api": all}}
		own := newService(t, storage, &staff{}, &options)
		accessToken := issue(t, own, alice(), "api")
		storage.before = func(context.Context, string) error { return storageErr }

		options.Fallback = func(*http.Request) (tokenauth.Principal, error) { return tokenauth.Principal{}, storageErr }
		if cause == tokenauth.ErrRejected {
			options.Fallback = nil // without a fallback, so that the Service validates the token itself
		}
		other := newService(t, new(scripted), &staff{}, &options)

		w.drain()
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
		expect503("revocation", endpoint(t, own, "/revoke"), form("/revoke"), "unavailable api")
		expect503("introspection", endpoint(t, own, "/introspect"), form("/introspect"), "unavailable")
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

// The text of ErrUnavailable names the failed component, and the error that it
// should return to refuse.
func TestUnavailableErrorNamesItsSource(t *testing.T) {
	t.Parallel()
	odd := errors.New("record not found")
	users, clients := &staff{}, &erringClients{registered: registered{"web": none}}
	var live, fallback error
	auth := newService(t, new(scripted), users, &tokenauth.Options{
		Clients:   clients,
		LiveCheck: func(context.Context, tokenauth.Token) error { return live },
		Fallback:  func(*http.Request) (tokenauth.Principal, error) { return alice(), fallback },
	})
	signIn := func() error {
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", ClientID: "web", ClientSecret: registeredSecret})
		return err
	}
	validate := func() error {
		_, err := auth.Validate(t.Context(), issue(t, auth, alice(), ""))
		return err
	}
	request := func() error {
		_, refusal := auth.Authorizer(tokenauth.Requirement{})(httptest.NewRequest("GET", "/", nil))
		return refusal.Err
	}
	const prefix = "tokenauth: temporarily unavailable: "
	for _, test := range []struct {
		says string
		set  func(error)
		do   func() error
	}{
		{"the Authenticator failed (it must return ErrRejected for invalid credentials; a password.Lookup must return ErrNotFound for an unknown name): ", func(err error) { users.err = err }, signIn},
		{"the Rechecker failed (it must return ErrRejected for a user who may no longer sign in; a password.Lookup must return ErrNotFound for an unknown name): ", func(err error) {
			users.look = func(context.Context, tokenauth.Principal) error { return err }
		}, signIn},
		{"Options.Clients failed (it must return ErrNotFound for an unknown client): ", func(err error) { clients.err = err }, signIn},
		{"Options.LiveCheck failed (it must return ErrRejected for a user who may no longer use the token): ", func(err error) { live = err }, validate},
		{"Options.Fallback failed (it must return ErrRejected for a request that it cannot authenticate): ", func(err error) { fallback = err }, request},
	} {
		test.set(odd)
		if err := test.do(); !errors.Is(err, tokenauth.ErrUnavailable) || !errors.Is(err, odd) || err.Error() != prefix+test.says+odd.Error() {
			t.Errorf("error %v, want one with %q", err, test.says)
		}
		// A timeout, a cancellation or ErrBusy is not a wrong error of the
		// host, so the text gives no advice.
		for _, plain := range []error{context.DeadlineExceeded, context.Canceled, tokenauth.ErrBusy} {
			test.set(fmt.Errorf("host: %w", plain))
			if err := test.do(); !errors.Is(err, plain) || strings.Contains(err.Error(), "it returns") {
				t.Errorf("error %v for %v, want it without advice", err, plain)
			}
		}
		test.set(nil)
	}
}

type erringClients struct {
	registered
	err error
}

func (c *erringClients) FindClient(ctx context.Context, id string) (tokenauth.Client, error) {
	if c.err != nil {
		return tokenauth.Client{}, c.err
	}
	return c.registered.FindClient(ctx, id)
}
