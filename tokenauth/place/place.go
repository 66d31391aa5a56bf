// Package place has the places in a request where an access token may be, for
// tokenauth.Options.Places.
package place

import "net/http"

// A Place is a place in a request where its access token may be: a [Scheme], a
// [Header], a [WebSocket], a [Cookie] or an [InsecureQuery].
type Place interface{ place() }

// A Scheme is the Authorization header with this scheme in front of the token,
// such as "Bearer" or "Token". The case of the scheme does not matter (RFC 9110
// §11.1).
type Scheme string

// A Header is the header of this name, whose whole value is the token, such as
// "X-Token". With "Authorization" the token is in that header without a scheme.
type Header string

// WebSocket is a subprotocol of the WebSocket handshake: the client offers
// "bearer." followed by the token, and a second subprotocol. Browsers can set no
// other header of a handshake. The server must select the second one, so that
// the token is not in the response.
type WebSocket struct{}

// A Cookie is a cookie whose value is the token.
type Cookie struct {
	// Name is the name of the cookie.
	Name string
	// Domain and Path are as in [http.Cookie]. Empty means this host only, and
	// "/".
	Domain, Path string
	// SameSite is as in [http.Cookie]. Zero means [http.SameSiteLaxMode].
	SameSite http.SameSite
}

// An InsecureQuery is a parameter of this name in the query of a GET or HEAD
// request. The token is then in access logs, in the browser's history, and
// wherever else the URL goes.
type InsecureQuery string

func (Scheme) place()        {}
func (Header) place()        {}
func (WebSocket) place()     {}
func (Cookie) place()        {}
func (InsecureQuery) place() {}
