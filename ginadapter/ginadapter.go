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

// Mount mounts the token endpoint at the paths, or at tokenauth.TokenPaths if
// there are none. It is MountEndpoints with these paths and nothing else.
func Mount(r gin.IRouter, s *tokenauth.Service, paths ...string) {
	MountEndpoints(r, s, tokenauth.Endpoints{Token: paths})
}

// MountEndpoints mounts the endpoints that the host asks for, for every method
// that Gin has, and returns them with their defaults filled in and the router's
// base path before them, for what describes them. The same paths with a slash
// behind become a plain 404: Gin's redirect would have the client send its
// password again. It panics, as Gin does at a bad path, if a field of e is
// wrong.
//
// Metadata belongs at the root of the host (RFC 8414 §3), so mount it on the
// engine itself: on a group it is under the group's path, where clients do not
// look.
func MountEndpoints(r gin.IRouter, s *tokenauth.Service, e tokenauth.Endpoints) tokenauth.Endpoints {
	base := ""
	if group, ok := r.(interface{ BasePath() string }); ok {
		base = group.BasePath()
	}
	handlers, mounted, err := s.Handlers(e, base)
	if err != nil {
		panic(err)
	}
	for path, handler := range handlers {
		r.Any(path, gin.WrapH(handler))
		r.Any(path+"/", gin.WrapF(http.NotFound))
	}
	return mounted
}

// RequireBearer lets only requests with a good access token through. Refused
// ones are answered, and the chain is aborted.
func RequireBearer(s *tokenauth.Service) gin.HandlerFunc { return guard(s, s.Authorize) }

// RequireRole lets only requests of a user with at least one of the roles
// through. It authenticates by itself if no guard before it did. It panics if
// there is no role, or an empty one.
func RequireRole(s *tokenauth.Service, anyOf ...string) gin.HandlerFunc {
	return guard(s, s.RoleAuthorizer(anyOf...))
}

// RequireClient lets only requests with a token that was issued to one of the
// clients through. Like RequireRole it authenticates by itself, and panics if
// there is no client, or an empty one.
func RequireClient(s *tokenauth.Service, anyOf ...string) gin.HandlerFunc {
	return guard(s, s.ClientAuthorizer(anyOf...))
}

// Optional lets every request through; From tells those with a good access
// token from the others. Only trouble with the storage is refused.
func Optional(s *tokenauth.Service) gin.HandlerFunc { return guard(s, s.AuthorizeOptional) }

// From returns the token that a guard found good for the request, and false if
// there is none. The same token is in the context of c.Request, for
// tokenauth.FromContext.
func From(c *gin.Context) (tokenauth.Token, bool) {
	return tokenauth.FromContext(c.Request.Context())
}

func guard(s *tokenauth.Service, authorize tokenauth.Authorizer) gin.HandlerFunc {
	if s == nil {
		panic("ginadapter: the Service is nil: was the error of tokenauth.New looked at?")
	}
	return func(c *gin.Context) {
		before := c.Request
		r, refusal := authorize(before)
		if refusal == nil {
			c.Request = r
			// The server removes the files of a form that it finds in its own
			// request.
			defer func() { before.MultipartForm = c.Request.MultipartForm }()
			c.Next()
			return
		}
		c.Abort()
		if render, ok := c.Get(renderKey); ok {
			s.PrepareRefusal(c.Writer, c.Request, refusal)
			render.(func(*gin.Context, *tokenauth.Refusal))(c, refusal)
			return
		}
		s.Refuse(c.Writer, c.Request, refusal)
	}
}

// Before Gin 1.11, the keys of a Context are strings.
const renderKey = "github.com/bearerkit/bearerkit/ginadapter.RenderRefusals"

// RenderRefusals has the guards behind it write their refusals in the host's
// own format. The headers that the protocol asks for are set by then; render
// writes status and body, as in c.JSON(f.Status, …), and goes before
// tokenauth.Options.RenderRefusal.
func RenderRefusals(render func(c *gin.Context, f *tokenauth.Refusal)) gin.HandlerFunc {
	return func(c *gin.Context) { c.Set(renderKey, render) }
}
