package tokenauth

import (
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cookie"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// SetCookie makes the response to r set the cookie to the new access token. The
// cookie is one of [Options.Places]. Call SetCookie before the response is
// written. It also sets Cache-Control to no-store.
//
// The browser keeps the cookie until the token expires, or for 400 days if each
// use extends the token ([Options.MaxLifetime]). [place.Cookie] documents the
// attributes. SetCookie panics if the cookie is one that [New] refuses.
//
// The route must refuse requests of other origins, for example with
// [http.CrossOriginProtection]. Otherwise a page of another site can sign its
// visitor in to the attacker's account.
func (i IssuedToken) SetCookie(w http.ResponseWriter, r *http.Request, c place.Cookie) {
	age := i.Token.ExpiresAt.Sub(i.Token.IssuedAt.Truncate(time.Second))
	if i.Token.Lifetime != 0 {
		age = maxCookieAge
	}
	cookie.Attributes(c).Write(w, r, i.AccessToken.Reveal(), int(age/time.Second))
}

// SetRefreshCookie makes the response to r set the cookie to the new refresh token, as
// [IssuedToken.SetCookie] does for the access token. The cookie is not one of
// [Options.Places]: it has another Name, and as its Path that of the route that calls
// [Service.Refresh], which reads it with [place.Cookie.Value]. With such a Path, another
// host of the same domain can set the cookie, too ([place.Cookie]). The browser keeps it
// until the refresh token expires. If there is no refresh token, because
// [Options.Refresh] is nil, the browser deletes the cookie.
func (i IssuedToken) SetRefreshCookie(w http.ResponseWriter, r *http.Request, c place.Cookie) {
	if i.Token.Refresh == nil {
		c.Clear(w, r)
		return
	}
	age := i.Token.Refresh.ExpiresAt.Sub(i.Token.IssuedAt.Truncate(time.Second))
	cookie.Attributes(c).Write(w, r, i.RefreshToken.Reveal(), int(min(age, maxCookieAge)/time.Second))
}

// maxCookieAge is the longest time for which browsers keep a cookie (RFC
// 6265bis §5.5).
const maxCookieAge = 400 * 24 * time.Hour

// changesState reports whether the request may change something: if its method
// is not safe (RFC 9110 §9.2.1), or if it opens a WebSocket. Browsers let every
// page open a WebSocket to any site and read from it, so its method GET proves
// nothing.
func changesState(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return len(r.Header["Upgrade"]) > 0
	}
	return true
}

// fromAnotherSite returns the response to a request that a browser may have sent
// with its cookie for a page of another site. It has no challenge, since no
// other token would help.
func fromAnotherSite() *ErrorResponse {
	return &ErrorResponse{Status: http.StatusForbidden, Code: wire.InvalidRequest, Description: wire.FromAnotherSite, Err: errCrossSite}
}
