package abuse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// cacheHost returns a host whose handlers answer with the name of the user, and
// the access token of a reader. The handlers call set first, if it is not nil.
func cacheHost(t *testing.T, on engine, s tokenauth.Storage, set http.HandlerFunc) (h *abuseHost, accessToken string) {
	t.Helper()
	h = on.host(t, s, directory{}, tokenauth.Options{}, func(w http.ResponseWriter, r *http.Request) {
		if set != nil {
			set(w, r)
		}
		token, _ := tokenauth.FromContext(r.Context())
		io.WriteString(w, "for "+token.Principal.UserName)
	})
	issued, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: "17", UserName: "alice", Roles: []string{"Reader"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return h, issued.AccessToken.Reveal()
}

// behindCache puts an nginx in front of the host. It caches for a minute every
// response that the headers allow it to store.
func behindCache(t *testing.T, h *abuseHost) {
	t.Helper()
	h.url = throwaway.Nginx(t, `location / {
		proxy_pass `+h.url+`;
		proxy_cache shared;
		proxy_cache_valid any 1m;
		add_header X-Cache $upstream_cache_status always;
	}`, `proxy_cache_path cache keys_zone=shared:1m;`)
}

// A shared cache must not give one user the response to another, even if it
// stores all that the headers allow.
func TestSharedCacheKeepsUsersApart(t *testing.T) {
	t.Parallel()
	onEngines(func(t *testing.T, on engine) {
		h, accessToken := cacheHost(t, on, new(memory.Store), nil)
		behindCache(t, h)
		for _, test := range []struct {
			path, authorization, want string
		}{
			{"/me", "Bearer " + accessToken, "200 for alice MISS"},
			{"/me", "", "401 {\"Message\":\"Authorization has been denied for this request.\"} MISS"},
			{"/me", "Bearer " + accessToken, "200 for alice MISS"},
			{"/staff", "Bearer " + accessToken, "403 {\"error\":\"insufficient_scope\",\"error_description\":\"The user does not have the role that this needs.\",\"Message\":\"Authorization has been denied for this request.\"} MISS"},
			{"/staff", "", "401 {\"Message\":\"Authorization has been denied for this request.\"} MISS"},
			// Responses to anonymous requests may be cached for everyone.
			{"/open", "", "200 for  MISS"},
			{"/open", "", "200 for  HIT"},
			{"/open", "Bearer " + accessToken, "200 for alice MISS"},
			{"/open", "Bearer " + accessToken, "200 for alice MISS"},
			{"/open", "", "200 for  HIT"},
		} {
			var header []string
			if test.authorization != "" {
				header = []string{"Authorization", test.authorization}
			}
			a := h.do(t, "GET", test.path, "", header...)
			if got := fmt.Sprintln(a.StatusCode, a.body, a.Header.Get("X-Cache")); got != test.want+"\n" {
				t.Errorf("GET %s with Authorization %q: got %s, want %s", test.path, test.authorization, got, test.want)
			}
		}
	})(t)
}

// nginx before 1.23 reads only the last Vary header. So the guard must keep the
// names that earlier middleware added, such as Origin for CORS.
func TestSharedCacheKeepsOriginsApart(t *testing.T) {
	t.Parallel()
	onEngines(func(t *testing.T, on engine) {
		h, accessToken := cacheHost(t, on, new(memory.Store), nil)
		inner := h.handler
		h.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Add("Vary", "Origin")
			w.Header().Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
			inner.ServeHTTP(w, r)
		})
		behindCache(t, h)
		for _, test := range []struct{ origin, accessToken, want string }{
			{"https://a.example", "", "for  MISS"},
			{"https://b.example", "", "for  MISS"},
			{"https://b.example", accessToken, "for alice MISS"},
			{"https://b.example", "", "for  HIT"},
		} {
			header := []string{"Origin", test.origin}
			if test.accessToken != "" {
				header = append(header, "Authorization", "Bearer "+test.accessToken)
			}
			a := h.do(t, "GET", "/open", "", header...)
			if got := a.body + " " + a.Header.Get("X-Cache"); got != test.want || a.Header.Get("Access-Control-Allow-Origin") != test.origin {
				t.Errorf("request %+v: got %s, allowed origin %s", test, got, a.Header.Get("Access-Control-Allow-Origin"))
			}
		}
	})(t)
}

// A handler may change the values of its headers in place. Other responses must
// not change.
func TestResponsesShareNoHeaders(t *testing.T) {
	t.Parallel()
	onEngines(func(t *testing.T, on engine) {
		h, accessToken := cacheHost(t, on, new(memory.Store), func(w http.ResponseWriter, r *http.Request) {
			for _, lines := range w.Header() {
				for i := range lines {
					lines[i] += r.URL.RawQuery
				}
			}
		})
		for range 2 {
			for path, accessToken := range map[string]string{"/me": accessToken, "/open": ""} {
				var header []string
				if accessToken != "" {
					header = []string{"Authorization", "Bearer " + accessToken}
				}
				a := h.do(t, "GET", path+"?-changed", "", header...)
				if got := a.Header.Get("Vary") + a.Header.Get("Cache-Control"); got != "Authorization-changed" && got != "Authorization-changedprivate-changed" {
					t.Errorf("GET %s: Vary and Cache-Control are %q, want those of the guard changed once", path, got)
				}
			}
		}
	})(t)
}

// The handler can replace the cache headers of the guard. The guard keeps those
// that were set in front of it.
func TestCacheHeadersOfHostAreKept(t *testing.T) {
	t.Parallel()
	onEngines(func(t *testing.T, on engine) {
		var down atomic.Bool
		s := &meddler{before: func(context.Context, string) error {
			if down.Load() {
				return errors.New("the storage fails")
			}
			return nil
		}}
		h, accessToken := cacheHost(t, on, s, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.RawQuery {
			case "set":
				w.Header().Set("Cache-Control", "public, max-age=60")
			case "add":
				w.Header().Add("Cache-Control", "max-age=60")
				w.Header().Add("Vary", "Origin")
			case "error": // http.ServeContent deletes the header
				r.Header.Set("Range", "bytes=9-")
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader("all"))
			}
		})
		inner := h.handler
		h.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for _, line := range r.Header["X-Front"] {
				name, value, _ := strings.Cut(line, ": ")
				w.Header().Add(name, value)
			}
			inner.ServeHTTP(w, r)
		})
		for _, test := range []struct {
			path, accessToken, query string
			front                    []string
			cacheControl, vary       []string
		}{
			{path: "/me", accessToken: accessToken, cacheControl: []string{"private"}, vary: []string{"Authorization"}},
			{path: "/me", accessToken: accessToken, query: "set", cacheControl: []string{"public, max-age=60"}, vary: []string{"Authorization"}},
			{path: "/me", accessToken: accessToken, query: "add", cacheControl: []string{"private", "max-age=60"}, vary: []string{"Authorization", "Origin"}},
			{path: "/me", accessToken: accessToken, query: "error", vary: []string{"Authorization"}},
			{path: "/me", accessToken: accessToken, front: []string{"Cache-Control: no-cache", "Vary: Origin"}, cacheControl: []string{"no-cache"}, vary: []string{"Origin, Authorization"}},
			{path: "/me", accessToken: accessToken, front: []string{"Vary: Origin, authorization"}, cacheControl: []string{"private"}, vary: []string{"Origin, authorization"}},
			{path: "/open", front: []string{"Vary: Origin", "Vary: Accept-Encoding, Accept"}, vary: []string{"Origin, Accept-Encoding, Accept, Authorization"}},
			{path: "/me", accessToken: accessToken, front: []string{"Vary: *"}, cacheControl: []string{"private"}, vary: []string{"*"}},
			{path: "/open", accessToken: accessToken, cacheControl: []string{"private"}, vary: []string{"Authorization"}},
			{path: "/open", vary: []string{"Authorization"}},
			{path: "/open", accessToken: "bad", vary: []string{"Authorization"}},
			{path: "/open", front: []string{"Cache-Control: max-age=60"}, cacheControl: []string{"max-age=60"}, vary: []string{"Authorization"}},
			{path: "/me", cacheControl: []string{"no-store"}, vary: []string{"Authorization"}},
			{path: "/me", accessToken: "bad", front: []string{"Cache-Control: public", "Vary: Origin"}, cacheControl: []string{"no-store"}, vary: []string{"Origin, Authorization"}},
			{path: "/admin", accessToken: accessToken, cacheControl: []string{"no-store"}, vary: []string{"Authorization"}},
			{path: "/app", accessToken: accessToken, cacheControl: []string{"no-store"}, vary: []string{"Authorization"}},
			{path: "/me", accessToken: "a b", cacheControl: []string{"no-store"}, vary: []string{"Authorization"}},
			{path: "/Token", cacheControl: []string{"no-store"}},
			// The storage fails for these requests.
			{path: "/me", accessToken: accessToken, query: "down", cacheControl: []string{"no-store"}, vary: []string{"Authorization"}},
			{path: "/open", accessToken: accessToken, query: "down", cacheControl: []string{"no-store"}, vary: []string{"Authorization"}},
		} {
			down.Store(test.query == "down")
			var header []string
			if test.accessToken != "" {
				header = append(header, "Authorization", "Bearer "+test.accessToken)
			}
			for _, line := range test.front {
				header = append(header, "X-Front", line)
			}
			a := h.do(t, "GET", test.path+"?"+test.query, "", header...)
			if got := a.Header["Cache-Control"]; !slices.Equal(got, test.cacheControl) {
				t.Errorf("request %+v: Cache-Control is %q", test, got)
			}
			if got := a.Header["Vary"]; !slices.Equal(got, test.vary) {
				t.Errorf("request %+v: Vary is %q", test, got)
			}
		}
	})(t)
}
