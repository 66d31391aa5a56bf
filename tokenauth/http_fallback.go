package tokenauth

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// isForeign reports whether a request may be one for Options.Fallback: it has
// no bearer token, or one that this Service cannot have issued. What begins
// with the prefix is the Service's own, good or not.
func (s *Service) isForeign(accessToken string, refusal *Refusal) bool {
	if refusal != nil {
		return errors.Is(refusal.Err, errNoCredentials)
	}
	return !strings.HasPrefix(accessToken, s.options.Prefix)
}

// fallBack asks Options.Fallback who is calling. If that does not know the
// request either, the answer is what it would be without.
func (s *Service) fallBack(r *http.Request, noCredentials *Refusal) (*http.Request, *Refusal) {
	began := s.beginning()
	token, err := s.askFallback(r)
	if err != nil {
		refusal := noCredentials
		if !errors.Is(err, ErrRejected) {
			refusal = s.refusalOf(err)
		} else if refusal == nil {
			refusal = s.refusalOf(ErrInvalidToken)
		}
		refusal.Err = &tokenError{refusal.Err, nil, began}
		return nil, refusal
	}
	if s.observed() {
		s.observeToken(r.Context(), &Event{Kind: EventValidated, Reason: ReasonFallback, Duration: time.Since(began)}, token)
	}
	return r.WithContext(&authorized{r.Context(), s, token}), nil
}

func (s *Service) askFallback(r *http.Request) (t *Token, err error) {
	defer s.recovered(r.Context(), &err)
	timed := withTimeout(r.Context(), s.options.Timeout)
	defer timed.end()
	asked := r.WithContext(timed)
	p, err := s.options.Fallback(asked)
	// What it read of the body, be it a form or to see a signature, is for the
	// handler, too.
	r.Body, r.Form, r.PostForm, r.MultipartForm = asked.Body, asked.Form, asked.PostForm, asked.MultipartForm
	switch {
	case errors.Is(err, ErrRejected):
		return nil, err
	case err != nil:
		return nil, hostFailed("Options.Fallback", "ErrRejected for what it does not know", err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	t = &Token{Principal: p.Clone()}
	err = s.liveCheck(r.Context(), t)
	if errors.Is(err, ErrInvalidToken) {
		err = ErrRejected
	}
	return t, err
}
