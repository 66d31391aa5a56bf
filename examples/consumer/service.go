package main

import (
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// A service holds the state that the handlers share.
type service struct {
	auth    *tokenauth.Service
	keys    *tokenauth.Keys
	users   users
	origin  string         // of a page elsewhere that may call the API; or ""
	sockets sync.WaitGroup // the open WebSockets, for which the server does not wait
	now     func() time.Time
}

// session is the cookie with the access token of a browser, and stay is the one with its
// refresh token, which the browser sends to /session only.
var (
	session = place.Cookie{Name: "session"}
	stay    = place.Cookie{Name: "stay", Path: "/session", SameSite: http.SameSiteStrictMode}
)

// codeParameter is the parameter of a sign-in that has the one-time code.
const codeParameter = "otp"

func newService(store *store, c config) (*service, error) {
	options := &tokenauth.Options{
		Lifetime:   15 * time.Minute,                                      // of an access token
		Refresh:    &tokenauth.RefreshOptions{Grace: 10 * time.Second},    // users stay signed in for up to 90 days
		Devices:    &tokenauth.DeviceOptions{Parameter: "device"},         // a token for each device
		Keys:       &tokenauth.KeyOptions{Prefix: "consumer_"},            // for the scripts of users
		Parameters: []string{codeParameter},                               // for the check of the users
		Places:     []place.Place{place.Scheme("Bearer"), session},        // apps, and the page
		Throttle:   tokenauth.ThrottleOptions{InsecureOff: c.unthrottled}, // only for load tests
	}
	options.Now = c.now // nil means the system clock
	if c.cache {
		options.Cache = &tokenauth.CacheOptions{}
	}
	auth, err := tokenauth.New(store.tokens, store.users, options)
	if err != nil {
		return nil, err
	}
	s := &service{auth: auth, users: store.users, origin: c.origin, now: time.Now}
	if c.now != nil {
		s.now = c.now
	}
	s.keys, err = tokenauth.NewKeys(auth)
	return s, err
}

func (s *service) routes() http.Handler {
	r := gin.New()
	r.RedirectTrailingSlash = false // or DELETE /api/devices/ would end all other devices
	r.Use(gin.Recovery(), s.allowOrigin)
	servePage(r)

	ginadapter.Mount(r, s.auth) // POST /Token, for apps
	r.POST("/session", onlyOwnPages, s.signIn)
	r.DELETE("/session", onlyOwnPages, ginadapter.Optional(s.auth), s.signOut)

	api := r.Group("/api", ginadapter.RequireBearer(s.auth))
	api.GET("/me", s.me)
	api.GET("/devices", s.listDevices)
	api.DELETE("/devices/:id", s.endDevice)
	api.DELETE("/devices", s.endOtherDevices)
	api.POST("/password", s.changePassword)
	api.POST("/keys", s.createKey)
	api.GET("/keys", s.listKeys)
	api.PATCH("/keys/:id", s.renameKey)
	api.DELETE("/keys/:id", s.endKey)

	r.GET("/api/reports", ginadapter.Guard(s.auth, tokenauth.Requirement{Keys: true}), s.reports)

	stream := ginadapter.Guard(s.auth, tokenauth.Requirement{Stream: true})
	r.GET("/events", stream, s.events)
	r.GET("/ws", stream, s.socket)
	return r
}

// allowOrigin lets the page of the flag -origin call /Token and /api (CORS). It
// does not allow credentials, so that page cannot use the cookie.
func (s *service) allowOrigin(c *gin.Context) {
	path, origin := c.Request.URL.Path, c.GetHeader("Origin")
	if s.origin == "" || !strings.EqualFold(path, "/Token") && !strings.HasPrefix(path, "/api/") {
		return
	}
	h := c.Writer.Header()
	h.Add("Vary", "Origin")
	if origin != s.origin {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate")
	if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "3600")
		c.AbortWithStatus(http.StatusNoContent)
	}
}

// onlyOwnPages refuses pages of other sites, which may try to sign their visitors in
// or out. It is for the routes that set or delete the cookie: a guard cannot know
// that a request without a cookie needs this.
func onlyOwnPages(c *gin.Context) {
	if new(http.CrossOriginProtection).Check(c.Request) != nil {
		c.AbortWithStatus(http.StatusForbidden)
	}
}

// readForm reads a urlencoded body. If it has none of the parameters, readForm writes
// the response and returns false.
func readForm(c *gin.Context, parameters ...string) bool {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 16<<10)
	if err := c.Request.ParseForm(); err != nil || !slices.ContainsFunc(parameters, c.Request.PostForm.Has) {
		writeError(c, http.StatusBadRequest, "invalid_request", "Send a form (application/x-www-form-urlencoded) with the parameter "+strings.Join(parameters, " or ")+".")
		return false
	}
	return true
}

// answer writes 204, or the response that /Token has for the error.
func answer(c *gin.Context, err error) {
	switch {
	case err == nil:
		c.Status(http.StatusNoContent)
	case errors.Is(err, tokenauth.ErrNotFound):
		c.Status(http.StatusNotFound)
	case errors.Is(err, password.ErrUnacceptable):
		writeError(c, http.StatusBadRequest, "invalid_request", "A password has 1 to 1024 bytes.")
	default:
		e := tokenauth.ErrorResponseOf(err)
		if e.Status >= http.StatusInternalServerError {
			slog.ErrorContext(c.Request.Context(), "request failed", "route", c.FullPath(), "error", err)
		}
		e.SetHeaders(c.Writer.Header())
		writeError(c, e.Status, e.Code, e.Description)
	}
}

func writeError(c *gin.Context, status int, code, description string) {
	c.JSON(status, gin.H{"error": code, "error_description": description})
}
