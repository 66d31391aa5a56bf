package tokenauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/rotation"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// introspectionHandler returns the handler of the introspection endpoint (RFC
// 7662). The request is a POST with a form that has the token; other methods
// get 405.
//
// The client must have a secret and the right to introspect
// ([Client.IntrospectsOwn], [Client.IntrospectsAll]). If the token is not
// valid, or the client may not introspect it, the response is {"active":false}.
// If the storage failed, the response is a 503, and never {"active":false}.
//
// A resource server introspects what a request presents as its access token, and may
// look only at "active". So a refresh token is active only for a client that asks for
// one, by token_type_hint=refresh_token. The same holds for API keys, and
// token_type_hint=api_key.
func (s *Service) introspectionHandler() http.Handler {
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		request, err := s.readTokenForm(w, r)
		if err == nil {
			err = s.mayIntrospect(request)
		}
		if err != nil {
			return nil, s.observeUnread(r, event.Refused, err)
		}
		return s.introspect(r, request)
	})
}

// mayIntrospect returns an error unless the client may introspect. A public
// client counts as not authenticated, because its ID is not secret.
func (s *Service) mayIntrospect(request *tokenForm) error {
	switch c := request.client; {
	case c == nil || len(c.Secrets) == 0:
		return request.named.challenged(s, ErrInvalidClient)
	case !c.mayIntrospect():
		return unauthorizedClient(wire.MayNotIntrospect)
	}
	return nil
}

func (s *Service) introspect(r *http.Request, request *tokenForm) ([]byte, error) {
	began := time.Now()
	token, refresh, err := s.introspected(r.Context(), request)
	if err == errPanic { // formHandler reports it
		return nil, err
	}
	if err == nil && !request.client.IntrospectsAll && token.ClientID != request.client.ID {
		err = errUnauthorizedClient
	}
	e := Event{Kind: event.Introspected, RemoteAddr: clientAddr(r, &s.options), Duration: time.Since(began)}
	if err == nil {
		e.setToken(token)
	} else {
		e.setError(err, event.Introspected)
	}
	s.observe(r.Context(), &e)
	switch {
	case err == nil:
		if refresh {
			return s.refreshIntrospection(token), nil
		}
		return s.introspectionResponse(token), nil
	case errors.Is(err, ErrInvalidToken), errors.Is(err, errUnauthorizedClient):
		return inactive, nil
	}
	return nil, err
}

// introspected returns the token of an introspection request, and whether the request
// has its refresh token.
func (s *Service) introspected(ctx context.Context, request *tokenForm) (t *Token, refresh bool, err error) {
	p, refresh := s.refresh.parse(request.accessToken)
	switch {
	case s.keys.has(request.accessToken) && request.hint != hintKey:
		return nil, false, ErrInvalidToken // it is not an access token
	case s.keys.has(request.accessToken):
		t, err = s.validateKey(ctx, request.accessToken)
		return t, false, err
	case !refresh:
		t, err = s.validate(ctx, request.accessToken)
		return t, false, err
	case request.hint != "refresh_token":
		return nil, false, ErrInvalidToken // it is not an access token
	}
	f, err := s.refresh.judge(ctx, p)
	if err == nil && f.verdict != rotation.Current {
		err = errUsed
	}
	if err != nil {
		return nil, false, err
	}
	return f.token, true, nil
}

// hintKey is the token_type_hint (RFC 7662 §2.1) with which a resource server says that
// it accepts API keys.
const hintKey = "api_key"

var inactive = []byte(`{"active":false}`)

func (o *Options) checkIntrospection() error {
	for _, name := range o.ResponseAttributes {
		if wire.HasMember(wire.IntrospectionResponse(), name) {
			return fmt.Errorf("tokenauth: Options.ResponseAttributes has %q, which is already a member of the introspection response; many decoders ignore the case of names", name)
		}
	}
	return nil
}

// refreshIntrospection returns the response for a valid refresh token. It has no
// token_type, because a refresh token is not a bearer token, and no roles, because it
// gives access to nothing but the token endpoint.
func (s *Service) refreshIntrospection(t *Token) []byte {
	var body jsonObject
	body.boolean("active", true)
	if t.ClientID != "" {
		body.text("client_id", t.ClientID)
	}
	body.text("username", t.Principal.UserName)
	body.number("exp", t.Refresh.ExpiresAt.Unix())
	body.number("iat", t.IssuedAt.Unix())
	body.text("sub", t.Principal.UserID)
	return body.done()
}

// introspectionResponse returns the response for a valid access token or API key. It
// has the RFC 7662 §2.2 members that apply to the token, and the same roles and
// attributes as the token response.
func (s *Service) introspectionResponse(t *Token) []byte {
	var body jsonObject
	body.boolean("active", true)
	if t.ClientID != "" {
		body.text("client_id", t.ClientID)
	}
	body.text("username", t.Principal.UserName)
	body.text("token_type", "bearer")
	if !t.ExpiresAt.Equal(neverExpires) {
		body.number("exp", t.ExpiresAt.Unix())
	}
	body.number("iat", t.IssuedAt.Unix())
	body.text("sub", t.Principal.UserID)
	body.text("role", strings.Join(t.Principal.Roles, ","))
	s.responseAttributes(&body, t)
	return body.done()
}
