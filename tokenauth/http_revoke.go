package tokenauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// revocationHandler returns the handler of the revocation endpoint (RFC 7009).
// The request is a POST with a form that has the token; other methods get 405.
//
// The response is 200 if the token is no longer valid. It is also 200 for a
// token that never existed, but then there is no [Event].
//
// Without a client registry ([Options.Clients]), anyone who has the token may
// revoke it. With a registry, the client must authenticate, and may revoke only
// tokens that were issued to it. For another client's token, the error is
// unauthorized_client, and the token stays valid (RFC 7009 §2.1). An API key
// belongs to no client, so every client that has it may revoke it.
func (s *Service) revocationHandler() http.Handler {
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		request, err := s.readTokenForm(w, r)
		if err != nil {
			return nil, s.observeUnread(r, event.Refused, err)
		}
		// An app that signs out may close its connection at once, but the
		// revocation must still finish.
		ctx, cancel := deadline.Detach(r.Context())
		defer cancel()
		e := Event{RemoteAddr: clientAddr(r, &s.options)}
		if p, ok := s.refresh.parse(request.accessToken); ok {
			err := s.revokeRefresh(ctx, p, request.client, e)
			if errors.Is(err, errUnauthorizedClient) {
				return nil, s.observeUnread(r, event.Refused, err)
			}
			return emptyObject, err
		}
		if s.keys.has(request.accessToken) { // a key belongs to no client
			if err := s.revokeKey(ctx, request.accessToken, e); err != nil {
				return nil, err
			}
			return emptyObject, nil
		}
		slot, digest, ok := s.parse(request.accessToken)
		if !ok {
			return emptyObject, nil // it cannot be valid
		}
		if c := request.client; c != nil {
			e.ClientID = c.ID
			switch own, err := s.mayRevoke(ctx, c, slot, &digest); {
			case err != nil:
				return nil, s.observeUnread(r, event.Unavailable, err)
			case !own:
				return nil, s.observeUnread(r, event.Refused, unauthorizedClient(wire.TokenOfAnotherClient))
			}
		}
		if err := s.revokeObserved(ctx, slot, digest, e, nil); err != nil {
			return nil, err
		}
		return emptyObject, nil
	})
}

// mayRevoke reports whether the client may revoke a token in a slot. The key of a
// device does not show which client it belongs to, so mayRevoke then asks the
// storage. A token that is not stored belongs to no client, so with
// [Options.Devices] any client may revoke it. If the answer depended on another
// token in the slot, a client could find out who is signed in at other clients.
//
// Without Options.Devices, there may still be tokens that were issued on devices
// before.
func (s *Service) mayRevoke(ctx context.Context, c *Client, slot Slot, digest *Digest) (bool, error) {
	if slot.Client == SlotOf("", c.ID).Client {
		return true, nil
	}
	t, err := s.lookups.find(ctx, slot)
	switch {
	case err == nil && equal(&t.Digest, digest):
		return t.ClientID == c.ID, nil
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
		return s.options.Devices != nil, nil
	case err == errPanic:
		return false, err
	}
	return false, unavailable("finding a token to revoke", err)
}

// emptyObject is the body of a response that needs no body, for clients that
// parse the body of each response.
var emptyObject = []byte("{}")

// A tokenForm is a parsed request for revocation or introspection.
type tokenForm struct {
	accessToken string        // or a refresh token
	hint        string        // the token_type_hint
	client      *Client       // nil without a registry
	named       requestClient // how the request authenticates the client
}

// tokenFormParameters are the known parameters, each of which may occur once.
var tokenFormParameters = []string{"token", "token_type_hint", "client_id", "client_secret"}

func (s *Service) readTokenForm(w http.ResponseWriter, r *http.Request) (*tokenForm, error) {
	f, err := s.readForm(w, r, &formRules{
		methods:       []string{http.MethodPost},
		wrongMethod:   wire.PostOnly,
		wrongEncoding: wire.SendToken,
		required:      "token",
		known:         tokenFormParameters,
	})
	if err != nil {
		return nil, err
	}
	request := &tokenForm{accessToken: f.form["token"], hint: f.form["token_type_hint"]}
	if s.options.Clients != nil {
		// Authenticate the client first, so that an unknown client learns
		// nothing about the other parameters.
		if request.named, err = readClient(f); err != nil {
			return nil, err
		}
		if request.client, err = request.named.authenticate(r.Context(), s); err != nil {
			return nil, err
		}
	}
	if request.accessToken == "" {
		return nil, invalidRequest(http.StatusBadRequest, wire.TokenMissing)
	}
	return request, nil
}
