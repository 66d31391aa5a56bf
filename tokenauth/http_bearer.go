package tokenauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
	"github.com/bearerkit/bearerkit/tokenauth/internal/presented"
)

// authenticate returns the request with its token in the context (RFC 6750), or
// the response that refuses the request. The caller must report a refusal to
// [Options.Observers].
func (s *Service) authenticate(r *http.Request) (*http.Request, *ErrorResponse) {
	accessToken, refusal := s.presented(r)
	foreign := s.options.Fallback != nil && s.isForeign(accessToken, refusal)
	if a := s.decided(r.Context()); a != nil && a.isOf(r) {
		if again := a.refused.again(r, accessToken, refusal, foreign); again != nil {
			return nil, again
		}
		if a.token != nil && (foreign && a.fallback.isOf(r) || refusal == nil && s.isOf(a, accessToken)) {
			return s.pass(r, a.token, a.fallback, accessToken), nil
		}
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
		if token.Key != "" {
			e.Reason = event.ReasonKey
		}
		e.setToken(token)
		s.observe(r.Context(), &e)
	}
	return s.pass(r, token, nil, accessToken), nil
}

// pass returns the request with its token in the context. The accessToken is
// ignored if [Options.Fallback] authenticated the request.
func (s *Service) pass(r *http.Request, t *Token, e *evidence, accessToken string) *http.Request {
	if a := lastAuthorized(r.Context()); a != nil && a.service == s && a.token == t && a.isOf(r) {
		return r
	}
	if e != nil {
		accessToken = "" // it is not one of this Service
	}
	a := authorized{Context: r.Context(), service: s, token: t, fallback: e, lines: [...]string{"private", s.places.Vary()}}
	return r.WithContext(newAuthorized(a, secrets{r.Header, accessToken}))
}

// validateGuarded calls validate, or validateKey for an API key. If the storage or
// [Options.LiveCheck] panics, it returns an error. Panics of the handler behind the
// guard are not recovered.
func (s *Service) validateGuarded(ctx context.Context, accessToken string) (t *Token, err error) {
	defer s.recovered(ctx, &err)
	if s.keys.has(accessToken) {
		return s.validateKey(ctx, accessToken)
	}
	return s.validate(ctx, accessToken)
}

// decided returns the authorized context of the last guard of this Service that
// accepted or refused credentials, or nil. It skips the guards of other
// Services.
//
// The context may belong to a different request, because a handler may make a
// new request with its own request's context.
func (s *Service) decided(ctx context.Context) *authorized {
	a := lastAuthorized(ctx)
	for a != nil && (a.service != s || a.token == nil && a.refused == nil) {
		a = lastAuthorized(a.Context)
	}
	return a
}

// isOf reports whether the token in the authorized context belongs to
// accessToken. It compares digests in constant time.
func (s *Service) isOf(a *authorized, accessToken string) bool {
	digest, ok := accesstoken.Digest(s.options.Prefix, accessToken)
	if !ok {
		digest, ok = s.keys.digest(accessToken)
	}
	return ok && a.fallback == nil && equal(&a.token.Digest, (*Digest)(&digest))
}

// presented returns the access token that the request presents in one of
// [Options.Places]. By default it looks only at the Authorization header (RFC
// 6750 §2.1), because the host may put a copy of the token elsewhere for its own
// use.
func (s *Service) presented(r *http.Request) (accessToken string, refusal *ErrorResponse) {
	accessToken, inCookie, err := s.places.Find(r)
	switch {
	case err == presented.ErrSeveral:
		return "", s.malformed()
	case err != nil:
		return "", s.noCredentials()
	case inCookie && changesState(r) && crossSite(r):
		return "", fromAnotherSite()
	case inCookie && s.keys.claims(accessToken):
		return "", s.errorResponse(because(ErrInvalidToken, errKeyInCookie))
	}
	return accessToken, nil
}

func (s *Service) noCredentials() *ErrorResponse {
	return &ErrorResponse{Status: http.StatusUnauthorized, Challenge: s.challenges.none, Err: errNoCredentials}
}

func (s *Service) malformed() *ErrorResponse {
	e := invalidRequest(http.StatusBadRequest, s.challenges.malformedText)
	e.Challenge = s.challenges.malformed
	return e
}

// A tokenError is the error for a refused token. It also has two values for the
// refusal's [Event]: the token, if known, and the time when the validation
// began.
type tokenError struct {
	error
	token *Token // may be nil
	began time.Time
}

func (e *tokenError) Unwrap() error { return e.error }

// observeRefusal reports to the log and to [Options.Observers] that a request
// on a protected route was refused.
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
