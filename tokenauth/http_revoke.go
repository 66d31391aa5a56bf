package tokenauth

import "net/http"

// RevocationHandler returns the revocation endpoint (RFC 7009), by POST with an
// urlencoded body that has the token. It answers every method, 405 where that
// is the answer.
//
// It answers 200 when the token is not good any more, and so for one that never
// was, too. Without a registry of clients the token is authority enough. With
// one the client authenticates, and ends only tokens that were issued to it:
// for another's it is told unauthorized_client, and nothing is revoked (§2.1).
func (s *Service) RevocationHandler() http.Handler {
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		request, err := s.readTokenForm(w, r)
		if err != nil {
			return nil, s.observeUnread(r, EventRefused, err)
		}
		slot, digest, ok := parse(s.options.Prefix, request.accessToken)
		if !ok {
			return emptyObject, nil // nothing that could be good
		}
		if request.client != nil && slot.Client != ClientKeyOf(request.client.ID) {
			return nil, s.observeUnread(r, EventRefused, unauthorizedClient("The token was issued to another client."))
		}
		e := Event{RemoteAddr: clientAddr(r, s.options.TrustedProxies)}
		if request.client != nil {
			e.ClientID = request.client.ID
		}
		if err := s.revokeObserved(r.Context(), slot, digest, e); err != nil {
			return nil, err
		}
		return emptyObject, nil
	})
}

// What is answered where the status says all. Some clients parse it.
var emptyObject = []byte("{}")

func unauthorizedClient(description string) *Refusal {
	return &Refusal{Status: http.StatusBadRequest, Code: codeUnauthorizedClient, Description: description, Err: errUnauthorizedClient}
}

// A tokenForm is what revocation and introspection are asked with.
type tokenForm struct {
	accessToken string
	client      *Client // nil without a registry
}

// tokenFormParameters are those that must not be doubled. The hint is read and
// ignored: there is one type of token.
var tokenFormParameters = []string{"token", "token_type_hint", "client_id", "client_secret"}

const descriptionTokenForm = "Send the parameters urlencoded in the body: token=..."

func (s *Service) readTokenForm(w http.ResponseWriter, r *http.Request) (*tokenForm, error) {
	body, basic, err := s.readForm(w, r, &formRules{
		methods:       []string{http.MethodPost},
		wrongMethod:   "The endpoint answers POST only.",
		wrongEncoding: descriptionTokenForm,
	})
	if err != nil {
		return nil, err
	}
	form, refusal := parseForm(body, "token", descriptionTokenForm, tokenFormParameters)
	if refusal != nil {
		return nil, refusal
	}
	request := &tokenForm{accessToken: form["token"]}
	if s.options.Clients != nil {
		// The client comes before the rest: who does not know it is told
		// nothing else.
		request.client, err = s.readClient(r.Context(), clientCredentials{form["client_id"], NewSecret(form["client_secret"])}, basic, true)
		if err != nil {
			return nil, err
		}
	}
	if request.accessToken == "" {
		return nil, invalidRequest(http.StatusBadRequest, "The parameter token is missing.")
	}
	return request, nil
}
