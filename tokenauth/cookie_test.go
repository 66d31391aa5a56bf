package tokenauth_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

var session = place.Cookie{Name: "session"}

// withCookie returns a Service that accepts a token in the cookie session, and
// in the Authorization header.
func withCookie(t *testing.T, s tokenauth.Storage, o tokenauth.Options) *tokenauth.Service {
	t.Helper()
	o.Places = []place.Place{place.Scheme("Bearer"), session}
	return newService(t, s, &staff{}, &o)
}

// A cookie has the attributes of its place, and the age of its token. Clear sets
// the same attributes, since browsers delete a cookie only then.
func TestCookieHasTheAttributesOfItsPlace(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest("POST", "https://app.example.com/sign-in", nil)
	for _, test := range []struct {
		cookie         place.Cookie
		name, trailing string
	}{
		{session, "__Host-session", "; Path=/; Max-Age=%d; HttpOnly; Secure; SameSite=Lax"},
		{place.Cookie{Name: "s", Path: "/", SameSite: http.SameSiteStrictMode}, "__Host-s", "; Path=/; Max-Age=%d; HttpOnly; Secure; SameSite=Strict"},
		{place.Cookie{Name: "s", SameSite: http.SameSiteNoneMode}, "__Host-s", "; Path=/; Max-Age=%d; HttpOnly; Secure; SameSite=None"},
		{place.Cookie{Name: "s", Path: "/app"}, "__Secure-s", "; Path=/app; Max-Age=%d; HttpOnly; Secure; SameSite=Lax"},
		{place.Cookie{Name: "s", Domain: "example.com"}, "__Secure-s", "; Path=/; Domain=example.com; Max-Age=%d; HttpOnly; Secure; SameSite=Lax"},
	} {
		auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Places: []place.Place{test.cookie}, Lifetime: time.Hour})
		issued, err := auth.Issue(t.Context(), alice(), nil)
		if err != nil {
			t.Fatal(err)
		}
		accessToken := issued.AccessToken.Reveal()
		for _, set := range []struct {
			call func(w http.ResponseWriter)
			want string
		}{
			{func(w http.ResponseWriter) { issued.SetCookie(w, r, test.cookie) }, test.name + "=" + accessToken + fmt.Sprintf(test.trailing, 3600)},
			{func(w http.ResponseWriter) { test.cookie.Clear(w, r) }, test.name + "=" + fmt.Sprintf(test.trailing, 0)},
		} {
			w := httptest.NewRecorder()
			w.Header().Set("Cache-Control", "private")
			set.call(w)
			if got := w.Header()["Set-Cookie"]; !slices.Equal(got, []string{set.want}) {
				t.Errorf("%+v: Set-Cookie is %q, want %q", test.cookie, got, set.want)
			}
			if got := w.Header()["Cache-Control"]; !slices.Equal(got, []string{"no-store"}) {
				t.Errorf("%+v: Cache-Control is %q, want no-store", test.cookie, got)
			}
		}
		get := httptest.NewRequest("GET", "https://app.example.com/me", nil)
		get.Header.Set("Cookie", test.name+"="+accessToken)
		if got := serve(auth.RequireBearer(whoHandler), get); got != "alice" {
			t.Errorf("%+v: the guard answered %s", test.cookie, got)
		}
	}
}

// A token may live on for longer than it is valid without a use, so its cookie
// stays for as long as browsers allow.
func TestCookieOfATokenThatLivesOnStays(t *testing.T) {
	t.Parallel()
	auth := withCookie(t, new(memory.Store), tokenauth.Options{Lifetime: time.Hour, MaxLifetime: 2 * time.Hour, Devices: new(tokenauth.DeviceOptions)})
	issued, err := auth.Issue(t.Context(), alice(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	issued.SetCookie(w, httptest.NewRequest("POST", "https://app.example.com/", nil), session)
	if got, want := w.Header().Get("Set-Cookie"), "; Max-Age=34560000; "; !strings.Contains(got, want) {
		t.Errorf("Set-Cookie is %q, want it to contain %q", got, want)
	}
}

// With devices, the time of issue has milliseconds. The age of the cookie is
// still the whole lifetime.
func TestCookieStaysForTheWholeLifetime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	auth := withCookie(t, new(memory.Store), tokenauth.Options{Lifetime: time.Hour, Devices: new(tokenauth.DeviceOptions), Now: func() time.Time { return now }})
	issued, err := auth.Issue(t.Context(), alice(), nil)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	issued.SetCookie(w, httptest.NewRequest("POST", "https://app.example.com/", nil), session)
	if got, want := w.Header().Get("Set-Cookie"), "; Max-Age=3600; "; !strings.Contains(got, want) {
		t.Errorf("Set-Cookie is %q, want it to contain %q", got, want)
	}
}

func TestInvalidCookiePanics(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(http.ResponseWriter, *http.Request){
		"SetCookie": func(w http.ResponseWriter, r *http.Request) { tokenauth.IssuedToken{}.SetCookie(w, r, place.Cookie{}) },
		"Clear":     place.Cookie{}.Clear,
	} {
		func() {
			defer func() {
				if p := recover(); !strings.Contains(fmt.Sprint(p), `tokenauth/place: Cookie.Name is ""`) {
					t.Errorf("%s: the panic is %v", name, p)
				}
			}()
			call(httptest.NewRecorder(), httptest.NewRequest("POST", "/", nil))
		}()
	}
}

// Over plain HTTP on the same machine, the cookie has neither a prefix nor
// Secure. The request must not have come through a proxy, since a proxy may name
// the service itself in Host, as nginx does by default.
func TestCookieHasNoPrefixOnLoopbackHTTPOnly(t *testing.T) {
	t.Parallel()
	auth := withCookie(t, new(memory.Store), tokenauth.Options{})
	issued, err := auth.Issue(t.Context(), alice(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		host   string
		header http.Header
		tls    bool
		bare   bool
	}{
		{host: "localhost", bare: true},
		{host: "localhost:8080", bare: true},
		{host: "LOCALHOST:8080", bare: true},
		{host: "app.localhost:8080", bare: true},
		{host: "127.0.0.1", bare: true},
		{host: "127.0.0.1:8080", bare: true},
		{host: "127.9.8.7:8080", bare: true},
		{host: "[::1]", bare: true},
		{host: "[::1]:8080", bare: true},
		{host: "localhost:5173", header: http.Header{"Origin": {"http://localhost:5173"}}, bare: true},
		{host: "localhost", header: http.Header{"X-Real-Ip": {"192.0.2.1"}}, bare: true}, // also set by proxies without TLS
		{host: ""},
		{host: "app.example.com"},
		{host: "localhost.example.com"},
		{host: "notlocalhost"},
		{host: "127.0.0.1.example.com"},
		{host: "128.0.0.1:8080"},
		{host: "10.0.0.7:8080"},
		{host: "[::2]:8080"},
		{host: "[fe80::1]:8080"},
		{host: "localhost", tls: true},
		{host: "127.0.0.1:8080", header: http.Header{"Origin": {"https://app.example.com"}}}, // nginx without proxy_set_header
		{host: "127.0.0.1:8080", header: http.Header{"Origin": {"null"}}},
		{host: "127.0.0.1:8080", header: http.Header{"Origin": {"http://localhost", "https://app.example.com"}}},
		{host: "127.0.0.1:8080", header: http.Header{"Forwarded": {"for=192.0.2.1;proto=https"}}},
		{host: "127.0.0.1:8080", header: http.Header{"X-Forwarded-For": {"192.0.2.1"}}},
		{host: "127.0.0.1:8080", header: http.Header{"X-Forwarded-Proto": {"http"}}},
		{host: "127.0.0.1:8080", header: http.Header{"X-Forwarded-Host": {""}}},
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Host = test.host
		if test.header != nil {
			r.Header = test.header.Clone()
		}
		if test.tls {
			r.TLS = new(tls.ConnectionState)
		}
		for _, c := range []place.Cookie{session, {Name: "session", Domain: "example.com", Path: "/app", SameSite: http.SameSiteNoneMode}} {
			w := httptest.NewRecorder()
			issued.SetCookie(w, r, c)
			got := w.Result().Cookies()[0]
			if bare := got.Name == "session"; bare != test.bare || got.Secure == bare || bare && (got.Domain != "" || got.SameSite != http.SameSiteLaxMode) {
				t.Errorf("%+v: the cookie is %v", test, got)
			}
		}
		// Guards read the name without the prefix in the same requests only, and
		// the name with it in all.
		r.Method = "GET"
		for cookies, want := range map[string]string{
			"session=" + issued.AccessToken.Reveal():                         map[bool]string{true: "alice", false: "401"}[test.bare],
			"__Host-session=" + issued.AccessToken.Reveal():                  "alice",
			"session=tat_x; __Host-session=" + issued.AccessToken.Reveal():   "alice",
			"__Secure-session=" + issued.AccessToken.Reveal():                "401", // another cookie
			"__host-session=" + issued.AccessToken.Reveal():                  "401", // browsers do not protect this name
			"session=" + issued.AccessToken.Reveal() + "; __Host-session=no": "401",
		} {
			r.Header.Set("Cookie", cookies)
			if got := serve(auth.RequireBearer(whoHandler), r); got != want {
				t.Errorf("%+v, %s: answered %s, want %s", test, strings.ReplaceAll(cookies, issued.AccessToken.Reveal(), "TOKEN"), got, want)
			}
		}
	}
}

// A browser that was at a service on this machine over TLS before still sends
// that cookie over plain HTTP. SetCookie and Clear replace it.
func TestCookieWithoutPrefixReplacesTheOneWithIt(t *testing.T) {
	t.Parallel()
	for _, c := range []place.Cookie{session, {Name: "session", Path: "/app"}} {
		auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Places: []place.Place{c}})
		for _, clear := range []bool{false, true} {
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			// Browsers also send a Secure cookie to localhost over plain HTTP.
			browser := &url.URL{Scheme: "https", Host: "localhost", Path: "/app/"}
			send := func(scheme string, h http.HandlerFunc) string {
				r := httptest.NewRequest("GET", scheme+"://localhost/app/", nil)
				for _, sent := range jar.Cookies(browser) {
					r.AddCookie(sent)
				}
				return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					h(w, r)
					jar.SetCookies(browser, (&http.Response{Header: w.Header()}).Cookies())
				}), r)
			}
			signIn := func(w http.ResponseWriter, r *http.Request) {
				issued, err := auth.Issue(r.Context(), alice(), nil) // ends the token before
				if err != nil {
					t.Fatal(err)
				}
				issued.SetCookie(w, r, c)
			}
			me := auth.RequireBearer(whoHandler).ServeHTTP
			send("https", signIn)
			if got := send("http", me); got != "alice" {
				t.Errorf("%+v: the cookie of an earlier visit: answered %s", c, got)
			}
			then, want := http.HandlerFunc(signIn), "alice"
			if clear {
				then, want = c.Clear, "401"
			}
			send("http", then)
			if got := send("http", me); got != want {
				t.Errorf("%+v, clear %v: answered %s, want %s", c, clear, got, want)
			}
			if got := jar.Cookies(browser); len(got) > 1 || clear && len(got) > 0 {
				t.Errorf("%+v, clear %v: the browser has the cookies %v", c, clear, got)
			}
		}
	}
}

// A page of another site can make a browser send a request with the cookie, but
// the guard refuses it before it looks for the token. A safe method may come
// from everywhere, but not the handshake of a WebSocket.
func TestGuardsRefuseCookiesFromOtherSites(t *testing.T) {
	t.Parallel()
	w := new(eventRecorder)
	storage, finds := countFinds()
	auth := withCookie(t, storage, tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){w.Observe}})
	accessToken := issue(t, auth, alice(), "web")
	w.expect(t, "issued 17 alice web")
	sites := []struct {
		name   string
		header http.Header
		cross  bool
	}{
		{"no header", http.Header{}, false},
		{"Sec-Fetch-Site same-origin", http.Header{"Sec-Fetch-Site": {"same-origin"}}, false},
		{"Sec-Fetch-Site none", http.Header{"Sec-Fetch-Site": {"none"}}, false},
		{"Sec-Fetch-Site same-origin behind a proxy", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://public.example"}}, false},
		{"Sec-Fetch-Site same-site", http.Header{"Sec-Fetch-Site": {"same-site"}}, true},
		{"Sec-Fetch-Site cross-site", http.Header{"Sec-Fetch-Site": {"cross-site"}}, true},
		{"Sec-Fetch-Site empty", http.Header{"Sec-Fetch-Site": {""}}, true},
		{"Sec-Fetch-Site of the future", http.Header{"Sec-Fetch-Site": {"x"}}, true},
		{"Sec-Fetch-Site twice", http.Header{"Sec-Fetch-Site": {"same-origin", "same-origin"}}, true},
		{"Origin of the host", http.Header{"Origin": {"https://app.example.com"}}, false},
		{"Origin of a subdomain", http.Header{"Origin": {"https://evil.app.example.com"}}, true},
		{"Origin of another site", http.Header{"Origin": {"https://evil.example"}}, true},
		{"Origin null", http.Header{"Origin": {"null"}}, true},
	}
	requests := []struct {
		method string
		header http.Header
		safe   bool
	}{
		{"GET", nil, true},
		{"HEAD", nil, true},
		{"OPTIONS", nil, true},
		{"TRACE", nil, true},
		{"POST", nil, false},
		{"PUT", nil, false},
		{"PATCH", nil, false},
		{"DELETE", nil, false},
		{"get", nil, false}, // methods are case-sensitive
		{"GET", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}, false},
		{"CONNECT", http.Header{":protocol": {"websocket"}}, false}, // RFC 8441
	}
	guards := map[string]func(http.Handler) http.Handler{
		"bearer": auth.RequireBearer, "role": auth.RequireRole("Staff"), "client": auth.RequireClient("web"), "optional": auth.Optional,
	}
	for _, site := range sites {
		for _, request := range requests {
			for name, guard := range guards {
				r := httptest.NewRequest("GET", "https://app.example.com/", nil)
				r.Method, r.Header = request.method, site.header.Clone()
				for key, values := range request.header {
					r.Header[key] = values
				}
				refused := site.cross && !request.safe
				r.Header.Set("Cookie", "__Host-session="+accessToken)
				before, want := *finds, "alice"
				if refused {
					want = "403"
				}
				if got := serve(guard(whoHandler), r); got != want || refused != (*finds == before) {
					t.Errorf("%s, %s %v, %s: answered %s after %d look-ups, want %s", name, request.method, request.header, site.name, got, *finds-before, want)
				}
				if refused {
					w.expect(t, "refused cross_site")
				} else {
					w.expect(t, "validated 17 alice web")
				}
				// A script must have set this header, so no other site can send it.
				r.Header.Set("Authorization", "Bearer "+accessToken)
				if got := serve(guard(whoHandler), r); got != "alice" {
					t.Errorf("%s, %s %v, %s, with a header: answered %s", name, request.method, request.header, site.name, got)
				}
				w.expect(t, "validated 17 alice web")
			}
		}
	}
}

// The answer to a request from another site has no challenge.
func TestAnswerToARequestFromAnotherSite(t *testing.T) {
	t.Parallel()
	auth := withCookie(t, new(memory.Store), tokenauth.Options{})
	r := httptest.NewRequest("POST", "https://app.example.com/", nil)
	r.Header = http.Header{"Cookie": {"__Host-session=x"}, "Sec-Fetch-Site": {"cross-site"}}
	w := httptest.NewRecorder()
	auth.Optional(whoHandler).ServeHTTP(w, r)
	const body = `{"error":"invalid_request","error_description":"The request comes from another site.","Message":"Authorization has been denied for this request."}`
	if w.Code != http.StatusForbidden || w.Body.String() != body || w.Header().Get("WWW-Authenticate") != "" || w.Header().Get("Vary") != "Authorization, Cookie" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("answered %d %s with the headers %v", w.Code, w.Body, w.Header())
	}
}

// The endpoints take credentials from the request's own header and body. A
// cookie there has no effect, whatever site the request comes from.
func TestEndpointsIgnorePlaces(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Places: []place.Place{session, place.Header("X-Token"), place.InsecureQuery("t")}})
	accessToken := issue(t, auth, alice(), "")
	send := func(h http.Handler, form string) int {
		r := httptest.NewRequest("POST", "https://app.example.com/?t="+accessToken, strings.NewReader(form))
		r.Header = http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "Sec-Fetch-Site": {"cross-site"},
			"Cookie": {"__Host-session=" + accessToken}, "X-Token": {accessToken},
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Header().Get("Set-Cookie") != "" || strings.Contains(w.Header().Get("Vary"), "Cookie") {
			t.Errorf("%s: answered with the headers %v", form, w.Header())
		}
		return w.Code
	}
	if got := send(endpoint(t, auth, "/revoke"), ""); got != http.StatusBadRequest {
		t.Errorf("a revocation without a token: answered %d", got)
	}
	expect(t, auth, accessToken, "valid")
	if got := send(auth.TokenHandler(), passwordGrant); got != http.StatusOK {
		t.Errorf("a sign-in: answered %d", got)
	}
}
