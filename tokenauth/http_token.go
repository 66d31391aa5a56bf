package tokenauth

import (
	"errors"
	"io"
	"net/http"
	"os"
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

// Mount mounts TokenHandler at the paths, or at TokenPaths if there are none,
// on anything that registers handlers as http.ServeMux does.
func (s *Service) Mount(mux interface{ Handle(string, http.Handler) }, paths ...string) {
	if len(paths) == 0 {
		paths = tokenPaths
	}
	for _, path := range paths {
		mux.Handle(path, s.TokenHandler())
	}
}

// TokenHandler returns the token endpoint: the resource owner password
// credentials grant of RFC 6749 §4.3, by GET or POST, with an urlencoded body
// whatever its Content-Type says. It answers every method, 405 where that is
// the answer, so mount it for all of them.
func (s *Service) TokenHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			// There may have been a Content-Length, too. The server goes by
			// the chunks and does not tell; somebody before it may have gone
			// by the length, and take what follows for another request
			// (RFC 9112 §6.1).
			w.Header().Set("Connection", "close")
		}
		grant, err := s.token(w, r)
		if err != nil {
			s.refuseToken(w, r, err)
			return
		}
		noStore(w.Header())
		writeJSON(w, http.StatusOK, s.tokenResponse(grant))
	})
}

func (s *Service) token(w http.ResponseWriter, r *http.Request) (g Grant, err error) {
	defer s.recovered(r.Context(), &err)
	c, refusal := s.readCredentials(w, r)
	if refusal != nil {
		return g, refusal
	}
	return s.SignIn(r.Context(), c)
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
	for _, name := range s.options.ResponseAttributes {
		if value, ok := p.Attributes[name]; ok {
			body.text(name, value)
		}
	}
	return body.done()
}

// A requestRefusal is a Refusal that was made before the body was read to its
// end. The connection is closed after it, so that no byte of the body is ever
// taken for the next request.
type requestRefusal struct {
	*Refusal
	header http.Header // further headers, or nil
}

func (s *Service) refuseToken(w http.ResponseWriter, r *http.Request, err error) {
	var refusal *Refusal
	if early := (*requestRefusal)(nil); errors.As(err, &early) {
		refusal = early.Refusal
		w.Header().Set("Connection", "close")
		for name, values := range early.header {
			w.Header()[name] = values
		}
	} else if !errors.As(err, &refusal) {
		refusal = s.refusalOf(err)
	}
	s.PrepareRefusal(w, r, refusal)
	var body jsonObject
	body.text("error", refusal.Code)
	body.text("error_description", refusal.Description)
	writeJSON(w, refusal.Status, body.done())
}

const (
	maxBodySize   = 8 << 10
	maxParameters = 32
)

// readCredentials reads a token request. The order of its checks is part of
// the contract: what is refused first is refused without looking further.
func (s *Service) readCredentials(w http.ResponseWriter, r *http.Request) (Credentials, error) {
	var none Credentials
	// The deadline stays if the body is refused, for the server then reads on
	// for a while before it closes the connection. Once the body is read it
	// goes: the server watches for the client to leave, and hashing may take
	// longer. A middleware that hides the connection from
	// http.ResponseController leaves the server's own ReadTimeout.
	conn := http.NewResponseController(w)
	conn.SetReadDeadline(time.Now().Add(s.options.BodyTimeout))
	if allow := s.methods(); !slices.Contains(allow, r.Method) {
		return none, &requestRefusal{
			invalidRequest(http.StatusMethodNotAllowed, "The token endpoint does not answer this method."),
			http.Header{"Allow": {strings.Join(allow, ", ")}},
		}
	}
	basic, ok := parseAuthorization(r.Header["Authorization"])
	if !ok {
		return none, early(http.StatusBadRequest, "The Authorization header is malformed, or there are several.")
	}
	if refusal := checkContentHeaders(r.Header); refusal != nil {
		return none, refusal
	}
	for _, name := range credentialNames {
		if queryHas(r.URL.RawQuery, name) {
			return none, early(http.StatusBadRequest, "Credentials belong in the body, never in the query.")
		}
	}
	body, refusal := s.readBody(r)
	if refusal != nil {
		return none, refusal
	}
	conn.SetReadDeadline(time.Time{})
	user := basic
	if s.options.Clients != nil {
		user = nil // it is the client's
	}
	c, bad := parseTokenRequest(body, user)
	if bad != nil {
		return none, bad
	}
	if err := s.readClient(r, &c, basic); err != nil {
		return none, err
	}
	c.RemoteAddr = clientAddr(r, s.options.TrustedProxies)
	return c, nil
}

// readClient authenticates the client of a token request, which says who it is
// by Basic authentication or in the body, and not by both (RFC 6749 §2.3).
func (s *Service) readClient(r *http.Request, c *Credentials, basic *userPass) (err error) {
	if s.options.Clients == nil {
		c.ClientID, c.ClientSecret = "", Secret{}
		return nil
	}
	readings := []clientCredentials{{c.ClientID, c.ClientSecret}}
	if basic != nil {
		readings = basic.readings()
		named := slices.ContainsFunc(readings, func(reading clientCredentials) bool { return reading.id == c.ClientID })
		if c.ClientSecret.Reveal() != "" || c.ClientID != "" && !named {
			return invalidRequest(http.StatusBadRequest, "The client is named by Basic authentication or in the body, not by both.")
		}
	}
	c.client, err = s.authenticateClient(r.Context(), readings...)
	if errors.Is(err, ErrInvalidClient) {
		refusal := s.refusalOf(err)
		if basic != nil { // RFC 6749 §5.2
			refusal.Status, refusal.Challenge = http.StatusUnauthorized, s.challenges.basic
		}
		return refusal
	}
	if err == nil {
		c.ClientID = c.client.ID
	}
	return err
}

func (s *Service) methods() []string {
	if s.options.DisableGET {
		return []string{http.MethodPost}
	}
	return []string{http.MethodGet, http.MethodPost}
}

func invalidRequest(status int, description string) *Refusal {
	return &Refusal{Status: status, Code: codeInvalidRequest, Description: description}
}

func early(status int, description string) error {
	return &requestRefusal{invalidRequest(status, description), nil}
}

// readBody reads at most maxBodySize bytes.
func (s *Service) readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBodySize {
		return nil, early(http.StatusRequestEntityTooLarge, descriptionTooLarge)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBodySize+1))
	switch {
	case len(body) > maxBodySize:
		return nil, early(http.StatusRequestEntityTooLarge, descriptionTooLarge)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, early(http.StatusRequestTimeout, "The body took too long to arrive.")
	case err != nil:
		return nil, early(http.StatusBadRequest, "The body could not be read.")
	}
	return body, nil
}

const descriptionTooLarge = "The body has more than 8192 bytes."
