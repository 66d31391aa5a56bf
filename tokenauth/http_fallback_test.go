package tokenauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// oldTokens is a Fallback that accepts one bearer token and one session cookie.
// It counts its calls.
type oldTokens struct{ asked int }

func (o *oldTokens) authenticate(r *http.Request) (tokenauth.Principal, error) {
	o.asked++
	if cookie, err := r.Cookie("session"); err == nil && cookie.Value == "42" {
		return bob(), nil
	}
	switch r.Header.Get("Authorization") {
	case "Bearer old.one.good":
		return alice(), nil
	case "Bearer old.one.ill":
		return tokenauth.Principal{}, errors.New("no route to the keys")
	case "Bearer old.one.odd":
		return tokenauth.Principal{UserID: ""}, nil
	case "Bearer old.one.panics":
		panic("oh no")
	case "Bearer old.one.hangs":
		<-r.Context().Done()
		return tokenauth.Principal{}, r.Context().Err()
	}
	return tokenauth.Principal{}, fmt.Errorf("signature: %w", tokenauth.ErrRejected)
}

func TestFallbackDecidesOnUnknownTokens(t *testing.T) {
	t.Parallel()
	storage, old, w := new(scripted), new(oldTokens), new(eventRecorder)
	left, checked := map[string]bool{}, tokenauth.Token{}
	auth := newService(t, storage, &staff{}, &tokenauth.Options{
		Fallback: old.authenticate, Timeout: 20e6, Observers: []func(context.Context, tokenauth.Event){w.Observe}, Logger: slog.New(slog.DiscardHandler),
		LiveCheck: func(_ context.Context, t tokenauth.Token) error {
			checked = t
			if left[t.Principal.UserID] {
				return tokenauth.ErrRejected
			}
			return nil
		},
	})
	mux := http.NewServeMux()
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := tokenauth.FromContext(r.Context())
		fmt.Fprint(w, token.Principal.UserName)
	})
	mux.Handle("/me", auth.RequireBearer(who))
	mux.Handle("/staff", auth.RequireRole("Staff")(who))
	mux.Handle("/client", auth.RequireClient("web")(who))
	mux.Handle("/open", auth.Optional(who))
	do := func(path, authorization, cookie string, status, asked int, body string) {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		if cookie != "" {
			r.AddCookie(&http.Cookie{Name: "session", Value: cookie})
		}
		before, recorder := old.asked, httptest.NewRecorder()
		mux.ServeHTTP(recorder, r)
		if recorder.Code != status || status == 200 && recorder.Body.String() != body || old.asked != before+asked {
			t.Errorf("%s %q: answered %d %s, Fallback was called %d times; want %d %s, %d", path, authorization, recorder.Code, recorder.Body, old.asked-before, status, body, asked)
		}
	}
	// Requests that Fallback accepts.
	do("/me", "Bearer old.one.good", "", 200, 1, "alice")
	if !reflect.DeepEqual(checked, tokenauth.Token{Principal: alice()}) {
		t.Errorf("LiveCheck got %+v, want a token that has only the principal", checked)
	}
	do("/me", "", "42", 200, 1, "bob")
	do("/me", "Negotiate abc", "42", 200, 1, "bob")
	do("/staff", "Bearer old.one.good", "", 200, 1, "alice")
	do("/staff", "", "42", 403, 1, "")
	do("/client", "Bearer old.one.good", "", 403, 1, "")
	do("/open", "Bearer old.one.good", "", 200, 1, "alice")
	do("/open", "", "", 200, 1, "")
	if got := w.events[0]; got.Kind != event.Validated || got.Reason != event.ReasonFallback || got.UserName != "alice" || !got.Digest.IsZero() {
		t.Errorf("observed %+v", got)
	}
	// Requests that Fallback refuses, or for which it fails.
	do("/me", "", "", 401, 1, "")
	do("/me", "Bearer old.one.bad", "", 401, 1, "")
	do("/me", "Bearer old.one.ill", "", 503, 1, "")
	do("/me", "Bearer old.one.hangs", "", 503, 1, "")
	do("/me", "Bearer old.one.panics", "", 500, 1, "")
	do("/me", "Bearer old.one.odd", "", 500, 1, "")
	do("/me", "Bearer a, Bearer b", "42", 400, 0, "")
	left["17"] = true
	do("/me", "Bearer old.one.good", "", 401, 1, "")
	left["17"] = false

	// Fallback is never called for a token with the Service's own prefix.
	first := issue(t, auth, alice(), "")
	second := issue(t, auth, alice(), "")
	do("/me", "Bearer "+second, "42", 200, 0, "alice")
	do("/me", "Bearer "+first, "42", 401, 0, "")
	do("/me", "Bearer tat_rubbish", "42", 401, 0, "")
	if err := auth.Revoke(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	do("/me", "Bearer "+second, "42", 401, 0, "")
	third := issue(t, auth, alice(), "")
	storage.before = func(context.Context, string) error { return errors.New("down") }
	do("/me", "Bearer "+third, "42", 503, 0, "")
}

// A token from Fallback has only a principal. There is nothing to revoke.
func TestFallbackTokenHasNothingToRevoke(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Fallback: new(oldTokens).authenticate})
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer old.one.good")
	r, refusal := auth.Authorizer(tokenauth.Requirement{})(r)
	if refusal != nil {
		t.Fatal(refusal)
	}
	token, ok := tokenauth.FromContext(r.Context())
	if !ok || token.Principal.UserID != "17" || !token.Digest.IsZero() || !token.ExpiresAt.IsZero() {
		t.Errorf("the token is %+v, want one without Digest and ExpiresAt", token)
	}
	if err := auth.RevokeToken(t.Context(), token); !errors.Is(err, tokenauth.ErrInvalidToken) {
		t.Errorf("RevokeToken: error %v, want ErrInvalidToken", err)
	}
}

// A Fallback may read the body. The next handler can still read it, whether
// Fallback accepted the request or not.
func TestHandlerFindsTheBodyThatTheFallbackRead(t *testing.T) {
	t.Parallel()
	for name, sent := range map[string]func(*http.Request) string{
		"form": func(r *http.Request) string { return r.FormValue("name") },
		"bytes": func(r *http.Request) string {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			return strings.TrimPrefix(string(body), "name=")
		},
	} {
		auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Fallback: func(r *http.Request) (tokenauth.Principal, error) {
			if sent(r) == "alice" {
				return alice(), nil
			}
			return tokenauth.Principal{}, tokenauth.ErrRejected
		}})
		for _, userName := range []string{"alice", "nobody"} {
			r := httptest.NewRequest("POST", "/", strings.NewReader("name="+userName))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			found := ""
			auth.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, known := tokenauth.FromContext(r.Context())
				found = fmt.Sprint(r.FormValue("name"), " ", known)
			})).ServeHTTP(httptest.NewRecorder(), r)
			if want := fmt.Sprint(userName, " ", userName == "alice"); found != want {
				t.Errorf("%s: the handler reads %q, want %q", name, found, want)
			}
		}
	}
}

// The duration of an event includes the time of Fallback, whatever it returns.
func TestEventsIncludeTheFallbacksTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, w := new(oldTokens), new(eventRecorder)
		auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{
			Observers: []func(context.Context, tokenauth.Event){w.Observe}, Timeout: 2 * time.Second,
			Fallback: func(r *http.Request) (tokenauth.Principal, error) {
				time.Sleep(time.Second)
				return old.authenticate(r)
			},
		})
		for _, bearer := range []string{"old.one.good", "old.one.bad", "old.one.ill", "old.one.panics", ""} {
			r := httptest.NewRequest("GET", "/", nil)
			if bearer != "" {
				r.Header.Set("Authorization", "Bearer "+bearer)
			}
			auth.Authorizer(tokenauth.Requirement{})(r)
			if e := w.events[len(w.events)-1]; e.Duration != time.Second {
				t.Errorf("%q: the event %v %q has the duration %v, want 1s", bearer, e.Kind, e.Reason, e.Duration)
			}
		}
		w.expect(t, "validated fallback 17 alice", "refused invalid", "unavailable", "unavailable internal", "refused no_credentials")
	})
}
