package tokenauth

import "net/http"

// SetCacheHeaders sets headers that prevent shared caches from sending one
// caller's response to another caller (RFC 9111). The guards of this package
// call it. An adapter to another framework calls it before the handler, with
// the request that the func from [Service.Authorizer] returned.
//
// It adds the headers of [Options.Places] to Vary: Authorization by default. If
// the request has a token, it also sets Cache-Control to private, unless h has a
// Cache-Control already.
//
// A handler that replaces Vary must include these headers. If a handler adds a
// Cache-Control of its own, as [net/http/httputil.ReverseProxy] does, the
// response has two Cache-Control lines. A shared cache then obeys the line with
// private.
func SetCacheHeaders(h http.Header, authorized *http.Request) {
	a := lastAuthorized(authorized.Context())
	switch {
	case a == nil:
		varyBy(h, "Authorization", nil)
		return
	case a.token == nil:
		varyBy(h, a.service.places.Vary(), nil)
		return
	}
	varyBy(h, a.lines[1], a.lines[1:2:2])
	if len(h["Cache-Control"]) == 0 {
		h["Cache-Control"] = a.lines[0:1:1]
	}
}
