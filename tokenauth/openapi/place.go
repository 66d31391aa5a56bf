package openapi

import (
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/internal/cookie"
	"github.com/bearerkit/bearerkit/tokenauth/place"
)

// tokenPlace returns the place that the description shows: Bearer if the host
// lists it, and otherwise the first listed place that OpenAPI can describe. It
// returns Bearer if there is none.
func (f *facts) tokenPlace() place.Place { return shown(f.Places) }

func shown(places []place.Place) place.Place {
	bearer := place.Scheme("Bearer")
	isBearer := func(p place.Place) bool {
		s, ok := p.(place.Scheme)
		return ok && strings.EqualFold(string(s), string(bearer))
	}
	if places == nil || slices.ContainsFunc(places, isBearer) {
		return bearer
	}
	for _, p := range places {
		if p != (place.WebSocket{}) {
			return p
		}
	}
	return bearer
}

// tokenScheme returns the security scheme of protected routes.
func (f *facts) tokenScheme() object {
	const filled = " Signing in on this page fills it in."
	p := f.tokenPlace()
	description := "The access token." + filled
	switch p := p.(type) {
	case place.Cookie:
		description = "The access token. A browser sends it by itself after the user has signed in."
	case place.InsecureQuery:
		description = "The access token, for GET and HEAD." + filled
	case place.Scheme:
		if strings.EqualFold(string(p), "Bearer") {
			description = "The access token (RFC 6750)." + filled
		} else {
			description = "The access token."
		}
	}
	return scheme(p, description)
}

// keyScheme returns the security scheme of an API key. It is in the place of the access
// token. But guards accept no key in a cookie.
func (f *facts) keyScheme() object {
	others := slices.DeleteFunc(slices.Clone(f.Places), isCookie)
	return scheme(shown(others), "An API key, which begins with "+f.Keys.Prefix+". A user makes it for a script. Only the routes that name it accept it.")
}

// scheme returns a Security Scheme Object for a place.
func scheme(p place.Place, description string) object {
	key := func(in, name string) object {
		return object{{"type", "apiKey"}, {"in", in}, {"name", name}, {"description", description}}
	}
	scheme := "bearer"
	switch p := p.(type) {
	case place.Header:
		return key("header", string(p))
	case place.Cookie:
		return key("cookie", cookie.Attributes(p).Prefixed())
	case place.InsecureQuery:
		return key("query", string(p))
	case place.Scheme:
		scheme = strings.ToLower(string(p))
	}
	return object{{"type", "http"}, {"scheme", scheme}, {"description", description}}
}

// tokenExample returns a line of a request with an access token.
func (f *facts) tokenExample() string {
	token := f.exampleToken()
	switch p := f.tokenPlace().(type) {
	case place.Header:
		return string(p) + ": " + token
	case place.Cookie:
		return "Cookie: " + cookie.Attributes(p).Prefixed() + "=" + token
	case place.InsecureQuery:
		return "GET /…?" + string(p) + "=" + token
	case place.Scheme:
		return "Authorization: " + string(p) + " " + token
	}
	return "Authorization: Bearer " + token
}

// hasCookie reports whether the token of a request may be in a cookie.
func (f *facts) hasCookie() bool { return slices.ContainsFunc(f.Places, isCookie) }

func isCookie(p place.Place) bool {
	_, ok := p.(place.Cookie)
	return ok
}
