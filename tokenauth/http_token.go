package tokenauth

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// TokenPaths are where the token endpoint is mounted unless the host says
// otherwise. Katana compares paths without case, and old clients rely on it.
var tokenPaths = []string{"/Token", "/token"}

// TokenPaths returns the paths at which adapters mount the token endpoint
// unless the host names others: "/Token", and "/token" beside it, since the
// original compares paths without case.
func TokenPaths() []string { return slices.Clone(tokenPaths) }

// TokenHandler returns the token endpoint: the resource owner password
// credentials grant of RFC 6749 §4.3, by GET or POST, with an urlencoded body
// whatever its Content-Type says. It answers every method, 405 where that is
// the answer, so mount it for all of them.
func (s *Service) TokenHandler() http.Handler {
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		c, err := s.readCredentials(w, r)
		if err != nil {
			return nil, s.observeUnread(r, EventSignInRefused, err)
		}
		grant, err := s.SignIn(r.Context(), c)
		if err != nil {
			return nil, err
		}
		return s.tokenResponse(grant), nil
	})
}

// The members that every token response has, in this order.
var responseMembers = []string{"access_token", "token_type", "expires_in", "userName", "userId", "role", ".issued", ".expires"}

func (s *Service) tokenResponse(g Grant) []byte {
	t, p := &g.Token, &g.Token.Principal
	var body jsonObject
	body.text("access_token", g.AccessToken.Reveal())
	body.text("token_type", "bearer")
	body.number("expires_in", int64(max(0, t.ExpiresAt.Sub(s.options.Now()))/time.Second))
	body.text("userName", p.UserName)
	body.text("userId", p.UserID)
	body.text("role", strings.Join(p.Roles, ","))
	body.text(".issued", t.IssuedAt.Format(http.TimeFormat))
	body.text(".expires", t.ExpiresAt.Format(http.TimeFormat))
	s.responseAttributes(&body, t)
	return body.done()
}

func (s *Service) responseAttributes(body *jsonObject, t *Token) {
	for _, name := range s.options.ResponseAttributes {
		if value, ok := t.Principal.Attributes[name]; ok {
			body.text(name, value)
		}
	}
}

// readCredentials reads a token request.
func (s *Service) readCredentials(w http.ResponseWriter, r *http.Request) (Credentials, error) {
	var none Credentials
	body, basic, err := s.readForm(w, r, &formRules{
		methods:       s.tokenMethods(),
		wrongMethod:   "The token endpoint does not answer this method.",
		wrongEncoding: descriptionURLEncoded,
	})
	if err != nil {
		return none, err
	}
	user := basic
	if s.options.Clients != nil {
		user = nil // it is the client's
	}
	c, bad := parseTokenRequest(body, user)
	if bad != nil {
		return none, bad
	}
	if s.options.Clients == nil {
		c.ClientID, c.ClientSecret = "", Secret{}
	} else {
		c.client, err = s.readClient(r.Context(), clientCredentials{c.ClientID, c.ClientSecret}, basic, basic != nil)
		if err != nil {
			return none, err
		}
		c.ClientID = c.client.ID
	}
	c.RemoteAddr = s.sourceOf(r)
	return c, nil
}

func (s *Service) tokenMethods() []string {
	if s.options.DisableGET {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodPost}
}
