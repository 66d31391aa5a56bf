// Package ginadapter mounts the Token API on Gin and protects Gin's routes. It
// decides nothing: what is answered, and when, is package tokenauth's.
//
// Put its middleware behind the host's recovery and logging, before anything
// that needs to know who is calling. Gin's own logger writes the query of each
// request to its log; the token endpoint refuses credentials in a query, but
// they are in that log by then.
package ginadapter

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Mount mounts the endpoints, for every method that Gin has, and returns them
// with their defaults filled in and the router's base path before them, for what
// describes them. Without Endpoints it mounts the token endpoint at "/Token" and
// "/token". The same paths with a slash behind become a plain 404: Gin's redirect
// would make the client send its password again. It panics, as Gin does at a bad
// path, with the error of tokenauth.Service.Handlers.
//
// Metadata belongs at the root of the host (RFC 8414 §3), so mount it on the
// engine itself: on a group it is under the group's path, where clients do not
// look.
func Mount(r gin.IRouter, s *tokenauth.Service, e ...tokenauth.Endpoints) tokenauth.Endpoints {
	base := ""
	if group, ok := r.(interface{ BasePath() string }); ok {
		base = group.BasePath()
	}
	handlers, mounted, err := s.Handlers(base, e...)
	if err != nil {
		panic(err)
	}
	for path, handler := range handlers {
		r.Any(path, gin.WrapH(handler))
		r.Any(path+"/", gin.WrapF(http.NotFound))
	}
	return mounted
}

// RequireBearer lets only requests with a valid access token through. It answers
// the others and aborts the chain.
func RequireBearer(s *tokenauth.Service) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{})
}

// RequireRole lets only requests of a user with at least one of the roles
// through. It authenticates by itself, and does not look up again a token that a
// guard before it found, if the request still presents that. It panics if there is
// no role, or an empty one.
func RequireRole(s *tokenauth.Service, anyOf ...string) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Roles: append([]string{}, anyOf...)})
}

// RequireClient lets only requests with a token that was issued to one of the
// clients through. Like RequireRole it authenticates by itself, and panics if
// there is no client, or an empty one.
func RequireClient(s *tokenauth.Service, anyOf ...string) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Clients: append([]string{}, anyOf...)})
}

// Optional lets every request through. From tells those with a valid access token
// from the others. If the storage failed, the answer is 503.
func Optional(s *tokenauth.Service) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Optional: true})
}

// From returns the token with which a guard let the request through, and false if
// there is none. The same token is in the context of c.Request, for
// tokenauth.FromContext, which says what it returns for a request that a handler
// made on the context of its own. A Context without a request has no token.
func From(c *gin.Context) (tokenauth.Token, bool) {
	if c == nil || c.Request == nil {
		return tokenauth.Token{}, false
	}
	return tokenauth.FromContext(c.Request.Context())
}

func guard(s *tokenauth.Service, q tokenauth.Requirement) gin.HandlerFunc {
	authorize := s.Authorizer(q)
	return func(c *gin.Context) {
		if c.Request == nil { // gin.CreateTestContext makes none
			c.Request, _ = http.NewRequest(http.MethodGet, "/", nil)
		}
		before := c.Request
		r, refusal := authorize(before)
		if refusal == nil {
			c.Request = r
			tokenauth.SetCacheHeaders(c.Writer.Header(), r)
			// The server removes the files of a form that it finds in its own
			// request.
			defer func() { before.MultipartForm = c.Request.MultipartForm }()
			c.Next()
			return
		}
		c.Abort()
		value, _ := c.Get(renderKey)
		if render, _ := value.(renderFunc); render != nil {
			refusal.SetHeaders(c.Writer.Header())
			render.answer(c, refusal)
			return
		}
		refusal.ServeHTTP(c.Writer, c.Request)
	}
}

// Before Gin 1.11, the keys of a Context are strings.
const renderKey = "github.com/bearerkit/bearerkit/ginadapter.RenderErrors"

// RenderErrors makes the guards behind it answer in the host's own format. The
// headers of the protocol are set before; render writes status and body, as in
// c.JSON(e.Status, …). An answer for which it writes no status has that of e. It
// takes precedence over tokenauth.Options.RenderError. Nil undoes an earlier
// RenderErrors.
func RenderErrors(render func(c *gin.Context, e *tokenauth.ErrorResponse)) gin.HandlerFunc {
	return func(c *gin.Context) { c.Set(renderKey, renderFunc(render)) }
}

type renderFunc func(*gin.Context, *tokenauth.ErrorResponse)

// answer has the func answer. The status of the refusal stays, unless the func
// sets another: Gin's default is 200. If the func panics before it writes, the
// client gets the answer as without it, and the panic goes on.
func (render renderFunc) answer(c *gin.Context, refusal *tokenauth.ErrorResponse) {
	before, returned := c.Writer, false
	defer func() {
		c.Writer = before
		if !returned && !before.Written() {
			before.Header().Del("Content-Encoding")
			refusal.ServeHTTP(before, c.Request)
		}
	}()
	c.Status(refusal.Status)
	c.Writer = finalWriter{before}
	render(c, refusal)
	returned = true
}

// A finalWriter ignores the statuses of informational responses, which Gin takes
// for that of the answer.
type finalWriter struct{ gin.ResponseWriter }

// Unwrap is for http.ResponseController.
func (w finalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w finalWriter) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
	}
}
