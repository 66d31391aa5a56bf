package ginadapter_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// places are all kinds of places in the order in which guards look for a token.
// The func put adds a token to a request.
var places = []struct {
	name  string
	place place.Place
	put   func(r *http.Request, accessToken string)
}{
	{"scheme", place.Scheme("Bearer"), func(r *http.Request, accessToken string) { r.Header.Add("Authorization", "Bearer "+accessToken) }},
	{"header", place.Header("x-token"), func(r *http.Request, accessToken string) { r.Header.Add("X-Token", accessToken) }},
	{"WebSocket", place.WebSocket{}, func(r *http.Request, accessToken string) {
		r.Header.Add("Sec-WebSocket-Protocol", "feed, bearer."+accessToken)
	}},
	{"cookie", place.Cookie{Name: "session"}, func(r *http.Request, accessToken string) {
		r.Header.Add("Cookie", "theme=dark; __Host-session="+accessToken)
	}},
	{"query", place.InsecureQuery("access_token"), func(r *http.Request, accessToken string) {
		r.URL.RawQuery += "&access_token=" + accessToken
	}},
}

// A fill is a way to fill a place with tokens.
type fill struct {
	name   string
	tokens []string
	want   string // the user name, or the status
}

// The first place that a request has decides, whatever is in it and in the
// places behind it. The guards of net/http and of Gin agree.
func TestGuardsLookInTheListedPlaces(t *testing.T) {
	t.Parallel()
	store := new(memory.Store)
	service := func(listed ...place.Place) *tokenauth.Service {
		auth, err := tokenauth.New(store, rejectAll{}, &tokenauth.Options{Places: listed, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return auth
	}
	var backwards []place.Place
	for _, p := range places {
		backwards = append([]place.Place{p.place}, backwards...)
	}
	// Headers have the order of the list. Cookies and the query come after them.
	all := service(places[0].place, places[4].place, places[1].place, places[3].place, places[2].place)
	reversed := service(backwards...)
	accessToken := func(id, name string) string {
		issued, err := all.Issue(t.Context(), tokenauth.Principal{UserID: id, UserName: name, Roles: []string{"Staff"}}, &tokenauth.IssueOptions{ClientID: "web"})
		if err != nil {
			t.Fatal(err)
		}
		return issued.AccessToken.Reveal()
	}
	alice, bob := accessToken("17", "alice"), accessToken("18", "bob")
	fills := []fill{
		{"absent", nil, "401"},
		{"good", []string{alice}, "alice"},
		{"bad", []string{"tat_x"}, "401"},
		{"empty", []string{""}, "401"},
		{"doubled", []string{alice, alice}, "400"},
		{"doubled with a bad one", []string{alice, "tat_x"}, "400"},
	}
	for i, p := range places {
		alone := service(p.place)
		for _, f := range fills {
			r := httptest.NewRequest("GET", "/", nil)
			for _, token := range f.tokens {
				p.put(r, token)
			}
			expect(t, all, p.name+" "+f.name, r, f.want)
			expect(t, alone, p.name+" alone "+f.name, r, f.want)
			for j, other := range places {
				if j == i {
					continue
				}
				beside := r.Clone(t.Context())
				other.put(beside, bob)
				name := fmt.Sprintf("%s %s, bob in %s", p.name, f.name, other.name)
				want := func(first bool) string {
					if first && f.tokens != nil {
						return f.want
					}
					return "bob"
				}
				headers := i < 3 && j < 3
				expect(t, all, name, beside, want(i < j))
				expect(t, reversed, name+", backwards", beside, want(i < j != headers))
				expect(t, alone, name+", alone", beside, f.want)
			}
		}
	}
}

// expect sends a copy of the request through each kind of guard. Behind
// Optional, a refused request is anonymous.
func expect(t *testing.T, auth *tokenauth.Service, name string, r *http.Request, want string) {
	t.Helper()
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := tokenauth.FromContext(r.Context())
		if ok && token.Presented.Reveal() == "" {
			t.Errorf("%s: Token.Presented is empty", name)
		}
		io.WriteString(w, token.Principal.UserName)
	})
	for _, guard := range []struct {
		name string
		http func(http.Handler) http.Handler
		gin  gin.HandlerFunc
	}{
		{"RequireBearer", auth.RequireBearer, ginadapter.RequireBearer(auth)},
		{"RequireRole", auth.RequireRole("Staff"), ginadapter.RequireRole(auth, "Staff")},
		{"RequireClient", auth.RequireClient("web"), ginadapter.RequireClient(auth, "web")},
		{"Optional", auth.Optional, ginadapter.Optional(auth)},
	} {
		if guard.name == "Optional" && (want == "401" || want == "400") {
			want = ""
		}
		engine := gin.New()
		engine.Any("/", guard.gin, gin.WrapH(next))
		for framework, h := range map[string]http.Handler{"net/http": guard.http(next), "Gin": engine} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r.Clone(t.Context()))
			got := w.Body.String()
			if w.Code != http.StatusOK {
				got = fmt.Sprint(w.Code)
			}
			if got != want {
				t.Errorf("%s, %s of %s: got %q, want %q", name, guard.name, framework, got, want)
			}
		}
	}
}
