package tokenauth_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"weak"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

func TestNewRefusesInvalidPlaces(t *testing.T) {
	t.Parallel()
	bearer := place.Scheme("Bearer")
	type embedding struct{ place.Cookie }
	for _, test := range []struct {
		places []place.Place
		want   string // contained in the error
	}{
		{[]place.Place{}, "Options.Places is empty but not nil"},
		{[]place.Place{bearer, nil}, "Options.Places[1] is a <nil>, must be a place.Scheme"},
		{[]place.Place{&session}, "Options.Places[0] is a *place.Cookie, must be"},
		{[]place.Place{embedding{session}}, "Options.Places[0] is a tokenauth_test.embedding, must be"},
		{[]place.Place{place.Scheme("")}, `Options.Places[0] is a place.Scheme "", must be the name of one scheme`},
		{[]place.Place{place.Scheme("Bearer ")}, `place.Scheme "Bearer ", must be`},
		{[]place.Place{bearer, place.Scheme("bearer")}, `Options.Places[1] is a place.Scheme "bearer", which is listed twice`},
		{[]place.Place{place.Header("")}, `place.Header "", must be the name of one header`},
		{[]place.Place{place.Header("X Token")}, `place.Header "X Token", must be`},
		{[]place.Place{place.Header("X-Token"), place.Header("x-token")}, `place.Header "x-token", which is listed twice`},
		{[]place.Place{place.Header("cookie")}, `place.Header "cookie", use a place.Cookie`},
		{[]place.Place{place.Header("Sec-WebSocket-Protocol")}, `use a place.Cookie or a place.WebSocket`},
		{[]place.Place{place.WebSocket{}, place.WebSocket{}}, "Options.Places[1] is a place.WebSocket, which is listed twice"},
		{[]place.Place{place.Cookie{}}, `place.Cookie that is invalid: Cookie.Name is ""`},
		{[]place.Place{place.Cookie{Name: "a=b"}}, `Cookie.Name is "a=b"`},
		{[]place.Place{place.Cookie{Name: "__Host-session"}}, `Cookie.Name is "__Host-session", must not begin with "__"`},
		{[]place.Place{place.Cookie{Name: "s", Domain: "example.com;"}}, `Cookie.Domain is "example.com;"`},
		{[]place.Place{place.Cookie{Name: "s", Path: "app"}}, `Cookie.Path is "app"`},
		{[]place.Place{place.Cookie{Name: "s", Path: "/;Domain=example.com"}}, `Cookie.Path is "/;Domain=example.com"`},
		{[]place.Place{place.Cookie{Name: "s", SameSite: http.SameSiteDefaultMode}}, "Cookie.SameSite is 1"},
		{[]place.Place{session, place.Cookie{Name: "session", Path: "/app"}}, `Options.Places[1] is a place.Cookie with the Name "session", which is listed twice`},
		{[]place.Place{place.InsecureQuery("")}, `place.InsecureQuery "", must be the name of a parameter`},
		{[]place.Place{place.InsecureQuery("t"), place.InsecureQuery("t")}, `place.InsecureQuery "t", which is listed twice`},
	} {
		_, err := tokenauth.New(new(memory.Store), &staff{}, &tokenauth.Options{Places: test.places})
		if err == nil || !strings.HasPrefix(err.Error(), "tokenauth: Options.Places") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%#v: the error is %v, want it to contain %s", test.places, err, test.want)
		}
	}
	all := []place.Place{
		bearer, place.Scheme("Token"), place.Header("Authorization"), place.Header("X-Token"), place.WebSocket{},
		session, place.Cookie{Name: "Session", Domain: ".example.com", Path: "/a b", SameSite: http.SameSiteNoneMode},
		place.InsecureQuery("t"), place.InsecureQuery("T"),
	}
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Places: all})
	listed := auth.Options().Places
	if !reflect.DeepEqual(listed, all) {
		t.Errorf("Options returned the places %v, want %v", listed, all)
	}
	listed[0] = nil // a copy
	if auth.Options().Places[0] == nil {
		t.Error("Options returned the Service's own slice")
	}
}

// Any Authorization header decides if a scheme or this header is listed.
func TestAuthorizationHeaderDecides(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	scheme, header := place.Scheme("Token"), place.Header("authorization")
	accessToken := issue(t, newService(t, store, &staff{}, nil), alice(), "")
	cookie := issue(t, newService(t, store, &staff{}, nil), bob(), "")
	for _, test := range []struct {
		places        []place.Place
		authorization []string
		want          string
	}{
		{[]place.Place{scheme}, []string{"Token " + accessToken}, "alice"},
		{[]place.Place{scheme}, []string{"token  " + accessToken + " "}, "alice"},
		{[]place.Place{scheme}, []string{"Token\t" + accessToken}, "400"},
		{[]place.Place{scheme}, []string{"Token " + accessToken + "," + accessToken}, "400"},
		{[]place.Place{scheme}, []string{"Token " + accessToken + " x"}, "400"},
		{[]place.Place{scheme}, []string{"Token"}, "401"},
		{[]place.Place{scheme}, []string{"Token \t"}, "401"},
		{[]place.Place{scheme}, []string{"Token \t \t"}, "401"},
		{[]place.Place{scheme}, []string{"Tokens " + accessToken}, "401"},
		{[]place.Place{scheme}, []string{"Bearer " + accessToken}, "401"},
		{[]place.Place{scheme}, []string{accessToken}, "401"},
		{[]place.Place{scheme}, []string{""}, "401"},
		{[]place.Place{scheme}, []string{"Basic YTpi", "Token " + accessToken}, "400"},
		{[]place.Place{scheme, place.Scheme("Bearer")}, []string{"Bearer " + accessToken}, "alice"},
		{[]place.Place{scheme, place.Scheme("Bearer")}, []string{"Token " + accessToken}, "alice"},
		{[]place.Place{scheme, place.Scheme("Bearer")}, []string{"Token " + accessToken, "Bearer " + accessToken}, "400"},
		{[]place.Place{header}, []string{accessToken}, "alice"},
		{[]place.Place{header}, []string{" " + accessToken + " "}, "alice"},
		{[]place.Place{header}, []string{"Token " + accessToken}, "401"},
		{[]place.Place{header}, []string{"Basic YTpi"}, "401"},
		{[]place.Place{header}, []string{accessToken + "," + accessToken}, "400"},
		{[]place.Place{header}, []string{accessToken, accessToken}, "400"},
		{[]place.Place{header, scheme}, []string{accessToken}, "alice"},
		{[]place.Place{header, scheme}, []string{"Token " + accessToken}, "alice"},
		{[]place.Place{header, scheme}, []string{"Token"}, "401"},
		{[]place.Place{header, scheme}, []string{"Basic YTpi"}, "401"},
		{[]place.Place{scheme}, nil, "bob"},
		{[]place.Place{header}, nil, "bob"},
		{[]place.Place{place.Header("X-Token")}, []string{"Basic YTpi"}, "bob"}, // not listed
	} {
		auth := newService(t, store, &staff{}, &tokenauth.Options{Places: append(test.places, session)})
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = test.authorization
		r.Header.Set("Cookie", "__Host-session="+cookie)
		if got := serve(auth.RequireBearer(whoHandler), r); got != test.want {
			t.Errorf("%v with %q: answered %s, want %s", test.places, test.authorization, got, test.want)
		}
	}
}

// The error for several tokens describes the places that the host lists.
func TestSeveralTokensAreMalformed(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]*tokenauth.Options{
		"The request needs one Authorization header with one bearer token.": nil,
		"The request has several access tokens.":                            {Places: []place.Place{place.Scheme("Bearer"), session}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = []string{"Bearer a", "Bearer b"}
		w := httptest.NewRecorder()
		newService(t, new(memory.Store), &staff{}, o).RequireBearer(whoHandler).ServeHTTP(w, r)
		challenge := `Bearer realm="api", error="invalid_request", error_description="` + want + `"`
		if got := w.Header().Get("WWW-Authenticate"); w.Code != http.StatusBadRequest || got != challenge || !strings.Contains(w.Body.String(), want) {
			t.Errorf("answered %d %s with the challenge %s, want %s", w.Code, w.Body, got, challenge)
		}
	}
}

// A token in the query is read only if the method is GET or HEAD.
func TestQueryIsReadForGETOnly(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Places: []place.Place{place.InsecureQuery("t")}})
	accessToken := issue(t, auth, alice(), "")
	for _, test := range []struct{ method, query, want string }{
		{"GET", "t=" + accessToken, "alice"},
		{"HEAD", "t=" + accessToken, "alice"},
		{"GET", "a=b&%74=" + accessToken + "&T=x", "alice"},
		{"POST", "t=" + accessToken, "401"},
		{"PUT", "t=" + accessToken, "401"},
		{"DELETE", "t=" + accessToken, "401"},
		{"OPTIONS", "t=" + accessToken, "401"},
		{"POST", "t=a&t=b", "401"},
		{"GET", "T=" + accessToken, "401"},
		{"GET", "t=%zz", "401"},
	} {
		if got := serve(auth.RequireBearer(whoHandler), httptest.NewRequest(test.method, "/?"+test.query, nil)); got != test.want {
			t.Errorf("%s ?%s: answered %s, want %s", test.method, strings.ReplaceAll(test.query, accessToken, "TOKEN"), got, test.want)
		}
	}
}

// Vary has the headers in which guards look for tokens, whatever the answer is,
// so that a shared cache does not give the answer to another user.
func TestVaryHasTheHeadersOfThePlaces(t *testing.T) {
	t.Parallel()
	x := place.Header("x-token")
	for _, test := range []struct {
		places []place.Place
		before []string // Vary before the guard
		want   []string
	}{
		{nil, nil, []string{"Authorization"}},
		{nil, []string{"Accept", "Origin"}, []string{"Accept, Origin, Authorization"}},
		{[]place.Place{session}, nil, []string{"Cookie"}},
		{[]place.Place{session, place.Scheme("Bearer")}, nil, []string{"Authorization, Cookie"}},
		{[]place.Place{session, place.Cookie{Name: "b"}, x, place.Scheme("Bearer"), place.Scheme("Token")}, nil, []string{"X-Token, Authorization, Cookie"}},
		{[]place.Place{session, x}, []string{"cookie, Accept"}, []string{"cookie, Accept, X-Token"}},
		{[]place.Place{session, x}, []string{"Cookie", "x-token"}, []string{"Cookie", "x-token"}},
		{[]place.Place{session, x}, []string{"*"}, []string{"*"}},
		{[]place.Place{session, place.WebSocket{}, place.InsecureQuery("t")}, nil, []string{"Cookie"}},
		{[]place.Place{place.WebSocket{}, place.InsecureQuery("t")}, nil, nil},
		{[]place.Place{place.InsecureQuery("t")}, []string{"Accept"}, []string{"Accept"}},
	} {
		auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Places: test.places})
		accessToken := issue(t, auth, alice(), "")
		for name, put := range map[string]func(*http.Request){
			"no token": func(*http.Request) {},
			"invalid":  func(r *http.Request) { present(t, test.places, r, "tat_x") },
			"valid":    func(r *http.Request) { present(t, test.places, r, accessToken) },
		} {
			for guard, h := range map[string]http.Handler{"RequireBearer": auth.RequireBearer(whoHandler), "Optional": auth.Optional(whoHandler)} {
				r, w := httptest.NewRequest("GET", "/", nil), httptest.NewRecorder()
				put(r)
				if test.before != nil {
					w.Header()["Vary"] = test.before
				}
				h.ServeHTTP(w, r)
				if got := w.Header()["Vary"]; !reflect.DeepEqual(got, test.want) {
					t.Errorf("%v, %s, %s: Vary is %q, want %q", test.places, guard, name, got, test.want)
				}
				want := map[string]string{"RequireBearer": "no-store", "Optional": ""}[guard]
				if name == "valid" {
					want = "private"
				}
				if got := w.Header().Get("Cache-Control"); got != want {
					t.Errorf("%v, %s, %s: Cache-Control is %q, want %q", test.places, guard, name, got, want)
				}
			}
		}
	}
}

// present adds the token to the request, in the first of the places.
func present(t *testing.T, places []place.Place, r *http.Request, accessToken string) {
	t.Helper()
	if places == nil {
		places = []place.Place{place.Scheme("Bearer")}
	}
	switch at := places[0].(type) {
	case place.Scheme:
		r.Header.Set("Authorization", string(at)+" "+accessToken)
	case place.Header:
		r.Header.Set(string(at), accessToken)
	case place.WebSocket:
		r.Header.Set("Sec-WebSocket-Protocol", "bearer."+accessToken)
	case place.Cookie:
		r.Header.Set("Cookie", "__Host-"+at.Name+"="+accessToken)
	case place.InsecureQuery:
		r.URL.RawQuery = string(at) + "=" + accessToken
	default:
		t.Fatalf("the place is a %T", at)
	}
}

// Guards of two Services may protect one route. Vary then has the headers of
// both, also for an anonymous request.
func TestVaryHasTheHeadersOfTwoServices(t *testing.T) {
	t.Parallel()
	storage := new(memory.Store)
	cookies := newService(t, storage, &staff{}, &tokenauth.Options{Places: []place.Place{session}})
	headers := newService(t, storage, &staff{}, &tokenauth.Options{Prefix: "other_"})
	for want, h := range map[string]http.Handler{
		"Cookie, Authorization": cookies.Optional(headers.Optional(whoHandler)),
		"Authorization, Cookie": headers.Optional(cookies.Optional(whoHandler)),
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if got := w.Header().Get("Vary"); got != want || w.Body.String() != "anonymous" {
			t.Errorf("answered %s with the Vary %q, want %q", w.Body, got, want)
		}
	}
}

// FromContext returns the access token as the request presented it. No storage
// and no other method returns it.
func TestPresentedIsTheAccessTokenOfTheRequest(t *testing.T) {
	t.Parallel()
	var live []tokenauth.Token
	storage := &scripted{}
	all := []place.Place{place.Scheme("Bearer"), session, place.Header("X-Token"), place.WebSocket{}, place.InsecureQuery("t")}
	old := new(oldTokens)
	auth := newService(t, storage, &staff{}, &tokenauth.Options{Places: all, Fallback: old.authenticate})
	accessToken := issue(t, auth, alice(), "")
	handler := func(want string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			token, ok := tokenauth.FromContext(r.Context())
			if got := token.Presented.Reveal(); !ok || got != want {
				t.Errorf("Token.Presented is %q, want %q", got, want)
			}
			live = append(live, token)
		})
	}
	for i := range all {
		for name, guard := range map[string]func(http.Handler) http.Handler{
			"one": auth.RequireBearer,
			"two": func(next http.Handler) http.Handler { return auth.Optional(auth.RequireRole("Staff")(next)) },
		} {
			r := httptest.NewRequest("GET", "/", nil)
			present(t, all[i:], r, accessToken)
			if got := serve(guard(handler(accessToken)), r); got != "" {
				t.Errorf("%T, %s guards: answered %s", all[i], name, got)
			}
		}
	}
	// The token that Fallback accepts is not one of the Service, also behind a
	// guard of another Service.
	other := newService(t, storage, &staff{}, &tokenauth.Options{Prefix: "other_"})
	for _, h := range []http.Handler{auth.RequireBearer(handler("")), auth.RequireBearer(other.Optional(auth.RequireBearer(handler(""))))} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer old.one.good")
		if got := serve(h, r); got != "" {
			t.Errorf("a token that Fallback accepts: answered %s", got)
		}
	}

	if want := 2*len(all) + 2; len(live) != want {
		t.Fatalf("the handler was called %d times, want %d", len(live), want)
	}
	token, err := auth.Validate(t.Context(), accessToken)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := storage.Find(t.Context(), token.Slot)
	if err != nil {
		t.Fatal(err)
	}
	if token.Presented != (tokenauth.Secret{}) || stored.Presented != (tokenauth.Secret{}) {
		t.Error("Validate or the storage returned a token with Presented")
	}
	text, err := json.Marshal(live[0])
	if printed := fmt.Sprintf("%+v %#v %s", live[0], live[0], text); err != nil || strings.Contains(printed, accessToken) || strings.Contains(string(text), "Presented") {
		t.Errorf("the token prints as %s; error %v", printed, err)
	}
}

// A handler may keep the token of a request. That does not keep the request in
// memory.
func TestKeptTokenDoesNotKeepItsRequest(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), nil, nil)
	accessToken := issue(t, auth, alice(), "")
	var kept tokenauth.Token
	handler := auth.RequireBearer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { kept, _ = tokenauth.FromContext(r.Context()) }))
	type valueKey struct{}
	send := func() weak.Pointer[[1024]byte] {
		value := new([1024]byte)
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), valueKey{}, value), "GET", "/", nil)
		r.Header.Set("Authorization", "Bearer "+accessToken)
		handler.ServeHTTP(httptest.NewRecorder(), r)
		return weak.Make(value)
	}
	value := send()
	runtime.GC()
	if value.Value() != nil {
		t.Error("a value in the context of the request is still in memory")
	}
	if got := kept.Presented.Reveal(); got != accessToken {
		t.Errorf("Token.Presented is %q, want %q", got, accessToken)
	}
}

// A log that prints the context of a request does not get its access token.
func TestContextPrintsNoAccessToken(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), nil, nil)
	accessToken := issue(t, auth, alice(), "")
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	authorized, refusal := auth.Authorizer(tokenauth.Requirement{})(r)
	if refusal != nil {
		t.Fatal(refusal)
	}
	anonymous, refusal := auth.Authorizer(tokenauth.Requirement{Optional: true})(expired(r))
	if refusal != nil {
		t.Fatal(refusal)
	}
	ctx, cancel := context.WithCancel(authorized.Context())
	defer cancel()
	type job struct{ ctx context.Context } // fmt calls no methods in unexported fields
	for _, v := range []any{
		ctx, job{ctx}, authorized.Context(), job{authorized.Context()}, &job{authorized.Context()},
		anonymous.Context(), job{anonymous.Context()},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%t"} {
			printed := fmt.Sprintf(verb, v)
			if text := "tat_"; strings.Contains(printed, text) || strings.Contains(printed, hex.EncodeToString([]byte(text))) {
				t.Errorf("%s prints %s", verb, printed)
			}
		}
	}
}

// expired returns a copy of the request with a token that is not valid.
func expired(r *http.Request) *http.Request {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer tat_expired")
	return r
}

// A Fallback is called for a request without a token of the Service in any of
// the places.
func TestFallbackIsAskedWithoutATokenInThePlaces(t *testing.T) {
	t.Parallel()
	asked := 0
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{
		Places: []place.Place{place.Scheme("Bearer"), session, place.InsecureQuery("t")},
		Fallback: func(*http.Request) (tokenauth.Principal, error) {
			asked++
			return bob(), nil
		},
	})
	accessToken := issue(t, auth, alice(), "")
	for _, test := range []struct {
		name, authorization, cookie, query, site, want string
		asked                                          int
	}{
		{name: "no token", want: "bob", asked: 1},
		{name: "a token in the cookie", cookie: accessToken, want: "alice"},
		{name: "a bad token in the cookie", cookie: "tat_x", want: "401"},
		{name: "another token in the cookie", cookie: "old", want: "bob", asked: 1},
		{name: "an empty cookie", cookie: " ", want: "bob", asked: 1},
		{name: "another scheme beside the cookie", authorization: "Basic YTpi", cookie: accessToken, want: "bob", asked: 1},
		{name: "another token beside the cookie", authorization: "Bearer old", cookie: accessToken, want: "bob", asked: 1},
		{name: "a bad token beside the cookie", authorization: "Bearer tat_x", cookie: accessToken, want: "401"},
		{name: "a token in the query", query: accessToken, want: "alice"},
		{name: "a bad token in the query", query: "tat_x", want: "401"},
		{name: "another token in the query", query: "old", want: "bob", asked: 1},
		{name: "two cookies", cookie: "old; __Host-session=old", want: "400"},
		{name: "a token in the cookie from another site", cookie: accessToken, site: "cross-site", want: "403"},
		{name: "another token in the cookie from another site", cookie: "old", site: "cross-site", want: "403"},
		{name: "another scheme beside the cookie from another site", authorization: "Basic YTpi", cookie: "old", site: "cross-site", want: "bob", asked: 1},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if test.authorization != "" {
			r.Header.Set("Authorization", test.authorization)
		}
		if test.cookie != "" {
			r.Header.Set("Cookie", "__Host-session="+test.cookie)
		}
		if test.query != "" {
			r.URL.RawQuery = "t=" + test.query
		}
		if test.site != "" {
			r.Method = "POST"
			r.Header.Set("Sec-Fetch-Site", test.site)
		}
		before := asked
		// The second guard needs no second call.
		h := auth.RequireBearer(auth.Optional(whoHandler))
		if got := serve(h, r); got != test.want || asked-before != test.asked {
			t.Errorf("%s: answered %s after %d calls of Fallback, want %s after %d", test.name, got, asked-before, test.want, test.asked)
		}
	}
}

// A guard in front of a handler that makes further requests passes no cookie on.
func TestPartOfABatchNeedsItsOwnCookie(t *testing.T) {
	t.Parallel()
	auth := newService(t, new(memory.Store), &staff{}, &tokenauth.Options{Places: []place.Place{session}})
	cookie := "__Host-session=" + issue(t, auth, alice(), "")
	for _, test := range []struct{ name, part, want string }{
		{"no cookie", "", "401"},
		{"an invalid cookie", "__Host-session=tat_x", "401"},
		{"the cookie", cookie, "alice"},
	} {
		outer := httptest.NewRequest("GET", "/batch", nil)
		outer.Header.Set("Cookie", cookie)
		got := serve(auth.RequireBearer(&batch{auth.RequireBearer(whoHandler), func(outer *http.Request) *http.Request {
			r, err := http.NewRequestWithContext(outer.Context(), "GET", "/", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Cookie", test.part)
			return r
		}}), outer)
		if got != test.want {
			t.Errorf("%s: answered %s, want %s", test.name, got, test.want)
		}
	}
}

// An observer gets the reason, so that an operator can tell an attack from a
// page on an origin that the host forgot.
func TestRequestFromAnotherSiteIsReported(t *testing.T) {
	t.Parallel()
	var reasons []string
	auth := withCookie(t, new(memory.Store), tokenauth.Options{
		Observers: []func(context.Context, tokenauth.Event){func(_ context.Context, e tokenauth.Event) {
			reasons = append(reasons, fmt.Sprint(e.Kind, " ", e.Reason, " ", e.RemoteAddr, " ", e.Err))
		}},
	})
	r := httptest.NewRequest("POST", "/", nil)
	r.Header = http.Header{"Cookie": {"__Host-session=x"}, "Sec-Fetch-Site": {"cross-site"}}
	auth.RequireBearer(whoHandler).ServeHTTP(httptest.NewRecorder(), r)
	const want = "refused cross_site 192.0.2.1 tokenauth: the request comes from another site, and its token is in a cookie"
	if len(reasons) != 1 || reasons[0] != want {
		t.Errorf("observed %q, want %q", reasons, want)
	}
}
