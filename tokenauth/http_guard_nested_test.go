package tokenauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// An outageKey is the key of an error in a context, with which the storage fails.
type outageKey struct{}

// A guardedHost counts what its guards do: calls of the storage and of Fallback,
// events, and log records.
type guardedHost struct {
	*tokenauth.Service
	finds  *int
	old    *oldTokens
	events *eventRecorder
	log    *bytes.Buffer
	now    time.Time

	valid, expired, replaced string // Authorization headers
}

func newGuardedHost(t *testing.T, fallback bool) *guardedHost {
	storage, finds := countFinds()
	count := storage.before
	storage.before = func(ctx context.Context, method string) error {
		if failure, ok := ctx.Value(outageKey{}).(error); ok {
			*finds++
			return failure
		}
		return count(ctx, method)
	}
	h := &guardedHost{finds: finds, old: new(oldTokens), events: new(eventRecorder), log: new(bytes.Buffer), now: time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)}
	o := &tokenauth.Options{
		Now:       func() time.Time { return h.now },
		Observers: []func(context.Context, tokenauth.Event){h.events.Observe},
		Logger:    slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if fallback {
		o.Fallback = h.old.authenticate
	}
	h.Service = newService(t, storage, &staff{}, o)
	h.expired = "Bearer " + issue(t, h.Service, alice(), "expired")
	h.now = h.now.AddDate(1, 0, 0)
	h.replaced = "Bearer " + issue(t, h.Service, alice(), "")
	h.valid = "Bearer " + issue(t, h.Service, alice(), "")
	h.restart()
	return h
}

func (h *guardedHost) restart() {
	h.events.drain()
	h.log.Reset()
	*h.finds, h.old.asked = 0, 0
}

// An outcome has the response to a request, and counts the calls of the guards.
type outcome struct {
	status       int
	header       http.Header
	body         string
	events       []string
	finds, asked int
	records      int // in the log, of refusals and failures
}

func (h *guardedHost) serve(handler http.Handler, r *http.Request) outcome {
	h.restart()
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return outcome{w.Code, w.Header(), w.Body.String(), h.events.drain(), *h.finds, h.old.asked, strings.Count(h.log.String(), "\n")}
}

// Several guards in front of a handler do what the last one does alone: they ask
// the storage and Fallback once, and report the result once. The response is the
// same, too.
func TestGuardsValidateAndReportOnce(t *testing.T) {
	t.Parallel()
	optional := tokenauth.Requirement{Optional: true}
	for name, authorization := range map[string]func(h *guardedHost) []string{
		"none":                               func(h *guardedHost) []string { return nil },
		"an empty token":                     func(h *guardedHost) []string { return []string{"Bearer "} },
		"another scheme":                     func(h *guardedHost) []string { return []string{"Basic YTpi"} },
		"a valid token":                      func(h *guardedHost) []string { return []string{h.valid} },
		"garbage":                            func(h *guardedHost) []string { return []string{"Bearer tat_garbage"} },
		"an unknown token":                   func(h *guardedHost) []string { return []string{unknownToken(t)} },
		"an expired token":                   func(h *guardedHost) []string { return []string{h.expired} },
		"a replaced token":                   func(h *guardedHost) []string { return []string{h.replaced} },
		"two tokens":                         func(h *guardedHost) []string { return []string{h.valid, h.valid} },
		"a malformed value":                  func(h *guardedHost) []string { return []string{h.valid + ", x"} },
		"an old token":                       func(h *guardedHost) []string { return []string{"Bearer old.one.good"} },
		"a bad old token":                    func(h *guardedHost) []string { return []string{"Bearer old.one.bad"} },
		"an old token while Fallback fails":  func(h *guardedHost) []string { return []string{"Bearer old.one.ill"} },
		"an old token while Fallback panics": func(h *guardedHost) []string { return []string{"Bearer old.one.panics"} },
	} {
		for _, fallback := range []bool{false, true} {
			for _, down := range []bool{false, true} {
				h := newGuardedHost(t, fallback)
				request := func() *http.Request {
					r := httptest.NewRequest("GET", "/", nil)
					r.Header["Authorization"] = authorization(h)
					if down {
						r = r.WithContext(context.WithValue(r.Context(), outageKey{}, errors.New("the storage is down")))
					}
					return r
				}
				for last, q := range map[string]tokenauth.Requirement{"RequireBearer": {}, "RequireRole": {Roles: []string{"Admin"}}, "Guests": {Guests: true}, "Optional": optional} {
					alone := q.Guard(h.Service)(whoHandler)
					want := h.serve(alone, request())
					chains := map[string]http.Handler{
						"Optional":                  optional.Guard(h.Service)(alone),
						"Optional twice":            optional.Guard(h.Service)(optional.Guard(h.Service)(alone)),
						"Optional, changed context": optional.Guard(h.Service)(betweenGuards["WithContext"](alone)),
					}
					// Guests refuses a bad token itself, as the guards behind it do.
					if last != "Optional" {
						chains["Guests"] = tokenauth.Requirement{Guests: true}.Guard(h.Service)(alone)
						chains["Optional, Guests"] = optional.Guard(h.Service)(chains["Guests"])
					}
					for first, handler := range chains {
						if got := h.serve(handler, request()); !reflect.DeepEqual(got, want) {
							t.Errorf("%s, Fallback %v, storage down %v: %s in front of %s gives\n%+v, want what %s alone gives:\n%+v", name, fallback, down, first, last, got, last, want)
						}
					}
				}
			}
		}
	}
}

// unknownToken returns an Authorization header with a token of another storage.
func unknownToken(t *testing.T) string {
	return "Bearer " + issue(t, newService(t, new(scripted), nil, nil), bob(), "")
}

// A guard uses the refusal of an earlier one only for the same request with the
// same credentials.
func TestRefusalIsNotReusedForOtherCredentials(t *testing.T) {
	t.Parallel()
	h := newGuardedHost(t, true)
	const withoutFallback = "without Fallback: "
	unknown, other := unknownToken(t), unknownToken(t)
	authorization := func(lines ...string) func(*http.Request) *http.Request {
		return func(r *http.Request) *http.Request {
			r.Header["Authorization"] = lines
			return r
		}
	}
	for _, test := range []struct {
		name, outer  string
		change       func(*http.Request) *http.Request
		status       int
		finds, asked int // of both guards
		events       []string
	}{
		{"unchanged", unknown, authorization(unknown), 401, 1, 0, []string{"refused invalid"}},
		{"another spelling", unknown, authorization("bearer   " + unknown[len("Bearer "):]), 401, 1, 0, []string{"refused invalid"}},
		{"a new request with the context", unknown, func(r *http.Request) *http.Request {
			return authorization(unknown)(httptest.NewRequestWithContext(r.Context(), "GET", "/", nil))
		}, 401, 2, 0, []string{"refused invalid", "refused invalid"}},
		{"a clone", unknown, func(r *http.Request) *http.Request { return r.Clone(r.Context()) }, 401, 2, 0, []string{"refused invalid", "refused invalid"}},
		{"a valid token", unknown, authorization(h.valid), 200, 2, 0, []string{"refused invalid", "validated 17 alice"}},
		{"another unknown token", unknown, authorization(other), 401, 2, 0, []string{"refused invalid", "refused invalid"}},
		{"the line changed in place", unknown, func(r *http.Request) *http.Request {
			r.Header["Authorization"][0] = h.valid
			return r
		}, 200, 2, 0, []string{"refused invalid", "validated 17 alice"}},
		{"two tokens", unknown, authorization(unknown, unknown), 400, 1, 0, []string{"refused invalid", "refused malformed"}},
		{"no token", unknown, authorization(), 401, 1, 1, []string{"refused invalid", "refused no_credentials"}},
		{"an old token", unknown, authorization("Bearer old.one.good"), 200, 1, 1, []string{"refused invalid", "validated fallback 17 alice"}},
		{"malformed, then none", "Bearer a b", authorization(), 401, 0, 1, []string{"refused malformed", "refused no_credentials"}},
		{"malformed, then valid", "Bearer a b", authorization(h.valid), 200, 1, 0, []string{"refused malformed", "validated 17 alice"}},
		{"malformed, then malformed in another way", "Bearer a b", authorization("Bearer a", "Bearer b"), 400, 0, 0, []string{"refused malformed"}},
		{"a bad old token, then a valid one", "Bearer old.one.bad", authorization("Bearer old.one.good"), 200, 0, 2, []string{"refused invalid", "validated fallback 17 alice"}},
		{"a bad old token with another header", "Bearer old.one.bad", func(r *http.Request) *http.Request {
			r.Header.Set("X-Tenant", "7")
			return r
		}, 401, 0, 2, []string{"refused invalid", "refused invalid"}},
		{"a bad old token with another method", "Bearer old.one.bad", func(r *http.Request) *http.Request {
			r.Method = "DELETE"
			return r
		}, 401, 0, 2, []string{"refused invalid", "refused invalid"}},
		{"a bad old token, then an unknown one", "Bearer old.one.bad", authorization(unknown), 401, 1, 1, []string{"refused invalid", "refused invalid"}},
		{"none, then a cookie", "", func(r *http.Request) *http.Request {
			r.AddCookie(&http.Cookie{Name: "session", Value: "42"})
			return r
		}, 200, 0, 2, []string{"validated fallback 18 bob"}},
		{withoutFallback + "malformed, then none", "Bearer a b", authorization(), 401, 0, 0, []string{"refused malformed", "refused no_credentials"}},
		{withoutFallback + "an unknown token, then none", unknown, authorization(), 401, 1, 0, []string{"refused invalid", "refused no_credentials"}},
	} {
		h := h
		if strings.HasPrefix(test.name, withoutFallback) {
			h = newGuardedHost(t, false)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = []string{test.outer}
		handler := h.Optional(&batch{h.RequireBearer(whoHandler), test.change})
		if got := h.serve(handler, r); got.status != test.status || got.finds != test.finds || got.asked != test.asked || !reflect.DeepEqual(got.events, test.events) {
			t.Errorf("%s: got %d with %d look-ups, %d calls of Fallback and the events %q, want %d, %d, %d, %q", test.name,
				got.status, got.finds, got.asked, got.events, test.status, test.finds, test.asked, test.events)
		}
	}
}

// A guard reuses neither the refusal nor the token of another Service, even if
// both have the same prefix. Between its own guards there may be guards of others.
func TestServicesDecideOnTheirOwn(t *testing.T) {
	t.Parallel()
	a, b := newGuardedHost(t, false), newGuardedHost(t, false)
	for _, test := range []struct {
		name, authorization string
		handler             http.Handler
		body                string
		findsA, findsB      int
		eventsA, eventsB    []string
	}{
		{"b's token, a inside b", b.valid, b.RequireBearer(a.RequireBearer(whoHandler)), "401", 1, 1, []string{"refused invalid"}, []string{"validated 17 alice"}},
		{"b's token, b inside optional a", b.valid, a.Optional(b.RequireBearer(whoHandler)), "alice", 1, 1, []string{"refused invalid"}, []string{"validated 17 alice"}},
		{"b's token, a, b, a", b.valid, a.Optional(b.RequireBearer(a.RequireBearer(whoHandler))), "401", 1, 1, []string{"refused invalid"}, []string{"validated 17 alice"}},
		{"b's token, a, b, optional a", b.valid, a.Optional(b.RequireBearer(a.Optional(whoHandler))), "anonymous", 1, 1, []string{"refused invalid"}, []string{"validated 17 alice"}},
		{"b's token, a, b, a, b", b.valid, a.Optional(b.Optional(a.Optional(b.RequireBearer(whoHandler)))), "alice", 1, 1, []string{"refused invalid"}, []string{"validated 17 alice"}},
		{"a's token, b, a, b, a", a.valid, b.Optional(a.RequireBearer(b.Optional(a.RequireRole("Staff")(whoHandler)))), "alice", 1, 1, []string{"validated 17 alice"}, []string{"refused invalid"}},
		{"a malformed one, a, b, a", "Bearer x y", a.Optional(b.Optional(a.RequireBearer(whoHandler))), "400", 0, 0, []string{"refused malformed"}, []string{"refused malformed"}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", test.authorization)
		b.restart()
		got := a.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(serve(test.handler, r))) }), r)
		findsB, eventsB := *b.finds, b.events.drain()
		if got.body != test.body || got.finds != test.findsA || findsB != test.findsB || !reflect.DeepEqual(got.events, test.eventsA) || !reflect.DeepEqual(eventsB, test.eventsB) {
			t.Errorf("%s: got %s; a: %d look-ups, %q; b: %d look-ups, %q; want %s; %d, %q; %d, %q", test.name, got.body, got.finds, got.events, findsB, eventsB,
				test.body, test.findsA, test.eventsA, test.findsB, test.eventsB)
		}
	}
}

// RenderError may change the response that it gets. That does not change the
// response for another request with the same context.
func TestRefusalIsNotShared(t *testing.T) {
	t.Parallel()
	authorize := newGuardedHost(t, false).Authorizer
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer tat_garbage")
	anonymous, refusal := authorize(tokenauth.Requirement{Optional: true})(r)
	if refusal != nil {
		t.Fatal(refusal)
	}
	for range 2 {
		_, refusal = authorize(tokenauth.Requirement{})(anonymous)
		if refusal == nil || refusal.Status != 401 || refusal.Code != "invalid_token" || !errors.Is(refusal, tokenauth.ErrInvalidToken) {
			t.Fatalf("got the refusal %v, want 401 invalid_token", refusal)
		}
		refusal.Status, refusal.Code = 200, ""
	}
}

// A Requirement that contradicts itself panics when the host builds its routes.
func TestContradictoryRequirementsPanic(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(scripted), nil, nil)
	for _, q := range []tokenauth.Requirement{
		{Guests: true, Optional: true},
		{Guests: true, Roles: []string{"Staff"}},
		{Guests: true, Clients: []string{"web"}},
		{Optional: true, Roles: []string{"Staff"}},
		{Optional: true, Clients: []string{"web"}},
	} {
		func() {
			defer func() {
				if p := recover(); !strings.Contains(fmt.Sprint(p), "must not be combined") {
					t.Errorf("%+v: panicked with %v, want the fields that must not be combined", q, p)
				}
			}()
			q.Guard(auth)
		}()
	}
}
