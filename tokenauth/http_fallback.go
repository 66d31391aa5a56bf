package tokenauth

import (
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// isForeign reports whether [Options.Fallback] may authenticate a request.
// Fallback may do so if the request has no token in [Options.Places], or has one
// that does not begin with [Options.Prefix], [RefreshOptions.Prefix] or
// [KeyOptions.Prefix].
//
// A request whose token has such a prefix never goes to Fallback, even if the token
// is not valid. But if such a token arrives in a place that is not listed, such
// as a cookie by default, the request goes to Fallback.
func (s *Service) isForeign(accessToken string, refusal *ErrorResponse) bool {
	if refusal != nil {
		return errors.Is(refusal.Err, errNoCredentials)
	}
	if r := s.options.Refresh; r != nil && strings.HasPrefix(accessToken, r.Prefix) {
		return false // a refresh token must not reach another system
	}
	if s.keys.claims(accessToken) {
		return false // nor an API key
	}
	return !strings.HasPrefix(accessToken, s.options.Prefix)
}

// fallBack calls [Options.Fallback]. If Fallback returns [ErrRejected], the
// response is the same as without a Fallback.
func (s *Service) fallBack(r *http.Request, noCredentials *ErrorResponse) (*http.Request, *ErrorResponse) {
	began := s.beginning()
	token, err := s.askFallback(r)
	if err != nil {
		refusal := noCredentials
		switch {
		case !errors.Is(err, ErrRejected):
			refusal = s.errorResponse(err)
		case refusal == nil:
			refusal = s.errorResponse(because(ErrInvalidToken, err))
		default:
			refusal.Err = because(refusal.Err, err)
		}
		refusal.Err = &tokenError{refusal.Err, nil, began}
		return nil, refusal
	}
	if s.observed() {
		e := Event{Kind: event.Validated, Reason: event.ReasonFallback, Duration: s.since(began)}
		e.setToken(token)
		s.observe(r.Context(), &e)
	}
	return s.pass(r, token, evidenceOf(r), ""), nil
}

// evidence holds the parts of a request from which [Options.Fallback] may have
// recognized the caller.
type evidence struct {
	line   requestLine
	path   string
	header http.Header
	body   io.ReadCloser
}

// A requestLine is the part of the evidence that == can compare.
type requestLine struct {
	method, uri, query, host, peer string
	size                           int64
	tls                            *tls.ConnectionState
}

func requestLineOf(r *http.Request) requestLine {
	return requestLine{r.Method, r.RequestURI, r.URL.RawQuery, r.Host, r.RemoteAddr, r.ContentLength, r.TLS}
}

func evidenceOf(r *http.Request) *evidence {
	return &evidence{requestLineOf(r), r.URL.Path, r.Header.Clone(), r.Body}
}

// isOf reports whether r has exactly this evidence. If so, r is the
// authenticated request or a copy of it. Only the path may be shorter, since
// routers remove prefixes.
func (e *evidence) isOf(r *http.Request) bool {
	return e != nil && e.line == requestLineOf(r) && strings.HasSuffix(e.path, r.URL.Path) &&
		sameBody(e.body, r.Body) && maps.EqualFunc(e.header, r.Header, slices.Equal)
}

// sameBody reports whether a and b are the same body. If == cannot compare the
// body's type, the body comes from middleware, and counts as a different one.
func sameBody(a, b io.ReadCloser) bool {
	return reflect.ValueOf(a).Comparable() && a == b
}

// askFallback returns a token for the principal that [Options.Fallback]
// returns. All other fields of the token are zero, even ExpiresAt, because the
// expiry is unknown.
func (s *Service) askFallback(r *http.Request) (t *Token, err error) {
	defer s.recovered(r.Context(), &err)
	p, err := s.callFallback(r)
	if err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	p.Row = nil // as in every other token of a request
	t = &Token{Principal: p.Clone()}
	err = s.liveCheck(r.Context(), t)
	if errors.Is(err, ErrInvalidToken) {
		err = because(ErrRejected, err)
	}
	return t, err
}

func (s *Service) callFallback(r *http.Request) (Principal, error) {
	call, cancel, err := s.timeout.Call(r.Context())
	if err != nil {
		return Principal{}, unavailable("asking Options.Fallback", err)
	}
	defer cancel()
	defer calling("Options.Fallback")
	asked := r.WithContext(call)
	p, err := s.options.Fallback(asked)
	// The handler gets the body and the forms as Fallback left them.
	r.Body, r.Form, r.PostForm, r.MultipartForm = asked.Body, asked.Form, asked.PostForm, asked.MultipartForm
	switch {
	case errors.Is(err, ErrRejected):
		return Principal{}, because(ErrRejected, err)
	case err != nil:
		return Principal{}, hostFailed("Options.Fallback", "ErrRejected for a request that it cannot authenticate", err)
	}
	return p, nil
}
