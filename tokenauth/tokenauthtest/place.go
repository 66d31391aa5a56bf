package tokenauthtest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// present puts the access token into the request: behind the scheme Bearer if
// the places are nil or have this scheme, and otherwise in the first place.
func present(r *http.Request, accessToken string, places []place.Place) {
	bearer := place.Scheme("Bearer")
	if places == nil || slices.ContainsFunc(places, func(p place.Place) bool {
		scheme, ok := p.(place.Scheme)
		return ok && strings.EqualFold(string(scheme), string(bearer))
	}) {
		places = []place.Place{bearer}
	}
	switch at := places[0].(type) {
	case place.Scheme:
		r.Header.Set("Authorization", string(at)+" "+accessToken)
	case place.Header:
		r.Header.Set(string(at), accessToken)
	case place.WebSocket:
		r.Header.Add("Sec-WebSocket-Protocol", "bearer."+accessToken)
	case place.Cookie:
		// The name of the cookie depends on the request.
		w := httptest.NewRecorder()
		tokenauth.IssuedToken{AccessToken: tokenauth.NewSecret(accessToken)}.SetCookie(w, r, at)
		cookie, _, _ := strings.Cut(w.Header().Get("Set-Cookie"), ";")
		r.Header.Add("Cookie", cookie)
	case place.InsecureQuery:
		query := r.URL.Query()
		query.Set(string(at), accessToken)
		r.URL.RawQuery = query.Encode()
	}
}
