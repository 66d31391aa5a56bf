package tokenauth

import (
	"context"
	"net/http"
	"reflect"
)

// An authorized is a [context.Context] that carries the token of a request. As
// a type of its own, it needs one allocation less per request than
// [context.WithValue].
type authorized struct {
	context.Context
	service  *Service
	token    *Token      // shared; nil for an anonymous request
	header   http.Header // of the authorized request
	fallback *evidence   // nil unless Options.Fallback authenticated the request
	lines    [2]string   // values for SetCacheHeaders; here to save an allocation
}

// isOf reports whether r is the request that was authorized. It is if its
// header is the same map. A second guard on the same request then need not
// validate the token again.
//
// A handler may make a new request with the context of its own request. The new
// request has a header map of its own, even if it presents the same token. It
// may be made much later, so its token must be validated again.
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

// lastAuthorized returns the authorized context that the last guard made, or
// nil.
func lastAuthorized(ctx context.Context) *authorized {
	if ctx == nil {
		return nil
	}
	a, _ := ctx.Value(authorizedKey{}).(*authorized)
	return a
}

// FromContext returns the token of the caller of a request. Call it in a
// handler behind a guard, such as [Service.RequireBearer]. It returns false if
// no guard found a token, as for an anonymous request behind
// [Service.Optional]. The token is a copy, so the handler may keep and change
// it.
//
// The token of a request that [Options.Fallback] authenticated has only a
// Principal. Its ExpiresAt is the zero time, which means that the expiry is
// unknown, and not that the token has expired. Check [time.Time.IsZero] before
// you act on the expiry. [Service.RevokeToken] cannot end such a token.
//
// Guard each route whose handler calls FromContext. A handler may serve further
// requests with its own context, such as the parts of a batch. If the route of
// a part has no guard, FromContext returns the token of the outer request
// there. With a guard, it returns the token that the part itself presents, or
// false.
func FromContext(ctx context.Context) (Token, bool) {
	if a := lastAuthorized(ctx); a != nil && a.token != nil {
		return a.token.clone(), true
	}
	return Token{}, false
}
