package tokenauth

import (
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/request"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// TokenHandler returns the handler of the token endpoint, for the resource
// owner password credentials grant (RFC 6749 §4.3) and, with [Options.Refresh],
// for refresh tokens (RFC 6749 §6). The request is a GET or a
// POST with a form-urlencoded body. Its Content-Type may be anything except
// multipart/form-data.
//
// Register the handler for all methods: it answers any other method with 405.
// With [Options.DisableGET], it answers GET with 405, too. Most hosts call
// [Service.Mount] instead, which mounts the other endpoints as well.
//
// TokenHandler panics if the Service has no [Authenticator].
func (s *Service) TokenHandler() http.Handler {
	s.mustNotBeNil()
	if s.authenticator == nil {
		panic("tokenauth: the token endpoint needs an Authenticator, and tokenauth.New got none")
	}
	return s.formHandler(func(w http.ResponseWriter, r *http.Request) ([]byte, error) {
		request, err := s.readTokenRequest(w, r)
		if err != nil {
			return nil, s.observeUnread(r, event.SignInRefused, err)
		}
		grant := s.signIn
		if request.credentials.RefreshToken.Reveal() != "" {
			grant = s.refreshAs
		}
		issued, err := grant(r.Context(), request.credentials, request.client.readings...)
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
	body.number("expires_in", s.expiresIn(t))
	if issued.RefreshToken.Reveal() != "" {
		body.text("refresh_token", issued.RefreshToken.Reveal())
	}
	body.text("userName", p.UserName)
	body.text("userId", p.UserID)
	body.text("role", strings.Join(p.Roles, ","))
	body.text(".issued", t.IssuedAt.Format(http.TimeFormat))
	body.text(".expires", t.ExpiresAt.Format(http.TimeFormat))
	s.responseAttributes(&body, t)
	return body.done()
}

// expiresIn returns the expires_in of the token response in seconds, as ASP.NET
// Katana computes it. The time of issue is rounded down to a whole second, so
// part of the first second has already passed, and expiresIn does not count that
// second. The result does not depend on how long the storage took. Only the
// repetition of a refresh, which may come much later, counts the time since.
func (s *Service) expiresIn(t *Token) int64 {
	from := t.IssuedAt.Unix()
	if state := t.refreshState(); state.Repeated() {
		from = max(from, s.options.Now().Unix())
	}
	return max(t.ExpiresAt.Unix()-from-1, 0)
}

func (s *Service) responseAttributes(body *jsonObject, t *Token) {
	for _, name := range s.options.ResponseAttributes {
		if value, ok := t.Principal.Attributes[name]; ok {
			body.text(name, value)
		}
	}
}

// RequestCredentials returns [Credentials] that have what the Service reads
// from a request itself: RemoteAddr and CrossSite. It is for a login handler of
// the host, which sets UserName, Password and the others, and then calls
// [Service.SignIn]. With a RemoteAddr that the host finds in another way, the
// throttle may count the sign-ins of this handler and of the token endpoint for
// different sources.
//
// The handler should limit the size of the request body ([http.MaxBytesReader]).
func (s *Service) RequestCredentials(r *http.Request) Credentials {
	r = request.Complete(r)
	return Credentials{RemoteAddr: s.sourceOf(r), CrossSite: crossSite(r)}
}

// A tokenRequest is a parsed request to the token endpoint.
type tokenRequest struct {
	credentials Credentials
	client      requestClient
}

func (s *Service) readTokenRequest(w http.ResponseWriter, r *http.Request) (*tokenRequest, error) {
	f, err := s.readForm(w, r, &formRules{
		methods:       s.tokenMethods(),
		wrongMethod:   wire.TokenMethod,
		wrongEncoding: wire.SendTokenRequest,
		required:      "grant_type",
		known:         slices.Concat(wire.TokenParameters(), s.options.Refresh.parameters(), s.options.Devices.parameters(), inLowerCase(s.options.Parameters)),
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
	request.credentials = c
	return request, nil
}

// readCredentials returns the user's credentials from the body. If the body has
// neither a user name nor a password, it uses Basic authentication. With a
// client registry ([Options.Clients]), Basic is only for the client.
//
// Without a registry, client_id and client_secret are ignored, and
// [Credentials.ClientID] is "".
func (s *Service) readCredentials(r *http.Request, f *formRequest) (Credentials, *ErrorResponse) {
	bad := func(description string) (Credentials, *ErrorResponse) {
		return Credentials{}, invalidRequest(http.StatusBadRequest, description)
	}
	missing := func(description string) (Credentials, *ErrorResponse) {
		return Credentials{}, f.missing(s, r, description)
	}
	switch grant := f.form["grant_type"]; {
	case grant == "password":
	case grant == "":
		return missing(wire.GrantTypeMissing)
	case grant == "refresh_token" && s.refresh != nil:
		c := s.RequestCredentials(r)
		if c.RefreshToken = NewSecret(f.form["refresh_token"]); c.RefreshToken.Reveal() == "" {
			return missing(wire.RefreshMissing)
		}
		return c, nil
	default:
		return Credentials{}, s.unknownGrant()
	}
	username, password := f.form["username"], f.form["password"]
	// Never combine credentials from the body and the header, because a request
	// with a wrong password in the body must not succeed through the header. If
	// the host's code has read part of the body, do not use the header either,
	// because that part may have had a password.
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
	case len(username) > maxUserName:
		return bad(wire.UserNameTooLong)
	case strings.ContainsFunc(username, unicode.IsControl):
		return bad(wire.UserNameControls)
	}
	c := s.RequestCredentials(r)
	c.UserName, c.Password = username, NewSecret(password)
	if d := s.options.Devices; d != nil && d.Parameter != "" {
		c.Device, c.DeviceName = f.form[d.Parameter], f.form[d.nameParameter()]
		if malformed := malformedDevice(c.Device, c.DeviceName); malformed != nil {
			return Credentials{}, malformed
		}
	}
	var ok bool
	if c.Parameters, ok = furtherParameters(s.options.Parameters, f.form); !ok {
		return bad(wire.ParameterTooLong)
	}
	if s.options.Clients != nil {
		c.ClientID, c.ClientSecret = f.form["client_id"], NewSecret(f.form["client_secret"])
	}
	return c, nil
}

func (s *Service) unknownGrant() *ErrorResponse {
	e := &ErrorResponse{Status: http.StatusBadRequest, Code: wire.UnsupportedGrantType, Description: wire.GrantTypeUnknown, Err: errMalformed}
	if s.refresh != nil {
		e.Description = wire.GrantTypeNeither
	}
	return e
}

func (s *Service) grantTypes() []string {
	if s.refresh == nil {
		return []string{"password"}
	}
	return []string{"password", "refresh_token"}
}

func (s *Service) tokenMethods() []string {
	if s.options.DisableGET {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodPost}
}
