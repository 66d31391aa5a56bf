package tokenauth

import (
	"net/http"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// revocationHandler returns the revocation endpoint (RFC 7009), by POST with an
// urlencoded body that has the token. It answers every method, with 405 where
// that is the answer.
//
// It answers 200 once the token is not valid any more, and so also for one that
// never was, which is not an event. Without a registry of clients the token is
// authority enough. With one, the client authenticates, and ends only tokens that
// were issued to it: another's is unauthorized_client, and nothing is revoked
// (§2.1).
func (s *Service) revocationHandler() http.Handler {
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		request, err := s.readTokenForm(w, r)
		if err != nil {
			return nil, s.observeUnread(r, event.Refused, err)
		}
		slot, digest, ok := s.parse(request.accessToken)
		if !ok {
			return emptyObject, nil // it cannot be valid
		}
		if c := request.client; c != nil && slot.Client != SlotOf("", c.ID).Client {
			return nil, s.observeUnread(r, event.Refused, unauthorizedClient(wire.TokenOfAnotherClient))
		}
		e := Event{RemoteAddr: clientAddr(r, &s.options)}
		if request.client != nil {
			e.ClientID = request.client.ID
		}
		// An app that signs out may close its connection at once.
		ctx, cancel := deadline.Detach(r.Context())
		defer cancel()
		if err := s.revokeObserved(ctx, slot, digest, e); err != nil {
			return nil, err
		}
		return emptyObject, nil
	})
}

// emptyObject is the body where the status says everything. Some clients parse
// it.
var emptyObject = []byte("{}")

// A tokenForm is what revocation and introspection are asked with.
type tokenForm struct {
	accessToken string
	client      *Client       // nil without a registry
	named       requestClient // how the request names it
}

// tokenFormParameters must not be doubled. The hint is ignored: there is one type
// of token.
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
	request := &tokenForm{accessToken: f.form["token"]}
	if s.options.Clients != nil {
		// The client comes first: an unknown one is told nothing else.
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
