package tokenauth

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// authenticate finds the token of a request (RFC 6750). It reports no refusal to
// observers.
func (s *Service) authenticate(r *http.Request) (*http.Request, *ErrorResponse) {
	accessToken, refusal := s.bearer(r)
	foreign := s.options.Fallback != nil && s.isForeign(accessToken, refusal)
	if a := s.authorized(r.Context()); a != nil && a.isOf(r) && (foreign && a.fallback.isOf(r) || refusal == nil && s.isOf(a, accessToken)) {
		return s.pass(r, a.token, a.fallback), nil
	}
	if foreign {
		return s.fallBack(r, refusal)
	}
	if refusal != nil {
		return nil, refusal
	}
	began := s.beginning()
	token, err := s.validateGuarded(r.Context(), accessToken)
	if err != nil {
		return nil, s.errorResponse(&tokenError{err, token, began})
	}
	if s.observed() {
		e := Event{Kind: event.Validated, Duration: s.since(began)}
		e.setToken(token)
		s.observe(r.Context(), &e)
	}
	return s.pass(r, token, nil), nil
}

// pass returns the request with its token in the context.
func (s *Service) pass(r *http.Request, t *Token, e *evidence) *http.Request {
	if a := lastAuthorized(r.Context()); a != nil && a.service == s && a.token == t && a.isOf(r) {
		return r
	}
	return r.WithContext(&authorized{r.Context(), s, t, r.Header, e, [...]string{"private", "Authorization"}})
}

// validateGuarded is validate with a panic of the host's storage or live check
// made an error. A panic of the handler behind the guard is the host's.
func (s *Service) validateGuarded(ctx context.Context, accessToken string) (t *Token, err error) {
	defer s.recovered(ctx, &err)
	return s.validate(ctx, accessToken)
}

// authorized returns what the last guard of this very Service left in the context
// if that let a request with a token through. Other Services have no effect here.
//
// The request is not always the one at hand: a handler may make a new one on its
// own request's context.
func (s *Service) authorized(ctx context.Context) *authorized {
	a := lastAuthorized(ctx)
	for a != nil && (a.service != s || a.token == nil) {
		a = lastAuthorized(a.Context)
	}
	return a
}

// isOf reports whether the access token is the one that was validated. It compares
// digests, so that no context needs to have the access token.
func (s *Service) isOf(a *authorized, accessToken string) bool {
	digest, ok := accesstoken.Digest(s.options.Prefix, accessToken)
	return ok && a.fallback == nil && equal(&a.token.Digest, (*Digest)(&digest))
}

// bearer reads the Authorization header (RFC 6750 §2.1), and nothing else: a
// query, a form or a cookie may have a copy of the token for the host's own use,
// such as a WebSocket. An empty token counts as none, since some front ends wait
// for a 401 before they ask for a sign-in.
func (s *Service) bearer(r *http.Request) (accessToken string, refusal *ErrorResponse) {
	const scheme = "Bearer"
	lines := r.Header["Authorization"]
	if len(lines) == 0 || len(lines) == 1 && !hasPrefixFold(lines[0], scheme) {
		return "", s.noCredentials()
	}
	if len(lines) > 1 {
		return "", s.malformed()
	}
	rest := lines[0][len(scheme):]
	accessToken = strings.Trim(rest, " ")
	switch {
	case rest != "" && rest[0] != ' ' && rest[0] != '\t':
		return "", s.noCredentials() // another scheme that begins with the same letters
	case strings.Trim(accessToken, "\t ") == "":
		return "", s.noCredentials()
	case hasSeparator(accessToken):
		return "", s.malformed()
	}
	return accessToken, nil
}

// hasSeparator does what strings.ContainsAny would do in ten times the time.
func hasSeparator(s string) bool {
	return strings.IndexByte(s, ' ') >= 0 || strings.IndexByte(s, '\t') >= 0 || strings.IndexByte(s, ',') >= 0
}

func (s *Service) noCredentials() *ErrorResponse {
	return &ErrorResponse{Status: http.StatusUnauthorized, Challenge: s.challenges.none, Err: errNoCredentials}
}

func (s *Service) malformed() *ErrorResponse {
	e := invalidRequest(http.StatusBadRequest, wire.BearerMalformed)
	e.Challenge = s.challenges.malformed
	return e
}

// A tokenError is why a token was refused, the token where it is known, and
// when the validation began.
type tokenError struct {
	error
	token *Token // or nil
	began time.Time
}

func (e *tokenError) Unwrap() error { return e.error }

// observeRefusal reports a refused request on a protected route.
func (s *Service) observeRefusal(r *http.Request, err error, token *Token) {
	var e Event
	e.setError(err, event.Refused)
	if withToken := (*tokenError)(nil); errors.As(err, &withToken) {
		token = withToken.token
		e.Duration = s.since(withToken.began)
	}
	if !s.observed() && !s.securityLog.wants(r.Context(), &e) {
		return
	}
	e.RemoteAddr = clientAddr(r, &s.options)
	e.setToken(token)
	s.observe(r.Context(), &e)
}
