package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/gin-contrib/cors"
	"github.com/gin-gonic/gin"
	rscors "github.com/rs/cors"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

var recipes = map[string]build{"Gin": routes, "net/http": muxRoutes}

func TestPageSignsIn(t *testing.T) {
	t.Parallel()
	v := newVisit(t, routes)
	submit := func(password, shows string) {
		t.Helper()
		if err := chromedp.Do(v.browser, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(
			`form.password.value = %q; form.requestSubmit(); shown.textContent = ""`, password))); err != nil {
			t.Fatal(err)
		}
		if _, err := chromedp.Run(v.browser, chromedp.Poll[bool](fmt.Sprintf(`shown.textContent.includes(%q)`, shows))); err != nil {
			t.Errorf("the page did not show %q: %v", shows, err)
		}
	}
	submit("password", "Signed in as alice.")
	for i := range 5 {
		submit(fmt.Sprint("x", i), "The user name or password is incorrect.")
	}
	submit("password", "Try again in 1 seconds.")
}

func TestPageReadsEveryResponse(t *testing.T) {
	t.Parallel()
	for name, recipe := range recipes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t, recipe)
			in := v.signIn(t, "password")
			if in.Status != 200 || in.Token == "" {
				t.Fatalf("sign-in: the page got %+v, want 200 with a token", in)
			}
			labelled := v.signInLabelledJSON(t)
			if labelled.Status != 200 {
				t.Errorf("sign-in labelled as JSON: the page got %+v, want 200", labelled)
			}
			token := labelled.Token
			invalid := `Bearer realm="api", error="invalid_token", error_description="The access token `
			for _, test := range []struct {
				call      string
				got, want seen
			}{
				{"token", v.get(t, "/api/me", token), seen{Status: 200}},
				{"no token", v.fetch(t, "/api/me", "{}"), seen{Status: 401, Challenge: `Bearer realm="api"`}},
				{"replaced token", v.get(t, "/api/me", in.Token), seen{Status: 401, Code: "invalid_token", Challenge: invalid + `was replaced by a newer sign-in."`}},
				{"invalid token", v.get(t, "/api/me", "x"), seen{Status: 401, Code: "invalid_token", Challenge: invalid + `is invalid."`}},
				{"missing role", v.get(t, "/api/reports", token), seen{Status: 403, Code: "insufficient_scope", Challenge: `Bearer realm="api", error="insufficient_scope"`}},
				{"wrong password", v.signIn(t, "x"), seen{Status: 400, Code: "invalid_grant"}},
				{"GET with a body", v.fetch(t, "/Token", `{method: "GET", body: "grant_type=password"}`), seen{Error: "TypeError"}},
			} {
				if test.got != test.want {
					t.Errorf("%s: the page got %+v, want %+v", test.call, test.got, test.want)
				}
			}
			for i := range 5 {
				v.signIn(t, fmt.Sprint("x", i))
			}
			if got, want := v.signIn(t, "password"), (seen{Status: 429, Code: "temporarily_unavailable", Retry: "1"}); got != want {
				t.Errorf("throttled: the page got %+v, want %+v", got, want)
			}
			v.auth.Storage.Fail(errors.New("connection refused"))
			got := v.get(t, "/api/me", token)
			if got.Status != 503 || got.Code != "temporarily_unavailable" || got.Retry == "" {
				t.Errorf("storage down: the page got %+v, want 503 with Retry-After", got)
			}
		})
	}
}

// setting returns the settings of the recipe with a change.
func setting(change func(*cors.Config)) func(origins []string) gin.HandlerFunc {
	return func(origins []string) gin.HandlerFunc {
		c := cors.Config{
			AllowOrigins:  origins,
			AllowMethods:  []string{"GET", "POST"},
			AllowHeaders:  []string{"Authorization", "Content-Type"},
			ExposeHeaders: []string{"Retry-After", "WWW-Authenticate"},
		}
		change(&c)
		return cors.New(c)
	}
}

var whole = setting(func(*cors.Config) {})

func me(c *gin.Context) { c.JSON(http.StatusOK, gin.H{}) }

// Without any one setting of the recipe, some request of the page fails.
func TestEachSettingIsNeeded(t *testing.T) {
	t.Parallel()
	everywhere := func(handler func([]string) gin.HandlerFunc) build {
		return func(auth *tokenauth.Service, origins ...string) http.Handler {
			r := gin.New()
			r.Use(handler(origins))
			ginadapter.Mount(r, auth)
			r.GET("/api/me", ginadapter.RequireBearer(auth), me)
			return r
		}
	}
	nothing := seen{Error: "TypeError"}
	bad := seen{Status: 401, Code: "invalid_token"}
	full := bad
	full.Challenge = `Bearer realm="api", error="invalid_token", error_description="The access token is invalid."`
	for name, test := range map[string]struct {
		build
		signIn      int // status that the page reads, or 0 if fetch fails
		bad         seen
		labelled    int // status of a sign-in that needs a preflight
		preflight   int // status of the preflight of /api/me
		preflightAt int // status of the preflight of /Token
	}{
		"whole":   {everywhere(whole), 200, full, 200, 204, 204},
		"no CORS": {everywhere(func([]string) gin.HandlerFunc { return func(*gin.Context) {} }), 0, nothing, 0, 404, 405},
		"behind Mount": {func(auth *tokenauth.Service, origins ...string) http.Handler {
			r := gin.New()
			ginadapter.Mount(r, auth)
			r.Use(whole(origins))
			r.GET("/api/me", ginadapter.RequireBearer(auth), me)
			return r
		}, 0, full, 0, 204, 405},
		"on groups": {func(auth *tokenauth.Service, origins ...string) http.Handler {
			r := gin.New()
			ginadapter.Mount(r.Group("", whole(origins)), auth)
			r.Group("/api", whole(origins), ginadapter.RequireBearer(auth)).GET("/me", me)
			return r
		}, 200, nothing, 200, 404, 204},
		"behind the guard": {func(auth *tokenauth.Service, origins ...string) http.Handler {
			r := gin.New()
			ginadapter.Mount(r, auth)
			r.Use(ginadapter.RequireBearer(auth), whole(origins))
			r.GET("/api/me", me)
			return r
		}, 0, nothing, 0, 401, 405},
		"behind the guard, net/http": {func(auth *tokenauth.Service, origins ...string) http.Handler {
			c := rscors.New(rscors.Options{AllowedOrigins: origins, AllowedHeaders: []string{"Authorization"}})
			mux := http.NewServeMux()
			auth.Mount(mux)
			mux.Handle("/api/me", auth.RequireBearer(c.Handler(http.NotFoundHandler())))
			return mux
		}, 0, nothing, 0, 401, 405},
		"another origin":     {everywhere(setting(func(c *cors.Config) { c.AllowOrigins = []string{"https://app.example"} })), 0, nothing, 0, 403, 403},
		"no exposed headers": {everywhere(setting(func(c *cors.Config) { c.ExposeHeaders = nil })), 200, bad, 200, 204, 204},
		"no Authorization":   {everywhere(setting(func(c *cors.Config) { c.AllowHeaders = []string{"Content-Type"} })), 200, nothing, 200, 204, 204},
		"no Content-Type":    {everywhere(setting(func(c *cors.Config) { c.AllowHeaders = []string{"Authorization"} })), 200, full, 0, 204, 204},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVisit(t, test.build)
			before := strings.TrimPrefix(tokenauthtest.Bearer(t, v.auth.Service, tokenauth.Principal{UserID: "1", UserName: "alice"}), "Bearer ")
			if got := v.signIn(t, "password"); got.Status != test.signIn || (got.Error == "") != (test.signIn != 0) {
				t.Errorf("sign-in: the page got %+v, want status %d", got, test.signIn)
			}
			// The sign-in has replaced the token even if the page could not read
			// the response.
			_, err := v.auth.Validate(t.Context(), before)
			if replaced := errors.Is(err, tokenauth.ErrReplacedToken); replaced != (name != "another origin") {
				t.Errorf("Validate of the earlier token returned %v", err)
			}
			if got := v.signInLabelledJSON(t); got.Status != test.labelled {
				t.Errorf("sign-in labelled as JSON: the page got %+v, want status %d", got, test.labelled)
			}
			if got := v.get(t, "/api/me", "x"); got != test.bad {
				t.Errorf("request with an invalid token: the page got %+v, want %+v", got, test.bad)
			}
			if got := v.preflight(t, "/api/me"); got.StatusCode != test.preflight {
				t.Errorf("preflight of /api/me: got %d, want %d", got.StatusCode, test.preflight)
			}
			if got := v.preflight(t, "/Token"); got.StatusCode != test.preflightAt {
				t.Errorf("preflight of /Token: got %d, want %d", got.StatusCode, test.preflightAt)
			}
		})
	}
}

// Behind a proxy that changes Host, gin-contrib/cors refuses the API's own pages
// unless AllowOrigins has the API's origin.
func TestOwnOriginBehindProxy(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, nil)
	auth.Users.Add(tokenauth.Principal{UserID: "1", UserName: "alice"}, "password")
	for status, origins := range map[int][]string{403: {"https://app.example"}, 200: {"https://app.example", "https://api.example.com"}} {
		r := httptest.NewRequest("POST", "http://10.0.0.7:8080/Token", strings.NewReader("grant_type=password&username=alice&password=password"))
		r.Header.Set("Origin", "https://api.example.com")
		w := httptest.NewRecorder()
		routes(auth.Service, origins...).ServeHTTP(w, r)
		if w.Code != status || (w.Body.Len() == 0) != (status == 403) {
			t.Errorf("AllowOrigins %q: got %d %s, want %d", origins, w.Code, w.Body, status)
		}
	}
}
