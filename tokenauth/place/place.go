// Package place has the places in a request where an access token may be, for
// tokenauth.Options.Places. By default, guards look only at the Authorization
// header, behind the scheme Bearer. A service for a browser application may add
// a cookie, which no script can read:
//
//	var session = place.Cookie{Name: "session"}
//
//	auth, err := tokenauth.New(store, users, &tokenauth.Options{
//		Places: []place.Place{place.Scheme("Bearer"), session},
//	})
//
// The handler that signs a user in calls tokenauth.IssuedToken.SetCookie, and
// the one that signs the user out calls [Cookie.Clear].
//
// # Several places
//
// Guards look for a token in this order, whatever the order of the list:
//
//   - in headers ([Scheme], [Header] and [WebSocket]), in the order of the list;
//   - in cookies ([Cookie]), in the order of the list;
//   - in the query ([InsecureQuery]), in the order of the list.
//
// The first place that the request has decides. If the token there is empty or
// not valid, guards do not look further. So a client that sends a header is
// never taken for the user of a cookie. If a Scheme or the header Authorization
// is listed, any Authorization header decides: one with another scheme counts as
// a request without a token.
//
// A place that has several tokens is an error (400): two lines of a header, two
// cookies with one name, a parameter that is given twice.
//
// The list is for the guards only. The endpoints for tokens, revocation and
// introspection look nowhere else than without it.
package place

// A Place is a place in a request where its access token may be: a [Scheme], a
// [Header], a [WebSocket], a [Cookie] or an [InsecureQuery].
type Place interface{ place() }

// A Scheme is the Authorization header with this scheme in front of the token,
// such as "Bearer" or "Token". The case of the scheme does not matter (RFC 9110
// §11.1). Whatever the scheme, the challenge in a 401 is that of Bearer.
type Scheme string

// A Header is the header of this name, whose whole value is the token, such as
// "X-Token". With "Authorization" the token is in that header without a scheme.
type Header string

// WebSocket is a subprotocol of the WebSocket handshake (RFC 6455 §1.9): the
// client offers "bearer." followed by the token, and a second subprotocol. The
// script of a page cannot set any other header of a handshake:
//
//	new WebSocket("wss://api.example.com/feed", ["feed", "bearer." + token])
//
// The server must select the other subprotocol. It must not simply select the
// first one that the client offers, because the selected one is in the response.
type WebSocket struct{}

// An InsecureQuery is a parameter of this name in the query of a GET or HEAD
// request. The token is then in access logs, in the browser's history, and
// wherever else the URL goes (RFC 6750 §5.3). Use it only if a client can set
// neither a header nor a cookie.
type InsecureQuery string

func (Scheme) place()        {}
func (Header) place()        {}
func (WebSocket) place()     {}
func (Cookie) place()        {}
func (InsecureQuery) place() {}
