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
func (f *facts) tokenPlace() place.Place {
	bearer := place.Scheme("Bearer")
	isBearer := func(p place.Place) bool {
		s, ok := p.(place.Scheme)
		return ok && strings.EqualFold(string(s), string(bearer))
	}
	if f.Places == nil || slices.ContainsFunc(f.Places, isBearer) {
		return bearer
	}
	for _, p := range f.Places {
		if p != (place.WebSocket{}) {
			return p
		}
	}
	return bearer
}

// tokenScheme returns the security scheme of protected routes.
func (f *facts) tokenScheme() object {
	const filled = "Signing in on this page fills it in."
	key := func(in, name, description string) object {
		return object{{"type", "apiKey"}, {"in", in}, {"name", name}, {"description", description}}
	}
	switch p := f.tokenPlace().(type) {
	case place.Header:
		return key("header", string(p), "The access token. "+filled)
	case place.Cookie:
		return key("cookie", cookie.Attributes(p).Prefixed(), "The access token. A browser sends it by itself after the user has signed in.")
	case place.InsecureQuery:
		return key("query", string(p), "The access token, for GET and HEAD. "+filled)
	case place.Scheme:
		if !strings.EqualFold(string(p), "Bearer") {
			return object{{"type", "http"}, {"scheme", strings.ToLower(string(p))}, {"description", "The access token."}}
		}
	}
	return object{{"type", "http"}, {"scheme", "bearer"}, {"description", "The access token (RFC 6750). " + filled}}
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
func (f *facts) hasCookie() bool {
	return slices.ContainsFunc(f.Places, func(p place.Place) bool {
		_, ok := p.(place.Cookie)
		return ok
	})
}
