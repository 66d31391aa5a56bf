// Package ginadapter mounts the Token API on Gin and protects Gin routes.
// [Mount] and the guards correspond to methods of [tokenauth.Service]. Clients
// get the same answers as they do with net/http.
//
// The order of middleware matters:
//
//   - Recovery and logging come first, so that they also cover the requests that
//     a guard refuses. A guard is the middleware that [RequireBearer],
//     [RequireRole], [RequireClient], [AllowGuests] or [Optional] returns.
//   - [RenderErrors] comes before the guards whose error responses it writes.
//   - A guard comes before the middleware and handlers that call [From].
//   - [gin.RouterGroup.Use] protects only the routes that are registered after
//     the call. Call it before registering the routes that need the guard.
//   - [Mount] goes on a router without guards. A client that signs in has no
//     token yet, so a guard in front of the token endpoint would refuse it.
//
// A guard decides and returns: it never calls [gin.Context.Next]. So the host's
// own middleware can call a guard as a func. If [gin.Context.IsAborted] then
// returns true, the guard has written the answer, and the middleware returns.
// Otherwise the middleware can call [From], and the host's handler has not run
// yet.
//
// If the request is a form with uploads (multipart/form-data), a guard changes
// the request of the [gin.Context] in place. A goroutine that a middleware in
// front of the guard started must not read such a request, not even through
// [gin.Context.Copy].
//
// [gin.Logger] writes the query of each request to its log. The token endpoint
// refuses credentials in a query, but the logger writes them even then.
package ginadapter

import (
	"net/http"
	"strings"

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
// aborts the chain: 401 without a valid token, 400 for a malformed request, 403
// for a cookie in a request of another site, 503 if the storage failed. See
// [tokenauth.Service.RequireBearer]. Handlers get the token from [From].
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

// AllowGuests returns middleware that also lets requests through that present no
// token. [From] returns false for them. A request with an expired, revoked or
// malformed token gets the answer that [RequireBearer] writes, so its client
// signs in again. See [tokenauth.Requirement].
func AllowGuests(s *tokenauth.Service) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Guests: true})
}

// Optional returns middleware that also lets anonymous requests through. A
// request with an expired, revoked or malformed token counts as anonymous, too,
// and does not get 401. [From] returns false for an anonymous request. If the
// storage failed, the answer is 503. See [tokenauth.Service.Optional].
//
// A client whose token has expired therefore gets the anonymous answer and no
// hint to sign in again. Use [AllowGuests] to refuse such a token, and
// [RequireBearer] on routes that need a user.
func Optional(s *tokenauth.Service) gin.HandlerFunc {
	return guard(s, tokenauth.Requirement{Optional: true})
}

// Guard returns middleware that lets a request through only if it meets the
// requirement, as [tokenauth.Requirement.Guard] does. It is for what the other
// guards do not have, such as a role and a client together, or a stream that ends
// with its token:
//
//	r.GET("/events", ginadapter.Guard(auth, tokenauth.Requirement{Stream: true}), events)
//
// Guard panics as [tokenauth.Service.Authorizer] does.
func Guard(s *tokenauth.Service, q tokenauth.Requirement) gin.HandlerFunc { return guard(s, q) }

// From returns the token with which the last guard let the request through. It
// returns false on a route without a guard, for a request that [Optional] or
// [AllowGuests] let through as anonymous, and for a [gin.Context] without a
// request.
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
		r, refusal := authorize(c.Request)
		if refusal == nil {
			setRequest(c, r)
			tokenauth.SetCacheHeaders(c.Writer.Header(), r)
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

// setRequest makes r the request of c.
//
// When a handler parses a multipart form, large files become temporary files. The
// server removes them after the request. It finds them in the request that it
// made, and r is a copy of that one. So for such a form, setRequest changes the
// request of c in place.
//
// It does not change other requests in place. A goroutine may be reading the
// request through a [gin.Context.Copy]. And a host's test may serve the same
// request twice, which must be authorized twice.
func setRequest(c *gin.Context, r *http.Request) {
	const form = "multipart/form-data"
	if t := r.Header.Get("Content-Type"); len(t) >= len(form) && strings.EqualFold(t[:len(form)], form) {
		*c.Request = *r
		return
	}
	c.Request = r
}
