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

// isForeign reports whether a request may be one for Options.Fallback: it has
// no bearer token, or one that this Service cannot have issued. A token with the
// prefix is the Service's own, valid or not.
func (s *Service) isForeign(accessToken string, refusal *ErrorResponse) bool {
	if refusal != nil {
		return errors.Is(refusal.Err, errNoCredentials)
	}
	return !strings.HasPrefix(accessToken, s.options.Prefix)
}

// fallBack asks Options.Fallback. If that does not know the request either, the
// answer is the same as without it.
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
	return s.pass(r, token, evidenceOf(r)), nil
}

// evidence is all by which Options.Fallback may have authenticated a request.
type evidence struct {
	line   requestLine
	path   string
	header http.Header
	body   io.ReadCloser
}

// A requestLine is the part of a request that can be compared by ==.
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

// isOf reports whether the request has all of the evidence and nothing else: it is
// the request that was authenticated, or a copy. Routers take prefixes off the
// path.
func (e *evidence) isOf(r *http.Request) bool {
	return e != nil && e.line == requestLineOf(r) && strings.HasSuffix(e.path, r.URL.Path) &&
		sameBody(e.body, r.Body) && maps.EqualFunc(e.header, r.Header, slices.Equal)
}

// sameBody compares bodies as variables. A type that cannot be compared is a
// middleware's, and so another body.
func sameBody(a, b io.ReadCloser) bool {
	return reflect.ValueOf(a).Comparable() && a == b
}

func (s *Service) askFallback(r *http.Request) (t *Token, err error) {
	defer s.recovered(r.Context(), &err)
	p, err := s.callFallback(r)
	if err != nil {
		return nil, err
	}
	if err := p.check(); err != nil {
		return nil, err
	}
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
	// What it read of the body, a form or a signed text, is for the handler, too.
	r.Body, r.Form, r.PostForm, r.MultipartForm = asked.Body, asked.Form, asked.PostForm, asked.MultipartForm
	switch {
	case errors.Is(err, ErrRejected):
		return Principal{}, because(ErrRejected, err)
	case err != nil:
		return Principal{}, hostFailed("Options.Fallback", "ErrRejected for a request that it does not know", err)
	}
	return p, nil
}
