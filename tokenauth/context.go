package tokenauth

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
)

// An authorized is a [context.Context] that carries the token of a request. It
// has a type of its own because [context.WithValue] would need one more
// allocation per request.
type authorized struct {
	context.Context
	service  *Service
	token    *Token    // shared; nil for an anonymous request
	fallback *evidence // nil unless Options.Fallback authenticated the request
	refused  *refused  // nil unless the request is anonymous because its credentials were refused
	lines    [2]string // values for SetCacheHeaders; here to save an allocation
	*secrets
}

// secrets are the parts of an authorized that have the access token. They are
// behind a pointer, of which fmt prints only the address: in an unexported
// field, fmt does not call [authorized.Format].
type secrets struct {
	header http.Header // of the authorized request
	// presented is the access token; empty for an anonymous request, and if
	// Options.Fallback authenticated the request
	presented string
}

// newAuthorized returns a with its secrets, both in one allocation.
func newAuthorized(a authorized, s secrets) *authorized {
	both := &struct {
		authorized
		secrets
	}{a, s}
	both.authorized.secrets = &both.secrets
	return &both.authorized
}

// isOf reports whether r is the authorized request or a copy of it that has the
// same header map. If so, a second guard need not validate the token again.
//
// A handler may make a new request with the context of its own request. The new
// request has a header map of its own, so isOf returns false even if the
// request presents the same token. The token must then be validated again,
// because the new request may be made much later.
func (a *authorized) isOf(r *http.Request) bool {
	return reflect.ValueOf(a.header).Pointer() == reflect.ValueOf(r.Header).Pointer()
}

// A refused is the refusal of credentials whose request a guard let through as
// anonymous. A second guard of the request needs it to neither validate the
// credentials nor report the refusal again.
type refused struct {
	accessToken Secret    // empty if the request is malformed, or presented none
	evidence    *evidence // nil unless Options.Fallback refused the request
	response    ErrorResponse
}

// again returns a copy of the refusal if r still presents the refused
// credentials, and otherwise nil. The access token and the refusal are those
// that r has now, before it was validated.
func (d *refused) again(r *http.Request, accessToken string, refusal *ErrorResponse, foreign bool) *ErrorResponse {
	switch {
	case d == nil || foreign != (d.evidence != nil):
		return nil
	case foreign && !d.evidence.isOf(r):
		return nil
	case !foreign && (d.accessToken.Reveal() != accessToken || refusal != nil && refusal.Status != d.response.Status):
		return nil
	}
	response := d.response // because the host may change the one that it gets
	return &response
}

type authorizedKey struct{}

func (a *authorized) Value(key any) any {
	if key == (authorizedKey{}) {
		return a
	}
	return a.Context.Value(key)
}

// Format writes the name of the type for every verb. The parents may have
// secrets of the host.
func (a *authorized) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%T", a) }

// lastAuthorized returns the authorized context that the last guard made, or
// nil.
func lastAuthorized(ctx context.Context) *authorized {
	if ctx == nil {
		return nil
	}
	a, _ := ctx.Value(authorizedKey{}).(*authorized)
	return a
}

// FromContext returns the token of the request's caller. Call it in a handler
// behind a guard, such as [Service.RequireBearer]. It returns false if no guard
// found a token, for example for an anonymous request behind
// [Service.Optional]. The token is a copy, so the handler may keep and change
// it.
//
// The token of a request that [Options.Fallback] authenticated has only a
// Principal. Its ExpiresAt is the zero time, which means that the expiry is
// unknown, and not that the token has expired. Check [time.Time.IsZero] before
// you act on the expiry. [Service.RevokeToken] cannot end such a token.
//
// Put a guard on each route whose handler calls FromContext. A handler may
// serve further requests, such as the parts of a batch, with its own request's
// context. If a part's route has no guard, FromContext returns the outer
// request's token. If the route has a guard, FromContext returns the token that
// the part itself presents, or false.
func FromContext(ctx context.Context) (Token, bool) {
	if a := lastAuthorized(ctx); a != nil && a.token != nil {
		t := a.token.clone()
		if a.presented != "" {
			// A copy, so that a token that the handler keeps does not keep the
			// request in memory.
			t.Presented = NewSecret(a.presented)
		}
		return t, true
	}
	return Token{}, false
}
