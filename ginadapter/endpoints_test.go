package ginadapter_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// On a group, Mount registers only the endpoints that the host asked for, each
// below the path of the group.
func TestEndpointsOnAGroupAreUnderItsPath(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	mounted := ginadapter.Mount(r.Group("/v1"), auth, tokenauth.Endpoints{Token: []string{"/token"}, Revocation: "/revoke", Issuer: "https://api.example.com"})
	want := tokenauth.Endpoints{Token: []string{"/v1/token"}, Revocation: "/v1/revoke", Issuer: "https://api.example.com"}
	if !reflect.DeepEqual(mounted, want) {
		t.Errorf("mounted %+v, want %+v", mounted, want)
	}
	for path, status := range map[string]int{
		"/v1/token": 405, "/v1/revoke": 405, "/v1/introspect": 404, "/token": 404, "/v1/token/": 404, "/v1/revoke/": 404,
	} {
		recorder := httptest.NewRecorder()
		r.ServeHTTP(recorder, httptest.NewRequest("PUT", path, nil))
		if recorder.Code != status {
			t.Errorf("PUT %s: got %d, want %d", path, recorder.Code, status)
		}
	}
}

// A principal that Options.Fallback returns passes the guards, and needs the same
// roles as the principal of a token.
func TestGuardsAcceptFallbackPrincipals(t *testing.T) {
	t.Parallel()
	auth, err := tokenauth.New(new(memory.Store), rejectAll{}, &tokenauth.Options{
		Fallback: func(r *http.Request) (tokenauth.Principal, error) {
			switch r.Header.Get("Authorization") {
			case "Bearer old":
				return tokenauth.Principal{UserID: "7", UserName: "alice", Roles: []string{"Reader"}}, nil
			case "Bearer ill":
				return tokenauth.Principal{}, errors.New("no keys")
			}
			return tokenauth.Principal{}, tokenauth.ErrRejected
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := gin.New()
	who := func(c *gin.Context) {
		token, _ := ginadapter.From(c)
		c.String(http.StatusOK, token.Principal.UserName)
	}
	r.GET("/me", ginadapter.RequireBearer(auth), who)
	r.GET("/reader", ginadapter.RequireRole(auth, "Reader"), who)
	r.GET("/admin", ginadapter.RequireRole(auth, "Administrator"), who)
	r.GET("/open", ginadapter.Optional(auth), who)
	for _, test := range []struct {
		path, token string
		status      int
		body        string
	}{
		{"/me", "old", 200, "alice"},
		{"/reader", "old", 200, "alice"},
		{"/admin", "old", 403, ""},
		{"/open", "old", 200, "alice"},
		{"/open", "new", 200, ""},
		{"/me", "new", 401, ""},
		{"/me", "ill", 503, ""},
		{"/open", "ill", 503, ""},
	} {
		w := get(r, test.path, test.token)
		if w.Code != test.status || test.status == 200 && w.Body.String() != test.body {
			t.Errorf("%s with token %q: got %d %s, want %d %s", test.path, test.token, w.Code, w.Body, test.status, test.body)
		}
	}
}

// A nil Service, as after an ignored error of New, panics when the host builds its
// routes, and not at the first request.
func TestNilServicePanicsAtMount(t *testing.T) {
	t.Parallel()
	var auth *tokenauth.Service
	for name, make := range map[string]func(){
		"Mount":          func() { ginadapter.Mount(gin.New(), auth) },
		"MountEndpoints": func() { ginadapter.Mount(gin.New(), auth, tokenauth.Endpoints{}) },
		"RequireBearer":  func() { ginadapter.RequireBearer(auth) },
		"RequireRole":    func() { ginadapter.RequireRole(auth, "Staff") },
		"RequireClient":  func() { ginadapter.RequireClient(auth, "web") },
		"Optional":       func() { ginadapter.Optional(auth) },
		"AllowGuests":    func() { ginadapter.AllowGuests(auth) },
	} {
		func() {
			defer func() {
				if p := recover(); !strings.Contains(fmt.Sprint(p), "check the error that tokenauth.New returned") {
					t.Errorf("%s of a nil Service panics with %v, want a hint at the error of tokenauth.New", name, p)
				}
			}()
			make()
		}()
	}
}
