// Package ginadapter mounts the Token API on Gin and protects Gin routes.
// [Mount] and the guards correspond to methods of [tokenauth.Service]. Clients
// get the same answers as they do with net/http.
//
// The order of middleware matters:
//
//   - Recovery and logging come first, so that they also cover the requests that
//     a guard refuses. A guard is the middleware that [RequireBearer],
//     [RequireRole], [RequireClient] or [Optional] returns.
//   - [RenderErrors] comes before the guards whose error responses it writes.
//   - A guard comes before the middleware and handlers that call [From].
//   - [gin.RouterGroup.Use] protects only the routes that are registered after
//     the call. Call it before registering the routes that need the guard.
//   - [Mount] goes on a router without guards. A client that signs in has no
//     token yet, so a guard in front of the token endpoint would refuse it.
//
// [gin.Logger] writes the query of each request to its log. The token endpoint
// refuses credentials in a query, but the logger writes them even then.
package ginadapter

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Mount registers the endpoints on r for every HTTP method that Gin supports, as
// [tokenauth.Service.Mount] does on an [http.ServeMux]. Without a
// [tokenauth.Endpoints] it registers the token endpoint at "/Token" and "/token".
//
// It returns the endpoints with their defaults filled in and with the base path
// of r in front of each path. Pass them to code that describes the API, such as
// the package tokenauth/openapi.
//
// Mount also registers each path with a trailing slash, where the answer is a
// plain 404. Otherwise Gin would redirect such a request, and the client would
// send its password a second time.
//
// It panics if [tokenauth.Service.Handlers] returns an error, or if Gin does
// not accept a path.
//
// Clients look for metadata at the root of the host (RFC 8414 §3). To serve it,
// call Mount with the [gin.Engine] itself. On a group, the metadata is below the
// path of the group, where clients do not find it.
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

// RequireBearer returns middleware that lets a request through only if it has a
// valid access token. For other requests, the middleware writes the answer and
// aborts the chain: 401 without a valid token, 400 for a malformed request, 503
// if the storage failed. See [tokenauth.Service.RequireBearer]. Handlers get
// the token from [From].
func RequireBearer(s *tokenauth.Service) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{})
}

// RequireRole returns middleware that lets a request through only if its user
// has at least one of the roles. Other users get 403, and a request without a
// valid token gets 401. Roles are compared exactly. See
// [tokenauth.Service.RequireRole].
//
// The middleware authenticates the request itself, so it does not need
// [RequireBearer] in front of it. Behind another guard, it does not look up the
// token again if the request still presents the same token.
//
// It panics if anyOf is empty or contains an empty role.
func RequireRole(s *tokenauth.Service, anyOf ...string) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Roles: append([]string{}, anyOf...)})
}

// RequireClient returns middleware that lets a request through only if its
// token was issued to one of the clients. A valid token of another client gets
// 403. See [tokenauth.Service.RequireClient].
//
// As with [RequireRole], the middleware authenticates the request itself.
// RequireClient panics if anyOf is empty or contains an empty client ID.
func RequireClient(s *tokenauth.Service, anyOf ...string) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Clients: append([]string{}, anyOf...)})
}

// Optional returns middleware that also lets anonymous requests through. A
// request with an expired, revoked or malformed token counts as anonymous, too,
// and does not get 401. [From] returns false for an anonymous request. If the
// storage failed, the answer is 503. See [tokenauth.Service.Optional].
//
// A client whose token has expired therefore gets the anonymous answer and no
// hint to sign in again. Use [RequireBearer] on routes that need a user.
func Optional(s *tokenauth.Service) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Optional: true})
}

// From returns the token with which the last guard let the request through. It
// returns false on a route without a guard, for a request that [Optional] let
// through as anonymous, and for a [gin.Context] without a request.
//
// The token is in the context of c.Request, so code that does not import Gin
// can pass c.Request.Context() to [tokenauth.FromContext]. FromContext finds no
// token in c itself, unless [gin.Engine.ContextWithFallback] is true. If a
// handler makes a further request with this context, that request inherits the
// token: see [tokenauth.FromContext].
func From(c *gin.Context) (tokenauth.Token, bool) {
	if c == nil || c.Request == nil {
		return tokenauth.Token{}, false
	}
	return tokenauth.FromContext(c.Request.Context())
}

func guard(s *tokenauth.Service, q tokenauth.Requirement) gin.HandlerFunc {
	authorize := s.Authorizer(q)
	return func(c *gin.Context) {
		if c.Request == nil { // as after gin.CreateTestContext
			c.Request, _ = http.NewRequest(http.MethodGet, "/", nil)
		}
		before := c.Request
		r, refusal := authorize(before)
		if refusal == nil {
			c.Request = r
			tokenauth.SetCacheHeaders(c.Writer.Header(), r)
			// A handler may store temporary files in the multipart form of r,
			// which is a copy. The server removes only the original request's
			// files, so copy the form back.
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
