package tokenauth

import (
	"net/http"
	"strings"
	"time"
	"unicode"

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

// tokenParameters are those of a token request that must not be doubled (RFC
// 6749 §3.2).
var tokenParameters = []string{"grant_type", "username", "password", "client_id", "client_secret"}

func (s *Service) readTokenRequest(w http.ResponseWriter, r *http.Request) (*tokenRequest, error) {
	f, err := s.readForm(w, r, &formRules{
		methods:       s.tokenMethods(),
		wrongMethod:   wire.TokenMethod,
		wrongEncoding: wire.SendTokenRequest,
		required:      "grant_type",
		known:         tokenParameters,
	})
	if err != nil {
		return nil, err
	}
	c, refusal := s.readCredentials(r, f)
	if refusal != nil {
		return nil, refusal
	}
	request := new(tokenRequest)
	if s.options.Clients != nil {
		request.client, err = readClient(f)
		if err != nil {
			return nil, err
		}
	}
	c.RemoteAddr, c.CrossSite = s.sourceOf(r), crossSite(r)
	request.credentials = c
	return request, nil
}

// readCredentials takes the user from Basic authentication if the body names
// neither user nor password. With a registry of clients Basic is the client's.
func (s *Service) readCredentials(r *http.Request, f *formRequest) (Credentials, *ErrorResponse) {
	bad := func(description string) (Credentials, *ErrorResponse) {
		return Credentials{}, invalidRequest(http.StatusBadRequest, description)
	}
	missing := func(description string) (Credentials, *ErrorResponse) {
		return Credentials{}, f.missing(s, r, description)
	}
	switch f.form["grant_type"] {
	case "password":
	case "":
		return missing(wire.GrantTypeMissing)
	default:
		return Credentials{}, &ErrorResponse{
			Status:      http.StatusBadRequest,
			Code:        wire.UnsupportedGrantType,
			Description: wire.GrantTypeUnknown,
			Err:         errMalformed,
		}
	}
	username, password := f.form["username"], f.form["password"]
	// Never half from here and half from there: a wrong password in the body
	// must not fall back to the header, nor one that the host's code took.
	if s.options.Clients == nil && username == "" && password == "" && !f.cut {
		basic, ok := parseBasic(f.authorization)
		if !ok {
			return bad(wire.AuthorizationMalformed)
		}
		if basic != nil {
			username, password = basic.user, basic.pass
		}
	}
	switch {
	case username == "":
		return missing(wire.UserNameMissing)
	case password == "":
		return missing(wire.PasswordMissing)
	case len(username) > 256:
		return bad(wire.UserNameTooLong)
	case strings.ContainsFunc(username, unicode.IsControl):
		return bad(wire.UserNameControls)
	}
	c := Credentials{UserName: username, Password: NewSecret(password)}
	if s.options.Clients != nil {
		c.ClientID, c.ClientSecret = f.form["client_id"], NewSecret(f.form["client_secret"])
	}
	return c, nil
}

func (s *Service) tokenMethods() []string {
	if s.options.DisableGET {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodPost}
}
