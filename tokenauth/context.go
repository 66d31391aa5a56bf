package tokenauth

import "context"

// An authorized context carries the token of a request. It is a type of its own,
// and not a context.WithValue, to save an allocation for each request.
type authorized struct {
	context.Context
	service *Service
	token   *Token // shared; nil for an anonymous request
}

type authorizedKey struct{}

func (a *authorized) Value(key any) any {
	if key == (authorizedKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// FromContext returns the token with which a guard let the request through, and
// false if there is none. The caller may keep and change it.
func FromContext(ctx context.Context) (Token, bool) {
	if a, ok := ctx.Value(authorizedKey{}).(*authorized); ok && a.token != nil {
		return a.token.clone(), true
	}
	return Token{}, false
}
