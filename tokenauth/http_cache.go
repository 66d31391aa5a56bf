package tokenauth

import (
	"net/http"
	"slices"
)

// SetCacheHeaders keeps the response to a request that an Authorizer returned from
// the requests of others (RFC 9111). Adapters to other frameworks call it before
// the handler; the guards of this package do.
//
// It adds Authorization to Vary. If the request has a token, it sets Cache-Control
// to private, unless the header has a Cache-Control already. A handler that sets
// its own replaces that; one that adds its own, as httputil.ReverseProxy does,
// gets both lines, of which a shared cache obeys private.
func SetCacheHeaders(h http.Header, authorized *http.Request) {
	varyByAuthorization(h)
	if a := lastAuthorized(authorized.Context()); a != nil && a.token != nil && h["Cache-Control"] == nil {
		h["Cache-Control"] = private
	}
}

// private and authorization are shared by all responses, so that a guard allocates
// nothing for them, as Gin shares a Content-Type. They have no room, so that
// http.Header.Add copies.
var private = slices.Clip([]string{"private"})
