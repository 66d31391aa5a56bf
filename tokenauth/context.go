package tokenauth

import "context"

// An authorized context carries a validated token. It is a type of its own,
// and not a context.WithValue, to save an allocation for each request.
type authorized struct {
	context.Context
	service *Service
	token   held // nil for somebody anonymous
}

type authorizedKey struct{}

func (a *authorized) Value(key any) any {
	if key == (authorizedKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// FromContext returns the token that a guard found good for the request, and
// false if there is none. The caller may keep and change it.
func FromContext(ctx context.Context) (Token, bool) {
	if a, ok := ctx.Value(authorizedKey{}).(*authorized); ok && a.token != nil {
		return a.token.copy(), true
	}
	return Token{}, false
}
