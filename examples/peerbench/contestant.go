package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A contestant is a Gin engine with one of the compared guards, which are
// middleware. The guard refuses invalid requests, and passes the user on to the
// handler.
type contestant struct {
	name    string
	handler http.Handler
	good    []*http.Request // one valid request for each user
	bad     []*http.Request // invalid requests
}

// A maker creates a contestant with a credential for each of the users.
type maker struct {
	name string
	make func(tb testing.TB, name string, users []tokenauth.Principal) contestant
}

// contestants lists the makers: one for each compared guard, and one for a route
// without a guard.
var contestants = []maker{
	{bareName, bare},
	{floorNames[0], floorSyncMap},
	{floorNames[1], floorMutexMap},
	{oursName, cached},
	{"this project, cached, token read", cachedAndRead},
	{strictName, strict},
	{ginJWTName, ginJWT},
	{golangJWTName, golangJWTHS256},
	{"golang-jwt EdDSA", golangJWTEdDSA},
	{"go-oauth2, memory store", goOAuth2},
	{"fosite, memory store", fositeIntrospection},
	{"scs, memstore", scsSession},
	{"gin-contrib/sessions, memstore", ginSessionMemory},
	{"gin-contrib/sessions, cookie store", ginSessionCookie},
}

// Names of the contestants whose times appear in ratios.
const (
	bareName      = "bare Gin"
	oursName      = "this project, cached"
	strictName    = "this project, strict on memory"
	ginJWTName    = "gin-jwt HS256"
	golangJWTName = "golang-jwt HS256"
)

var floorNames = [2]string{"ideal floor, sync.Map", "ideal floor, RWMutex map"}

// user returns the i-th principal. Its strings are as long as those of users in
// real services.
func user(i int) tokenauth.Principal {
	return tokenauth.Principal{
		UserID:   fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(i)*2654435761, i),
		UserName: fmt.Sprintf("user%07d@example.org", i),
		Roles:    []string{"Reader"},
		Stamp:    fmt.Sprintf("STAMPSTAMPSTAMPST%09d", i),
	}
}

func users(n int) []tokenauth.Principal {
	users := make([]tokenauth.Principal, n)
	for i := range users {
		users[i] = user(i)
	}
	return users
}

// Paths of the routes. Measurements call path, which answers 204. Tests call
// whoPath, which answers with the user's ID.
const (
	path    = "/me"
	whoPath = "/who"
)

// engine returns a Gin engine with the guard in front of its routes. The function
// who returns the ID of the authenticated user, in the way that the contestant's
// documentation recommends.
func engine(guard gin.HandlerFunc, who func(*gin.Context) string) *gin.Engine {
	return engineOf(guard, who, func(c *gin.Context) { c.Status(http.StatusNoContent) })
}

func engineOf(guard gin.HandlerFunc, who func(*gin.Context) string, handler gin.HandlerFunc) *gin.Engine {
	r := gin.New()
	if guard != nil {
		r.Use(guard)
	}
	r.GET(path, handler)
	r.GET(whoPath, func(c *gin.Context) { c.String(http.StatusOK, who(c)) })
	return r
}

func request() *http.Request {
	r, err := http.NewRequest("GET", path, http.NoBody) // as in a request without a body that a server receives
	if err != nil {
		panic(err)
	}
	r.RemoteAddr = "192.0.2.1:1234"
	return r
}

func bearer(accessToken string) *http.Request {
	r := request()
	r.Header.Set("Authorization", "Bearer "+accessToken)
	return r
}

// tampered returns the token with one letter changed in its last third.
func tampered(accessToken string) string {
	b := []byte(accessToken)
	if i := len(b) * 5 / 6; b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

// withBearers returns the contestant with a valid request for each access token,
// and with invalid requests. There is one access token for each user.
func (c contestant) withBearers(accessTokens []string) contestant {
	for _, t := range accessTokens {
		c.good = append(c.good, bearer(t))
	}
	c.bad = append(c.bad, request(), bearer(tampered(accessTokens[0])))
	return c
}

// check returns an error unless the contestant accepts valid requests, identifies
// their users, and refuses invalid requests.
func (c contestant) check(users []tokenauth.Principal) error {
	// Turn off logging: some contestants log refused requests, and check sends
	// invalid requests on purpose.
	logger := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	defer slog.SetDefault(logger)
	for i, r := range c.good {
		if got := answer(c.handler, r, path); got.Code != http.StatusNoContent {
			return fmt.Errorf("%s: a valid request got status %d, want 204", c.name, got.Code)
		}
		if got := answer(c.handler, r, whoPath); got.Code != http.StatusOK || got.Body.String() != users[i].UserID {
			return fmt.Errorf("%s: the response names the user %q (status %d), want %q", c.name, got.Body, got.Code, users[i].UserID)
		}
	}
	for i, r := range c.bad {
		if got := answer(c.handler, r, path); got.Code != http.StatusUnauthorized {
			return fmt.Errorf("%s: the invalid request with index %d got status %d, want 401", c.name, i, got.Code)
		}
	}
	return nil
}

func answer(h http.Handler, template *http.Request, path string) *httptest.ResponseRecorder {
	r := template.Clone(template.Context())
	r.URL.Path = path
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// serve returns an operation that serves valid requests on the given number of
// goroutines.
func (c contestant) serve(goroutines int) operation {
	return operation{name: c.name, run: func(a amount) error {
		return spread(goroutines, a, 32, func(g int) func(int) error {
			w := &blank{header: make(http.Header)}
			r := new(http.Request)
			return func(i int) error {
				// The request is a new copy, so that a contestant cannot keep data in
				// it, or in the headers of the response, for a later request.
				*r = *c.good[(g*7+i)%len(c.good)]
				clear(w.header)
				w.status = 0
				c.handler.ServeHTTP(w, r)
				return nil
			}
		})
	}}
}

// blank is an [http.ResponseWriter] that discards the response.
type blank struct {
	header http.Header
	status int
}

func (b *blank) Header() http.Header         { return b.header }
func (b *blank) Write(p []byte) (int, error) { return len(p), nil }
func (b *blank) WriteHeader(status int)      { b.status = status }

// cores returns the number of goroutines that serve requests.
func cores() int { return runtime.GOMAXPROCS(0) }
