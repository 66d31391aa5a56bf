package ginadapter

import (
	"maps"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// renderKey is the key under which [RenderErrors] stores its func in a
// [gin.Context]. It is a string because Gin before 1.11 accepts no other keys.
const renderKey = "github.com/bearerkit/bearerkit/ginadapter.RenderErrors"

// RenderErrors returns middleware that makes the guards behind it write error
// responses in the host's own format. It takes precedence over
// [tokenauth.Options.RenderError]. It does not change the responses of the
// endpoints that [Mount] registers.
//
// A guard sets the headers of the protocol, such as WWW-Authenticate, and then
// calls render, which writes the status and the body, for example with
// c.JSON(e.Status, …). If render sets a status below 400, such as 200 for an
// envelope, the guard removes WWW-Authenticate and Retry-After. If render sets
// no status, the response has the status in e
// ([tokenauth.ErrorResponse.Status]). If render panics before it writes, the
// client gets the standard answer, and the panic continues.
//
// A nil render restores the standard answers for the guards behind it.
//
// The host's own middleware can call the middleware as a func before it calls a
// guard.
func RenderErrors(render func(c *gin.Context, e *tokenauth.ErrorResponse)) gin.HandlerFunc {
	return func(c *gin.Context) { c.Set(renderKey, renderFunc(render)) }
}

// A renderFunc is the func that a host passes to [RenderErrors].
type renderFunc func(*gin.Context, *tokenauth.ErrorResponse)

// The method answer calls render, which writes the error response. Before that,
// answer sets the status of the refusal, because Gin's default is 200. If
// render panics before it writes, answer writes the standard response
// ([tokenauth.ErrorResponse.ServeHTTP]).
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
	c.Writer = &refusalWriter{before, make(http.Header)}
	render(c, refusal)
	returned = true
}

// A refusalWriter is the [gin.ResponseWriter] of a func given to
// [RenderErrors].
type refusalWriter struct {
	gin.ResponseWriter
	removed http.Header // by WriteHeader
}

// Unwrap returns the wrapped writer, for [http.ResponseController].
func (w *refusalWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sets the status. With a status below 400 it removes the
// errorHeaders, and puts them back if an error status follows, because Gin
// writes the last status that was set. It ignores informational (1xx) statuses.
// Otherwise Gin would treat an informational status as the status of the final
// answer.
func (w *refusalWriter) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	switch h := w.Header(); {
	case w.Written():
	case status >= 400:
		maps.Copy(h, w.removed)
		clear(w.removed)
	default:
		for _, name := range errorHeaders {
			if lines, ok := h[name]; ok {
				w.removed[name] = lines
				delete(h, name)
			}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// errorHeaders are headers that belong to errors. Beside another status, they
// would make a client or a proxy ask for a password, or wait.
var errorHeaders = []string{"Retry-After", "Www-Authenticate"}
