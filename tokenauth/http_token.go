package tokenauth

import (
	"net/http"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// TokenHandler returns the token endpoint: the resource owner password
// credentials grant of RFC 6749 §4.3, by GET or POST, with an urlencoded body
// whatever its Content-Type says. It answers every method, with 405 where that
// is the answer, so mount it for all of them.
func (s *Service) TokenHandler() http.Handler {
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		request, err := s.readTokenRequest(w, r)
		if err != nil {
			return nil, s.observeUnread(r, event.SignInRefused, err)
		}
		issued, err := s.signIn(r.Context(), request.credentials, request.client.readings...)
		if err != nil {
			return nil, request.client.challenged(s, err)
		}
		return s.tokenResponse(issued), nil
	})
}

func (s *Service) tokenResponse(issued IssuedToken) []byte {
	t, p := &issued.Token, &issued.Token.Principal
	var body jsonObject
	body.text("access_token", issued.AccessToken.Reveal())
	body.text("token_type", "bearer")
	body.number("expires_in", expiresIn(t))
	body.text("userName", p.UserName)
	body.text("userId", p.UserID)
	body.text("role", strings.Join(p.Roles, ","))
	body.text(".issued", t.IssuedAt.Format(http.TimeFormat))
	body.text(".expires", t.ExpiresAt.Format(http.TimeFormat))
	s.responseAttributes(&body, t)
	return body.done()
}

// expiresIn is in whole seconds. A token is issued within the second that its
// IssuedAt names, so that one less is left than its lifetime has, rounded down. It
// is what Katana says, and does not depend on how long the storage took.
func expiresIn(t *Token) int64 { return int64(t.ExpiresAt.Sub(t.IssuedAt)/time.Second) - 1 }

func (s *Service) responseAttributes(body *jsonObject, t *Token) {
	for _, name := range s.options.ResponseAttributes {
		if value, ok := t.Principal.Attributes[name]; ok {
			body.text(name, value)
		}
	}
}

// A tokenRequest is what the token endpoint is asked with.
type tokenRequest struct {
	credentials Credentials
	client      requestClient
}

func (s *Service) readTokenRequest(w http.ResponseWriter, r *http.Request) (*tokenRequest, error) {
	body, basic, err := s.readForm(w, r, &formRules{
		methods:       s.tokenMethods(),
		wrongMethod:   wire.TokenMethod,
		wrongEncoding: wire.SendTokenRequest,
	})
	if err != nil {
		return nil, err
	}
	user := basic
	if s.options.Clients != nil {
		user = nil // it is the client's
	}
	c, bad := parseTokenRequest(body, user)
	if bad != nil {
		return nil, bad
	}
	request := new(tokenRequest)
	if s.options.Clients != nil {
		request.client, err = readClient(clientCredentials{c.ClientID, c.ClientSecret}, basic)
		if err != nil {
			return nil, err
		}
		request.client.challenge = basic != nil
	} else {
		c.ClientID, c.ClientSecret = "", Secret{}
	}
	c.RemoteAddr, c.CrossSite = s.sourceOf(r), crossSite(r)
	request.credentials = c
	return request, nil
}

func (s *Service) tokenMethods() []string {
	if s.options.DisableGET {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodPost}
}
