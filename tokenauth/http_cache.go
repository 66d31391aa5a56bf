package tokenauth

import "net/http"

// SetCacheHeaders keeps the response to a request that an Authorizer returned from
// the requests of others (RFC 9111). Adapters to other frameworks call it before
// the handler; the guards of this package do.
//
// It adds Authorization to Vary. If the request has a token, it sets Cache-Control
// to private, unless the header has a Cache-Control already. A handler that sets
// its own of either replaces that, and so has to name Authorization in Vary itself.
// One that adds its own Cache-Control, as httputil.ReverseProxy does, gets both
// lines, of which a shared cache obeys private.
func SetCacheHeaders(h http.Header, authorized *http.Request) {
	a := lastAuthorized(authorized.Context())
	if a == nil || a.token == nil {
		varyByAuthorization(h, nil)
		return
	}
	varyByAuthorization(h, a.lines[1:2:2])
	if len(h["Cache-Control"]) == 0 {
		h["Cache-Control"] = a.lines[0:1:1]
	}
}
