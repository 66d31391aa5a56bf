package place

import (
	"net/http"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cookie"
)

// A Cookie is a cookie whose value is the token. A browser sends it with every
// request to the host, also with those that a page of another site causes. So
// guards check where a request with such a cookie comes from.
//
// # Requests of other sites
//
// A guard answers 403 if the token is in a cookie, the request may change
// something, and the browser says that it comes from another site. A request may
// change something if its method is not GET, HEAD, OPTIONS or TRACE, or if it
// opens a WebSocket. So the handlers of GET must change nothing.
//
// The browser says so with Sec-Fetch-Site, or with an Origin that is not the
// host of the request. If the request came over TLS, the Origin must be https.
// Each other origin counts as another site, also a subdomain. Old browsers send
// only Origin, and so does Chromium with the handshake of a WebSocket. They need
// a proxy that passes on the Host of the request.
//
// A handler that signs a user in has no guard, so it needs a check of its own,
// such as [http.CrossOriginProtection]. Otherwise a page of another site can
// sign its visitor in to the attacker's account.
//
// # Attributes
//
// The browser gets the cookie as __Host-NAME if Domain is empty and Path is "/".
// Otherwise it gets __Secure-NAME. Both always have Secure and HttpOnly. With
// __Host-, no other host of the same domain can set the cookie.
//
// Some browsers ignore such a cookie over plain HTTP, also from their own
// machine. So the name is NAME alone, without Secure and Domain, if a request
// came over plain HTTP to localhost, a name below it, 127.0.0.0/8 or [::1], and
// not through a proxy: it has no Forwarded or X-Forwarded-… header, and its
// Origin, if it has one, begins with http://. Let the proxy in front of a service
// pass on the Host of the request, or set one of these headers.
type Cookie struct {
	// Name is the name of the cookie, without a prefix.
	Name string
	// Domain and Path are as in [http.Cookie]. Empty means this host only, and
	// "/". If you change them, also change Name. Otherwise a browser may send the
	// old cookie beside the new one, and guards refuse two cookies of one name.
	Domain, Path string
	// SameSite is as in [http.Cookie]. Zero means [http.SameSiteLaxMode].
	SameSite http.SameSite
}

// Clear makes the response to r delete the cookie. Call it before the response
// is written. It also sets Cache-Control to no-store. It panics if the cookie is
// one that tokenauth.New refuses.
//
// The token itself stays valid: also revoke it.
//
// The route must refuse requests of other origins, for example with
// [http.CrossOriginProtection]. A guard does not refuse those without the cookie,
// but their response would delete it.
func (c Cookie) Clear(w http.ResponseWriter, r *http.Request) {
	cookie.Attributes(c).Write(w, r, "", -1)
}

// Value returns the value of the cookie in the request, or "" if the request has no or
// several cookies of this name. It is for a route of the host that reads a refresh token.
// Guards read the cookies of tokenauth.Options.Places by themselves.
//
// The route must refuse requests of other origins, for example with
// [http.CrossOriginProtection].
func (c Cookie) Value(r *http.Request) string {
	value, n := cookie.Attributes(c).Read(r)
	if n != 1 {
		return ""
	}
	return value
}
