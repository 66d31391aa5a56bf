package openapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// The description shows Bearer if the host lists it, and otherwise the first
// place that OpenAPI can describe. Guards accept the request that it shows.
func TestDescribesWhereTheTokenIs(t *testing.T) {
	t.Parallel()
	session := place.Cookie{Name: "session"}
	for _, test := range []struct {
		places  []place.Place
		example string // of a request
		scheme  map[string]string
	}{
		{nil, "Authorization: Bearer TOKEN", map[string]string{"type": "http", "scheme": "bearer"}},
		{[]place.Place{session, place.Scheme("Bearer")}, "Authorization: Bearer TOKEN", map[string]string{"type": "http", "scheme": "bearer"}},
		{[]place.Place{place.Scheme("Token")}, "Authorization: Token TOKEN", map[string]string{"type": "http", "scheme": "token"}},
		{[]place.Place{place.Header("X-Token"), session}, "X-Token: TOKEN", map[string]string{"type": "apiKey", "in": "header", "name": "X-Token"}},
		{[]place.Place{place.Header("Authorization")}, "Authorization: TOKEN", map[string]string{"type": "apiKey", "in": "header", "name": "Authorization"}},
		{[]place.Place{place.WebSocket{}, session}, "Cookie: __Host-session=TOKEN", map[string]string{"type": "apiKey", "in": "cookie", "name": "__Host-session"}},
		{[]place.Place{place.InsecureQuery("t")}, "GET /…?t=TOKEN", map[string]string{"type": "apiKey", "in": "query", "name": "t"}},
	} {
		auth, err := tokenauth.New(new(memory.Store), people{}, &tokenauth.Options{Places: test.places})
		if err != nil {
			t.Fatal(err)
		}
		d, err := openapi.New(auth, tokenauth.Endpoints{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		valid(t, d.JSON())
		var got struct {
			Info       struct{ Description string }
			Components struct {
				SecuritySchemes struct{ Bearer map[string]string }
				Responses       map[string]struct {
					Headers map[string]struct{ Required bool }
					Content map[string]struct{ Examples map[string]any }
				}
			}
		}
		if err := json.Unmarshal(d.JSON(), &got); err != nil {
			t.Fatal(err)
		}
		for key, want := range test.scheme {
			if scheme := got.Components.SecuritySchemes.Bearer; scheme[key] != want {
				t.Errorf("%v: the security scheme is %v, want %s %q", test.places, scheme, key, want)
			}
		}
		forbidden := got.Components.Responses["BearerForbidden"]
		_, crossSite := forbidden.Content["application/json"].Examples["cross-site"]
		cookie := strings.Contains(strings.ToLower(test.example), "cookie") || len(test.places) == 2
		if crossSite != cookie || forbidden.Headers["WWW-Authenticate"].Required == cookie {
			t.Errorf("%v: the response to a request from another site is described: %v, want %v", test.places, crossSite, cookie)
		}

		issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "17", UserName: "alice"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		line := strings.Replace(test.example, "TOKEN", "tat_EXAMPLE_access_token", 1)
		if !strings.Contains(got.Info.Description, "\n    "+line+"\n") {
			t.Errorf("%v: the description does not contain %q", test.places, line)
		}
		line = strings.Replace(test.example, "TOKEN", issued.AccessToken.Reveal(), 1)
		r := httptest.NewRequest("GET", "/", nil)
		if name, value, ok := strings.Cut(line, ": "); ok {
			r.Header.Set(name, value)
		} else {
			_, r.URL.RawQuery, _ = strings.Cut(line, "?")
		}
		w := httptest.NewRecorder()
		auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Errorf("%v: a guard answered %d to the request of the description", test.places, w.Code)
		}
	}
}

// The description has a security scheme for API keys only with [tokenauth.Options.Keys].
// It shows a place where guards accept a key, so no cookie.
func TestDescribesTheSchemeOfKeys(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		keys   *tokenauth.KeyOptions
		places []place.Place
		want   map[string]any
	}{
		{nil, nil, nil},
		{&tokenauth.KeyOptions{Prefix: "acme_"}, nil, map[string]any{"type": "http", "scheme": "bearer"}},
		{&tokenauth.KeyOptions{Prefix: "acme_"}, []place.Place{place.Cookie{Name: "session"}, place.Header("X-Token")}, map[string]any{"type": "apiKey", "in": "header", "name": "X-Token"}},
	} {
		auth, err := tokenauth.New(new(memory.Store), people{}, &tokenauth.Options{Keys: test.keys, Places: test.places})
		if err != nil {
			t.Fatal(err)
		}
		d, err := openapi.New(auth, tokenauth.Endpoints{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		valid(t, d.JSON())
		scheme, _ := at(document(t, d.JSON()), "components", "securitySchemes", "key").(map[string]any)
		if (scheme != nil) != (test.keys != nil) {
			t.Errorf("%v: got the scheme %v", test.keys, scheme)
		}
		for name, want := range test.want {
			if scheme[name] != want {
				t.Errorf("%v: the scheme is %v, want %s %q", test.places, scheme, name, want)
			}
		}
		if text := fmt.Sprint(scheme["description"]); test.keys != nil && !strings.Contains(text, "begins with acme_") {
			t.Errorf("got the description %s", text)
		}
	}
}

// Protected keeps the requirements that an operation has, as alternatives.
func TestProtectedKeepsSecurity(t *testing.T) {
	t.Parallel()
	operation := map[string]any{"security": []map[string][]string{{"key": {}}}, "responses": map[string]any{}}
	b, err := json.Marshal(openapi.Protected(operation, "Reader")["security"])
	if want := `[{"bearer":["Reader"]},{"key":[]}]`; err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
	if b, _ := json.Marshal(operation["security"]); string(b) != `[{"key":[]}]` {
		t.Errorf("Protected changed its argument to %s", b)
	}
	defer func() {
		if recover() == nil {
			t.Error("security that is not a list: Protected did not panic")
		}
	}()
	openapi.Protected(map[string]any{"security": "key"})
}
