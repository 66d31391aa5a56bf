package tokenauth_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// large is the maximum size of request headers that net/http accepts by
// default.
const large = 1 << 20

// fill repeats a text up to a size in bytes.
func fill(text string, size int) string { return strings.Repeat(text, size/len(text)) }

// largeRequests have one part with a size that the test sets.
var largeRequests = []struct {
	name   string
	path   string
	part   func(r *http.Request, size int)
	status int // of the large request
}{
	{"query of names", "/Token", query("a&"), 400},
	{"query of names that need decoding", "/Token", query("%61+&"), 400},
	{"query of separators", "/Token", query("&"), 400},
	{"query of one value", "/Token", query("x=xxxxxxxxxxxxxx"), 400},
	{"query of revocation", "/revoke", query("a;"), 400},
	{"query of introspection", "/introspect", query("a;"), 400},
	{"query of a protected route", "/me", query("%61cces%73&access_tokens=x;"), 401},
	{"Basic that is UTF-8", "/Token", userOf(basicOf("a:")), 400},
	{"Basic that is ISO-8859-1", "/Token", userOf(basicOf("\xe4:")), 400},
	{"Basic, with the user in the body", "/Token", basicOf("a:"), 200},
	{"Basic of revocation", "/revoke", basicOf("a:"), 200},
	{"Basic of a client", "/introspect", basicOf("a:"), 400},
	{"Basic of a protected route", "/me", basicOf("a:"), 401},
	{"another scheme", "/Token", header("Authorization", "Bearer ", "x y,"), 200},
	{"bearer", "/me", header("Authorization", "Bearer ", "x"), 401},
	{"spaces before a bearer", "/me", header("Authorization", "Bearer x", " "), 401},
	{"bearer with separators", "/me", header("Authorization", "Bearer ", "x,"), 400},
	{"Content-Type", "/Token", func(r *http.Request, size int) {
		label := []byte("text/plain")
		for i := 0; len(label) < size; i++ {
			label = fmt.Appendf(label, ";a%d=b;c*%d=d", i, i)
		}
		r.Header.Set("Content-Type", string(label))
	}, 200},
	{"Content-Type of multipart", "/Token", header("Content-Type", "multipart/form-data;boundary=", "x"), 200},
	{"forwarded addresses", "/Token", header("X-Forwarded-For", "10.0.0.1", ",10.0.0.1"), 200},
	{"forwarded commas", "/Token", header("X-Forwarded-For", "", ","), 200},
	{"invalid forwarded addresses", "/Token", header("X-Forwarded-For", "", "fe80::%"), 200},
	{"forwarded lines", "/Token", func(r *http.Request, size int) {
		for range size / 100 {
			r.Header.Add("X-Forwarded-For", "10.0.0.1")
		}
	}, 200},
	{"forwarded addresses of a protected route", "/me", header("X-Forwarded-For", "10.0.0.1", ",10.0.0.1"), 401},
	{"cookies", "/me", header("Cookie", "a=b", ";a=b"), 401},
	{"authorization lines", "/me", func(r *http.Request, size int) {
		r.Header["Authorization"] = strings.Split(fill("Bearer x\n", size), "\n")
	}, 400},
}

func query(text string) func(*http.Request, int) {
	return func(r *http.Request, size int) { r.URL.RawQuery = fill(text, size) }
}

func header(name, begins, continues string) func(*http.Request, int) {
	return func(r *http.Request, size int) { r.Header.Set(name, begins+fill(continues, size)) }
}

func basicOf(text string) func(*http.Request, int) {
	return func(r *http.Request, size int) {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(fill(text, size*3/4))))
	}
}

// userOf sends no user name in the body.
func userOf(part func(*http.Request, int)) func(*http.Request, int) {
	return func(r *http.Request, size int) {
		r.Body = io.NopCloser(strings.NewReader("grant_type=password"))
		r.ContentLength = -1
		part(r, size)
	}
}

// The memory that a request costs before it is refused does not grow with its
// size.
//
// Not parallel: it counts the allocations of the whole process.
func TestLargeRequestsCostNoMoreThanSmallOnes(t *testing.T) {
	mux := largeRequestHost(t, &tokenauth.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	for _, test := range largeRequests {
		cost := func(size int) (bytes uint64, status int) {
			const requests = 5
			made := make([]*http.Request, requests)
			for i := range made {
				made[i] = httptest.NewRequest("POST", test.path, strings.NewReader("grant_type=password&username=alice&password=x&token=x"))
				made[i].RemoteAddr = "10.0.0.1:4711"
				test.part(made[i], size)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for _, r := range made {
				w := httptest.NewRecorder()
				mux.ServeHTTP(w, r)
				status = w.Code
			}
			runtime.ReadMemStats(&after)
			return (after.TotalAlloc - before.TotalAlloc) / requests, status
		}
		small, _ := cost(200)
		got, status := cost(large)
		if status != test.status {
			t.Errorf("%s: answered %d, want %d", test.name, status, test.status)
		}
		if got > small+64<<10 {
			t.Errorf("%s: a large request allocates %d bytes, a small one %d; want at most 64 KiB more", test.name, got, small)
		}
	}
}

func largeRequestHost(t *testing.T, o *tokenauth.Options) *http.ServeMux {
	t.Helper()
	auth := newService(t, new(scripted), &staff{}, o)
	registry := *o
	registry.Clients = registered{"web": own}
	mux := http.NewServeMux()
	auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke"})
	mux.Handle("/introspect", endpoint(t, newService(t, new(scripted), &staff{}, &registry), "/introspect"))
	mux.Handle("/me", auth.RequireBearer(http.NotFoundHandler()))
	return mux
}

// The search for names in a query takes at most about as long as one pass with
// package url.
func TestLongQueriesAreReadOnce(t *testing.T) {
	t.Parallel()
	mux := largeRequestHost(t, new(tokenauth.Options))
	for _, text := range []string{"a&", "%61&", "access_toke&", "%61%63%63ess_token%73;"} {
		for _, path := range []string{"/Token", "/me"} {
			r := httptest.NewRequest("POST", path, nil)
			r.Header.Set("Authorization", "Bearer x")
			r.URL.RawQuery = fill(text, large)
			ours := fastest(func() { mux.ServeHTTP(httptest.NewRecorder(), r) })
			once := fastest(func() {
				for pair := range strings.FieldsFuncSeq(r.URL.RawQuery, func(r rune) bool { return r == '&' || r == ';' }) {
					name, _, _ := strings.Cut(pair, "=")
					if unescaped, err := url.QueryUnescape(name); err != nil || strings.ToLower(unescaped) == "access_token" {
						t.Errorf("%q must not be an access_token parameter", pair)
					}
				}
			})
			if ours > 4*once { // the race detector slows down this package more than package url
				t.Errorf("%s with a query of %q took %v, one pass took %v; want at most 4 times as long", path, text, ours, once)
			}
		}
	}
}

// fastest returns the shortest time of a few calls. Other work on the machine
// makes a call only slower.
func fastest(f func()) time.Duration {
	least := time.Duration(1 << 62)
	for range 5 {
		began := time.Now()
		f()
		least = min(least, time.Since(began))
	}
	return least
}

// Query and Authorization headers are read up to the limit, and refused with
// one more byte.
func TestQueryAndBasicLimitsAreExact(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(scripted), &staff{}, nil)
	const good = "grant_type=password&username=alice&password=x"
	post := func(body string, change func(*http.Request)) string {
		r := httptest.NewRequest("POST", "/Token", strings.NewReader(body))
		change(r)
		w := httptest.NewRecorder()
		auth.TokenHandler().ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", w.Body)
	}
	for _, test := range []struct {
		name, body string
		change     func(*http.Request)
		want       string
	}{
		{"query that fits", good, func(r *http.Request) { r.URL.RawQuery = fill("x", 8192) }, `200 {"access_token"`},
		{"query with credentials that fits", good, func(r *http.Request) { r.URL.RawQuery = fill("&", 8183) + "password=" },
			`400 {"error":"invalid_request","error_description":"Credentials belong in the body, never in the query."}`},
		{"query that is too long", good, func(r *http.Request) { r.URL.RawQuery = fill("x", 8193) },
			`400 {"error":"invalid_request","error_description":"The query has more than 8192 bytes."}`},
		{"query with credentials that is too long", good, func(r *http.Request) { r.URL.RawQuery = fill("password=x&", large) },
			`400 {"error":"invalid_request","error_description":"The query has more than 8192 bytes."}`},
		{"Basic that fits", "grant_type=password", func(r *http.Request) { r.SetBasicAuth("alice", fill("x", 8192-len("alice:"))) }, `400 {"error":"invalid_grant"`},
		{"Basic that is too long", "grant_type=password", func(r *http.Request) { r.SetBasicAuth("alice", fill("x", 8193-len("alice:")+2)) },
			`400 {"error":"invalid_request","error_description":"The Authorization header is malformed, or there are several."}`},
	} {
		if got := post(test.body, test.change); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
