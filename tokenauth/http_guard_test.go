package tokenauth_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// whoHandler answers with the user name from the context, or "anonymous".
var whoHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	name := "anonymous"
	if token, ok := tokenauth.FromContext(r.Context()); ok {
		name = token.Principal.UserName
	}
	fmt.Fprint(w, name)
})

func serve(h http.Handler, r *http.Request) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		return fmt.Sprint(w.Code)
	}
	return w.Body.String()
}

// countFinds returns a storage, and the number of calls of its Find.
func countFinds() (*scripted, *int) {
	finds := new(int)
	return &scripted{before: func(_ context.Context, method string) error {
		if method == "Find" {
			*finds++
		}
		return nil
	}}, finds
}

// A batch is a handler that serves an inner request made from the outer one.
type batch struct {
	inner http.Handler
	part  func(outer *http.Request) *http.Request
}

func (b *batch) ServeHTTP(w http.ResponseWriter, r *http.Request) { b.inner.ServeHTTP(w, b.part(r)) }

// A handler may serve an inner request on the context of its own one. Guards
// authenticate the inner request by its own credentials.
func TestGuardsUseTheCredentialsOfEachRequest(t *testing.T) {
	t.Parallel()
	storage, finds := countFinds()
	auth := newService(t, storage, &staff{}, nil)
	other := newService(t, storage, &staff{}, &tokenauth.Options{Prefix: "other_"})
	admin := "Bearer " + issue(t, auth, tokenauth.Principal{UserID: "1", UserName: "admin", Roles: []string{"Staff"}}, "web")
	user := "Bearer " + issue(t, auth, bob(), "web")
	foreign := "Bearer " + issue(t, other, tokenauth.Principal{UserID: "9", UserName: "foreigner", Roles: []string{"Staff"}}, "web")
	mux := http.NewServeMux()
	mux.Handle("/me", auth.RequireBearer(whoHandler))
	mux.Handle("/staff", auth.RequireRole("Staff")(whoHandler))
	mux.Handle("/web", auth.RequireClient("web")(whoHandler))
	mux.Handle("/open", auth.Optional(whoHandler))
	mux.Handle("/other", other.RequireBearer(whoHandler))
	mux.Handle("/other/open", other.Optional(whoHandler))
	paths := []string{"/me", "/staff", "/web", "/open", "/other", "/other/open"}
	for _, test := range []struct {
		name, outer string
		part        []string // Authorization headers of the inner request
		want        [6]string
		finds       [6]int // look-ups for the inner request
	}{
		{"none", admin, nil, [...]string{"401", "401", "401", "anonymous", "401", "anonymous"}, [6]int{}},
		{"an empty header", admin, []string{""}, [...]string{"401", "401", "401", "anonymous", "401", "anonymous"}, [6]int{}},
		{"Basic", admin, []string{"Basic YTpi"}, [...]string{"401", "401", "401", "anonymous", "401", "anonymous"}, [6]int{}},
		{"a scheme without a token", admin, []string{"Bearer"}, [...]string{"401", "401", "401", "anonymous", "401", "anonymous"}, [6]int{}},
		{"an invalid token", admin, []string{"Bearer tat_x"}, [...]string{"401", "401", "401", "anonymous", "401", "anonymous"}, [6]int{}},
		{"the outer token twice", admin, []string{admin, admin}, [...]string{"400", "400", "400", "anonymous", "400", "anonymous"}, [6]int{}},
		{"another user's token", admin, []string{user}, [...]string{"bob", "403", "bob", "bob", "401", "anonymous"}, [...]int{1, 1, 1, 1, 0, 0}},
		{"the outer token", admin, []string{admin}, [...]string{"admin", "admin", "admin", "admin", "401", "anonymous"}, [6]int{}},
		{"the outer token, spelled differently", admin, []string{"bearer  " + admin[len("Bearer "):] + " "}, [...]string{"admin", "admin", "admin", "admin", "401", "anonymous"}, [6]int{}},
		{"another Service's", admin, []string{foreign}, [...]string{"401", "401", "401", "anonymous", "foreigner", "foreigner"}, [...]int{0, 0, 0, 0, 1, 1}},
		{"a token in an anonymous request", "", []string{admin}, [...]string{"admin", "admin", "admin", "admin", "401", "anonymous"}, [...]int{1, 1, 1, 1, 0, 0}},
		{"a token in a request with an invalid one", "Bearer tat_x", []string{admin}, [...]string{"admin", "admin", "admin", "admin", "401", "anonymous"}, [...]int{1, 1, 1, 1, 0, 0}},
		{"none in an anonymous request", "", nil, [...]string{"401", "401", "401", "anonymous", "401", "anonymous"}, [6]int{}},
	} {
		for name, part := range map[string]func(outer *http.Request, path string) *http.Request{
			"a new request": func(outer *http.Request, path string) *http.Request {
				r, err := http.NewRequestWithContext(outer.Context(), "GET", path, nil)
				if err != nil {
					t.Fatal(err)
				}
				return r
			},
			"a clone": func(outer *http.Request, path string) *http.Request {
				r := outer.Clone(outer.Context())
				r.URL.Path = path
				return r
			},
			"the same request, changed": func(outer *http.Request, path string) *http.Request {
				outer.URL.Path = path
				return outer
			},
		} {
			for i, path := range paths {
				outer := httptest.NewRequest("POST", "/batch", nil)
				if test.outer != "" {
					outer.Header.Set("Authorization", test.outer)
				}
				before := 0
				handler := auth.Optional(auth.Optional(&batch{mux, func(outer *http.Request) *http.Request {
					r := part(outer, path)
					if delete(r.Header, "Authorization"); test.part != nil {
						r.Header["Authorization"] = test.part
					}
					before = *finds
					return r
				}}))
				got := serve(handler, outer)
				lookups := test.finds[i]
				if got == "admin" && name != "the same request, changed" {
					lookups = 1 // a new request needs a look-up: the token may have ended since
				}
				if got != test.want[i] || *finds-before != lookups {
					t.Errorf("%s with %s: %s answered %s after %d look-ups, want %s after %d", name, test.name, path, got, *finds-before, test.want[i], lookups)
				}
			}
		}
	}
}

// In three nested requests each one is authenticated by its own token.
func TestGuardsUseTheInnermostRequest(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(scripted), &staff{}, nil)
	lines := []string{"Bearer " + issue(t, auth, alice(), ""), "Bearer " + issue(t, auth, bob(), ""), ""}
	for _, a := range lines {
		for _, b := range lines {
			for _, c := range lines {
				handler := auth.Optional(whoHandler)
				for _, line := range []string{c, b} {
					inner := handler
					handler = auth.Optional(&batch{inner, func(outer *http.Request) *http.Request {
						r := httptest.NewRequest("GET", "/", nil).WithContext(outer.Context())
						r.Header.Set("Authorization", line)
						return r
					}})
				}
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("Authorization", a)
				if want, got := [...]string{"alice", "bob", "anonymous"}[slices.Index(lines, c)], serve(handler, r); got != want {
					t.Errorf("tokens %d, %d, %d: the innermost request has the user %s, want %s", slices.Index(lines, a), slices.Index(lines, b), slices.Index(lines, c), got, want)
				}
			}
		}
	}
}

type contextKey struct{}

// betweenGuards are changes that routers and middleware make to a request.
var betweenGuards = map[string]func(http.Handler) http.Handler{
	"nothing": func(next http.Handler) http.Handler { return next },
	"http.StripPrefix": func(next http.Handler) http.Handler {
		return http.StripPrefix("/api", next)
	},
	"http.ServeMux": func(next http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("/api/{id}", next)
		return mux
	},
	"WithContext": func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, true)))
		})
	},
	"WithoutCancel": func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
		})
	},
	"Clone": func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, r.Clone(r.Context())) })
	},
}

func TestNestedGuardsLookUpOnce(t *testing.T) {
	t.Parallel()
	for name, between := range betweenGuards {
		storage, finds := countFinds()
		old := new(oldTokens)
		auth := newService(t, storage, &staff{}, &tokenauth.Options{Fallback: old.authenticate})
		other := newService(t, storage, &staff{}, &tokenauth.Options{Prefix: "other_"})
		accessToken := issue(t, auth, alice(), "")
		guards := map[string]http.Handler{
			"Bearer, Role":           auth.RequireBearer(between(auth.RequireRole("Staff")(whoHandler))),
			"Optional, Role":         auth.Optional(between(auth.RequireRole("Staff")(whoHandler))),
			"Role, Optional":         auth.RequireRole("Staff")(between(auth.Optional(whoHandler))),
			"Bearer, other's, Role":  auth.RequireBearer(between(other.Optional(auth.RequireRole("Staff")(whoHandler)))),
			"four":                   auth.RequireBearer(auth.Optional(between(auth.RequireRole("Staff")(auth.Optional(whoHandler))))),
			"other's, Bearer, Role":  other.Optional(auth.RequireBearer(between(auth.RequireRole("Staff")(whoHandler)))),
			"Bearer, other's, twice": auth.RequireBearer(other.Optional(between(auth.Optional(other.Optional(auth.RequireBearer(whoHandler)))))),
		}
		for guarded, h := range guards {
			for sent, request := range map[string]func(*http.Request){
				"a token":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+accessToken) },
				"an old token": func(r *http.Request) { r.Header.Set("Authorization", "Bearer old.one.good") },
				"with a body":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer old.one.good"); r.Method = "POST" },
			} {
				r := httptest.NewRequest("GET", "/api/me?x=y", strings.NewReader("text"))
				request(r)
				findsBefore, askedBefore, lookups := *finds, old.asked, 1
				if name == "Clone" {
					lookups = 2 // a guard cannot know that a clone is the same request
				}
				if got := serve(h, r); got != "alice" || *finds+old.asked != findsBefore+askedBefore+lookups {
					t.Errorf("%s between %s, with %s: got %s after %d look-ups and %d calls of Fallback", name, guarded, sent, got, *finds-findsBefore, old.asked-askedBefore)
				}
			}
		}
	}
}

// A handler may keep the context of its request for a long time. Each inner
// request that it serves on this context needs a token that is still valid.
func TestInnerRequestIsRefusedOnceTheTokenEnded(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Now: func() time.Time { return now }})
	for name, end := range map[string]func(accessToken string){
		"revoked":      func(accessToken string) { auth.Revoke(t.Context(), accessToken) },
		"user revoked": func(string) { auth.RevokeUser(t.Context(), "17") },
		"replaced":     func(string) { issue(t, auth, alice(), "") },
		"expired":      func(string) { now = now.Add(15 * 24 * time.Hour) },
	} {
		accessToken := issue(t, auth, alice(), "")
		outer := httptest.NewRequest("GET", "/stream", nil)
		outer.Header.Set("Authorization", "Bearer "+accessToken)
		handler := auth.RequireBearer(&batch{auth.RequireBearer(whoHandler), func(outer *http.Request) *http.Request {
			part := httptest.NewRequestWithContext(outer.Context(), "GET", "/me", nil)
			part.Header.Set("Authorization", outer.Header.Get("Authorization"))
			end(accessToken)
			return part
		}})
		if got := serve(handler, outer); got != "401" {
			t.Errorf("%s: the inner request is answered with %s, want 401", name, got)
		}
	}
}

// A Fallback may decide by any part of a request. So it is called again for an
// inner request that differs from the one it accepted.
func TestFallbackIsAskedAgainForAnotherRequest(t *testing.T) {
	t.Parallel()
	body := io.NopCloser(strings.NewReader("text"))
	for name, change := range map[string]func(*http.Request){
		"no cookie":              func(r *http.Request) { r.Header.Del("Cookie") },
		"another cookie":         func(r *http.Request) { r.Header.Set("Cookie", "session=7") },
		"a cookie changed":       func(r *http.Request) { r.Header["Cookie"][0] = "session=7" },
		"a second cookie":        func(r *http.Request) { r.Header.Add("Cookie", "session=7") },
		"another header":         func(r *http.Request) { r.Header.Set("X-Api-Key", "7") },
		"an old token":           func(r *http.Request) { r.Header.Set("Authorization", "Bearer old.one.7") },
		"another scheme":         func(r *http.Request) { r.Header.Set("Authorization", "Negotiate 7") },
		"another method":         func(r *http.Request) { r.Method = "DELETE" },
		"another query":          func(r *http.Request) { r.URL.RawQuery = "key=7" },
		"another path":           func(r *http.Request) { r.URL.Path = "/staff" },
		"another URI":            func(r *http.Request) { r.RequestURI = "/staff" },
		"another host":           func(r *http.Request) { r.Host = "other.example.com" },
		"another peer":           func(r *http.Request) { r.RemoteAddr = "192.0.2.7:1" },
		"another connection":     func(r *http.Request) { r.TLS = new(tls.ConnectionState) },
		"another body":           func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("text")) },
		"no body":                func(r *http.Request) { r.Body = nil },
		"another length":         func(r *http.Request) { r.ContentLength++ },
		"a body of another type": func(r *http.Request) { r.Body = oddBody{nil, r.Body} },
		"the same body, wrapped": func(r *http.Request) { r.Body = http.MaxBytesReader(nil, r.Body, 9) },
	} {
		for _, cloned := range []bool{false, true} {
			asked, known := 0, true
			auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Fallback: func(*http.Request) (tokenauth.Principal, error) {
				if asked++; known {
					return alice(), nil
				}
				return tokenauth.Principal{}, tokenauth.ErrRejected
			}})
			r := httptest.NewRequest("POST", "/api/batch", body)
			r.Header.Set("Cookie", "session=42")
			handler := auth.RequireBearer(&batch{auth.Optional(whoHandler), func(r *http.Request) *http.Request {
				if cloned {
					r = r.Clone(r.Context())
				}
				change(r)
				known = false
				return r
			}})
			if got := serve(handler, r); got != "anonymous" || asked != 2 {
				t.Errorf("%s, cloned %v: got %s after %d calls of Fallback, want anonymous after 2", name, cloned, got, asked)
			}
		}
	}
}

// An oddBody has a type whose values cannot be compared.
type oddBody struct {
	_ []byte
	io.ReadCloser
}

// A body that cannot be compared counts as a different one, so Fallback is
// called again.
func TestFallbackAcceptsBodiesOfAnyType(t *testing.T) {
	t.Parallel()
	asked := 0
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Fallback: func(*http.Request) (tokenauth.Principal, error) {
		asked++
		return alice(), nil
	}})
	r := httptest.NewRequest("POST", "/", nil)
	r.Body = oddBody{nil, io.NopCloser(bytes.NewReader(nil))}
	if got := serve(auth.RequireBearer(auth.RequireRole("Staff")(whoHandler)), r); got != "alice" || asked != 2 {
		t.Errorf("got %s after %d calls of Fallback, want alice after 2", got, asked)
	}
}

// An inner request with the Service's own token does not use the result of
// Fallback for the outer one, and vice versa.
func TestOwnTokenAndFallbackAreNotMixedUp(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(scripted), &staff{}, &tokenauth.Options{Fallback: new(oldTokens).authenticate})
	own, old := "Bearer "+issue(t, auth, bob(), ""), "Bearer old.one.good"
	for _, test := range []struct{ outer, part, want string }{
		{own, old, "alice"}, {old, own, "bob"}, {own, "", "401"}, {old, "", "401"}, {own, "Bearer old.one.bad", "401"}, {old, "Bearer tat_x", "401"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", test.outer)
		handler := auth.RequireBearer(&batch{auth.RequireBearer(whoHandler), func(outer *http.Request) *http.Request {
			r := outer.Clone(outer.Context())
			r.Header.Set("Authorization", test.part)
			return r
		}})
		if got := serve(handler, r); got != test.want {
			t.Errorf("%q on the context of %q: got %s, want %s", test.part, test.outer, got, test.want)
		}
	}
}
