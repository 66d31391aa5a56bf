package tokenauth

import (
	"context"
	"net/http"
	"reflect"
)

// An authorized context carries the token of a request. It is a type of its own,
// and not a context.WithValue, to save an allocation for each request.
type authorized struct {
	context.Context
	service  *Service
	token    *Token      // shared; nil for an anonymous request
	header   http.Header // of the request
	fallback *evidence   // of the request that Options.Fallback authenticated; else nil
	lines    [2]string   // of the response (SetCacheHeaders); here to save an allocation
}

// isOf reports whether it is the request that was authorized, in a guard behind
// another: its header is the same map. A request that a handler makes on the context
// of its own has another, also if it presents the same token. It may come much
// later, and the token has to be valid then.
func (a *authorized) isOf(r *http.Request) bool {
	return reflect.ValueOf(a.header).Pointer() == reflect.ValueOf(r.Header).Pointer()
}

type authorizedKey struct{}

func (a *authorized) Value(key any) any {
	if key == (authorizedKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// lastAuthorized returns what the last guard left in the context, or nil.
func lastAuthorized(ctx context.Context) *authorized {
	if ctx == nil {
		return nil
	}
	a, _ := ctx.Value(authorizedKey{}).(*authorized)
	return a
}

// FromContext returns the token with which the last guard let a request through,
// and false if there is none. The caller may keep and change it.
//
// A context does not say which request it belongs to. A handler may make a new
// request on the context of its own, such as for a part of a batch. Until a guard
// lets the new request through, and on a route without a guard, FromContext
// returns the token of the first request. A guard goes by what the new request
// presents: behind it, FromContext returns that token, or false behind
// Service.Optional. So guard each route whose handler calls FromContext.
func FromContext(ctx context.Context) (Token, bool) {
	if a := lastAuthorized(ctx); a != nil && a.token != nil {
		return a.token.clone(), true
	}
	return Token{}, false
}
