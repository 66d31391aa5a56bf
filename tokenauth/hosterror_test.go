package tokenauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// everyError claims by Is and As to be any error.
type everyError struct{}

func (everyError) Error() string   { return "host: everything" }
func (everyError) Is(error) bool   { return true }
func (everyError) Unwrap() []error { return []error{new(tokenauth.ErrorResponse)} }

// foreignErrors are errors that code of the host may have from another Service,
// or construct from its types.
func foreignErrors(t *testing.T) map[string]error {
	t.Helper()
	elsewhere := newService(t, new(scripted), &staff{}, &tokenauth.Options{
		LiveCheck: func(context.Context, tokenauth.Token) error { panic("a bug elsewhere") },
		Places:    []place.Place{place.Scheme("Bearer"), session},
	})
	post := httptest.NewRequest("POST", "/", nil)
	post.Header = http.Header{"Cookie": {"__Host-session=x"}, "Sec-Fetch-Site": {"cross-site"}}
	_, fromAnotherSite := elsewhere.Authorizer(tokenauth.Requirement{})(post)
	r := httptest.NewRequest("GET", "/", nil)
	_, anonymous := elsewhere.Authorizer(tokenauth.Requirement{})(r)
	r.Header.Set("Authorization", "Bearer "+issue(t, elsewhere, bob(), ""))
	_, panicked := elsewhere.Authorizer(tokenauth.Requirement{})(r)
	return map[string]error{
		"a response with 200":                   &tokenauth.ErrorResponse{Status: 200, Code: "ok", Description: "Welcome."},
		"a response without a status":           &tokenauth.ErrorResponse{},
		"a response with 99":                    &tokenauth.ErrorResponse{Status: 99, Challenge: "Bearer", RetryAfter: 9},
		"a response with 5000":                  &tokenauth.ErrorResponse{Status: 5000},
		"another Service's missing credentials": anonymous,
		"another Service's panic":               panicked,
		"another Service's refused cookie":      fromAnotherSite,
		"another Service's throttling":          &tokenauth.ThrottledError{RetryAfter: 1},
		"ErrInvalidClient":                      tokenauth.ErrInvalidClient,
		"ErrReplacedToken":                      tokenauth.ErrReplacedToken,
		"ErrInvalidPrincipal":                   tokenauth.ErrInvalidPrincipal,
		"ErrUnavailable":                        tokenauth.ErrUnavailable,
		"any error":                             everyError{},
		"a nil response":                        (*tokenauth.ErrorResponse)(nil), // as Authorizer returns it
		"a nil throttling error":                (*tokenauth.ThrottledError)(nil),
		"a response in a response":              &tokenauth.ErrorResponse{Status: 302, Err: &tokenauth.ErrorResponse{Status: 201}},
	}
}

// answerTo returns the whole response with the events that were observed.
func answerTo(t *testing.T, w *eventRecorder, h http.Handler, r *http.Request) string {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			t.Errorf("panicked: %v", p)
		}
	}()
	w.drain()
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	var all bytes.Buffer
	fmt.Fprintln(&all, recorder.Code)
	recorder.Header().Write(&all)
	fmt.Fprintln(&all, recorder.Body, w.drain())
	return all.String()
}

// errCause is an error of the host that it wraps together with its decision.
var errCause = errors.New("host: banned")

// Errors of other Services that the host wraps around its decision change
// neither the response nor the event. This holds for a refusal and for a
// failure. The event still wraps the host's own cause.
func TestWrappedErrorsDoNotChangeTheDecision(t *testing.T) {
	t.Parallel()
	users, storage, clients, w := &staff{}, new(scripted), &erringClients{registered: registered{"api": all}}, new(eventRecorder)
	var live, fallback error
	var observed error
	auth := newService(t, storage, users, &tokenauth.Options{
		LiveCheck: func(context.Context, tokenauth.Token) error { return live },
		Fallback:  func(*http.Request) (tokenauth.Principal, error) { return alice(), fallback },
		Clients:   clients,
		Observers: []func(context.Context, tokenauth.Event){w.Observe, func(_ context.Context, e tokenauth.Event) { observed = e.Err }},
		Throttle:  tokenauth.ThrottleOptions{InsecureOff: true},
	})
	var accessToken string // a new one for each test: sign-ins replace it
	signIn := func() (http.Handler, *http.Request) {
		r := httptest.NewRequest("POST", "/Token", strings.NewReader(passwordGrant))
		r.SetBasicAuth("api", registeredSecret.Reveal())
		return auth.TokenHandler(), r
	}
	get := func(authorization string) func() (http.Handler, *http.Request) {
		return func() (http.Handler, *http.Request) {
			r := httptest.NewRequest("GET", "/", nil)
			if authorization != "" {
				r.Header.Set("Authorization", strings.ReplaceAll(authorization, "OWN", accessToken))
			}
			return auth.RequireBearer(http.NotFoundHandler()), r
		}
	}
	open := func(authorization string) func() (http.Handler, *http.Request) {
		return func() (http.Handler, *http.Request) {
			_, r := get(authorization)()
			return auth.Optional(whoHandler), r
		}
	}
	form := func(path string) func() (http.Handler, *http.Request) {
		return func() (http.Handler, *http.Request) {
			r := httptest.NewRequest("POST", path, strings.NewReader("token="+accessToken))
			r.SetBasicAuth("api", registeredSecret.Reveal())
			return endpoint(t, auth, path), r
		}
	}
	failed := errors.New("host: it failed")
	for _, test := range []struct {
		name   string
		plain  error
		set    func(error)
		asking func() (http.Handler, *http.Request)
		cause  bool // the event wraps errCause
	}{
		{"Authenticate refuses", tokenauth.ErrRejected, func(err error) { users.err = err }, signIn, true},
		{"Authenticate fails", failed, func(err error) { users.err = err }, signIn, true},
		{"Recheck refuses", tokenauth.ErrRejected, func(err error) {
			users.look = func(context.Context, tokenauth.Principal) error { return err }
		}, signIn, true},
		{"Recheck fails", failed, func(err error) {
			users.look = func(context.Context, tokenauth.Principal) error { return err }
		}, signIn, true},
		{"LiveCheck refuses", tokenauth.ErrRejected, func(err error) { live = err }, get("Bearer OWN"), true},
		{"LiveCheck fails", failed, func(err error) { live = err }, get("Bearer OWN"), true},
		{"LiveCheck refuses an introspected token", tokenauth.ErrRejected, func(err error) { live = err }, form("/introspect"), true},
		{"Fallback refuses a request without a token", tokenauth.ErrRejected, func(err error) { fallback = err }, get(""), true},
		{"LiveCheck refuses, on an open route", tokenauth.ErrRejected, func(err error) { live = err }, open("Bearer OWN"), true},
		{"Fallback refuses a token, on an open route", tokenauth.ErrRejected, func(err error) { fallback = err }, open("Bearer foreign"), true},
		{"Fallback refuses a token", tokenauth.ErrRejected, func(err error) { fallback = err }, get("Bearer foreign"), true},
		{"Fallback fails", failed, func(err error) { fallback = err }, get(""), true},
		{"LiveCheck refuses a principal of Fallback", tokenauth.ErrRejected, func(err error) { live = err }, get("Bearer foreign"), true},
		{"the registry does not find", tokenauth.ErrNotFound, func(err error) { clients.err = err }, signIn, false},
		{"the registry fails", failed, func(err error) { clients.err = err }, signIn, true},
		{"the storage does not find", tokenauth.ErrNotFound, func(err error) {
			storage.before = func(_ context.Context, method string) error { return err }
		}, get("Bearer OWN"), false},
		{"the storage fails", failed, func(err error) {
			storage.before = func(_ context.Context, method string) error { return err }
		}, get("Bearer OWN"), true},
		{"the storage fails to store", failed, func(err error) {
			storage.before = func(_ context.Context, method string) error { return err }
		}, signIn, true},
		{"the storage fails to revoke", failed, func(err error) {
			storage.before = func(_ context.Context, method string) error { return err }
		}, form("/revoke"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			accessToken = issue(t, auth, alice(), "api")
			defer func() {
				test.set(nil)
				users.look, storage.before = nil, nil
			}()
			answer := func(err error) string {
				test.set(err)
				h, r := test.asking()
				return answerTo(t, w, h, r)
			}
			want := answer(test.plain)
			for name, foreign := range foreignErrors(t) {
				if test.plain == failed && errors.Is(foreign, tokenauth.ErrRejected) {
					continue // the other error is the refusal itself
				}
				if name == "any error" && test.plain != tokenauth.ErrRejected {
					continue // it is also ErrRejected
				}
				for order, err := range map[string]error{
					"behind it":    fmt.Errorf("%w: %w: %w", test.plain, errCause, foreign),
					"in front":     errors.Join(foreign, errCause, test.plain),
					"further in":   fmt.Errorf("host: %w", errors.Join(test.plain, fmt.Errorf("%w: %w", foreign, errCause))),
					"in its cause": &tokenauth.ErrorResponse{Status: 200, Code: "ok", Err: errors.Join(foreign, errCause, test.plain)},
				} {
					if got := answer(err); got != want {
						t.Errorf("%s %s:\n%swant\n%s", name, order, got, want)
					}
					if test.cause && !errors.Is(observed, errCause) {
						t.Errorf("%s %s: the observed error does not wrap the cause: %v", name, order, observed)
					}
					if strings.Contains(want, "banned") {
						t.Error("the response contains the cause")
					}
				}
			}
		})
	}
}

type bannedError struct{ until string }

func (*bannedError) Error() string { return "host: banned" }

// The error that a call returns wraps the host's cause for errors.Is and
// errors.As. It wraps no decision other than the Service's.
func TestCallersFindTheCauseOfARefusal(t *testing.T) {
	t.Parallel()
	users := &staff{}
	var live error
	auth := newService(t, new(scripted), users, &tokenauth.Options{
		LiveCheck: func(context.Context, tokenauth.Token) error { return live },
	})
	accessToken := issue(t, auth, alice(), "")
	validate := func() error { _, err := auth.Validate(t.Context(), accessToken); return err }
	signIn := func() error {
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice"})
		return err
	}
	banned := &bannedError{"tomorrow"}
	for _, test := range []struct {
		name string
		err  error
		set  func(error)
		call func() error
		want string // as reason returns it
	}{
		{"LiveCheck refuses", tokenauth.ErrRejected, func(err error) { live = err }, validate, "invalid"},
		{"LiveCheck fails", tokenauth.ErrThrottled, func(err error) { live = err }, validate, "unavailable"},
		{"Authenticate refuses", tokenauth.ErrRejected, func(err error) { users.err = err }, signIn, "rejected"},
		{"Authenticate fails", tokenauth.ErrInvalidToken, func(err error) { users.err = err }, signIn, "unavailable"},
		{"Recheck refuses", tokenauth.ErrRejected, func(err error) {
			users.look = func(context.Context, tokenauth.Principal) error { return err }
		}, signIn, "rejected"},
	} {
		test.set(fmt.Errorf("%w: %w: %w", test.err, errCause, banned))
		err := test.call()
		var found *bannedError
		if got := reason(err); got != test.want || !errors.Is(err, errCause) || !errors.As(err, &found) || found.until != "tomorrow" {
			t.Errorf("%s: got %q, want %q with the cause; error %v", test.name, got, test.want, err)
		}
		if !strings.Contains(err.Error(), "host: banned") {
			t.Errorf("%s: the error text lacks the cause: %v", test.name, err)
		}
		var response *tokenauth.ErrorResponse
		if errors.As(err, &response) {
			t.Errorf("%s: the error wraps an ErrorResponse: %v", test.name, response)
		}
		// A refusal without a cause is returned as the sentinel itself.
		test.set(test.err)
		if err := test.call(); test.err == tokenauth.ErrRejected && errors.Unwrap(err) != nil {
			t.Errorf("%s: a plain refusal is %#v, want the sentinel itself", test.name, err)
		}
		test.set(nil)
		users.look = nil
	}
}

// A host may serve an ErrorResponse of its own. An invalid status is answered
// with 500.
func TestErrorResponseWithInvalidStatusIs500(t *testing.T) {
	t.Parallel()
	for _, status := range []int{-1, 0, 99, 100, 199, 1000} {
		w := httptest.NewRecorder()
		(&tokenauth.ErrorResponse{Status: status, Code: "x"}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != http.StatusInternalServerError {
			t.Errorf("status %d: answered %d, want 500", status, w.Code)
		}
	}
}
