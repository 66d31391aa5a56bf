package openapi_test

import (
	"encoding/json"
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
