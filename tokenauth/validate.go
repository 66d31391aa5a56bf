package tokenauth

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// Validate returns the token of an access token. The caller may keep and change
// it.
//
//   - It returns ErrInvalidToken if the access token is not valid, refined to
//     ErrExpiredToken or ErrReplacedToken for whoever holds the very token that
//     expired or was replaced. If Options.LiveCheck refused it, errors.Is also
//     finds what LiveCheck wrapped.
//   - It returns ErrUnavailable if the storage failed or did not answer in time.
//   - It returns another error if the storage is a BatchFinder and panicked. The
//     stack is logged.
//
// A cancelled context does not interrupt a read that has begun, which ends within
// Options.Timeout; a deadline does. Callers may share a read of a BatchFinder. It goes
// on until the last of their deadlines, and each caller's Validate returns when its own
// context ends.
func (s *Service) Validate(ctx context.Context, accessToken string) (Token, error) {
	defer plainPanic()
	began := s.beginning()
	t, err := s.validate(ctx, accessToken)
	if err != nil || s.observed() {
		e := Event{Kind: event.Validated}
		if err != nil {
			e.setError(err, event.Refused)
		}
		e.Duration = s.since(began)
		e.setToken(t)
		s.observe(ctx, &e)
	}
	if err != nil {
		return Token{}, err
	}
	return t.clone(), nil
}

// validate is Validate without the copy and the event. The token is shared with
// others. It is also returned beside ErrExpiredToken and ErrReplacedToken.
func (s *Service) validate(ctx context.Context, accessToken string) (*Token, error) {
	digest, ok := accesstoken.Digest(s.options.Prefix, accessToken)
	if !ok {
		return nil, ErrInvalidToken
	}
	if t, reading := s.cached(digest); t != nil {
		return t, s.accept(ctx, t, reading)
	}
	slot, ok := accesstoken.Parse(s.options.Prefix, accessToken)
	if !ok {
		return nil, ErrInvalidToken
	}
	t, err := s.load(ctx, slotFrom(slot), digest)
	if err != nil {
		return nil, err
	}
	if !equal(&t.Digest, (*Digest)(&digest)) {
		if equal(&t.Replaced, (*Digest)(&digest)) {
			return t, ErrReplacedToken
		}
		return nil, ErrInvalidToken
	}
	return t, s.accept(ctx, t, time.Now())
}

// cached returns the token with that digest, or nil if the storage must be
// asked, and the reading of the clock by which it was found.
func (s *Service) cached(d Digest) (t *Token, reading time.Time) {
	if s.cache == nil {
		return nil, reading
	}
	reading = time.Now()
	return s.cache.hit(&d, reading), reading
}

// load asks the storage for the token in the slot, by way of the cache if there
// is one.
func (s *Service) load(ctx context.Context, slot Slot, d Digest) (t *Token, err error) {
	if s.cache == nil {
		t, err = s.lookups.find(ctx, slot)
	} else {
		if !s.cache.alive() {
			s.warnRunNotCalled(ctx)
		}
		t, err = s.cache.find(ctx, slot, &d, s.lookups.find)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, ErrInvalidToken
	case errors.Is(err, ErrCorrupt):
		s.securityLog.corrupt(ctx, err)
		return nil, ErrInvalidToken
	case err == errPanic:
		return nil, err
	case err != nil:
		return nil, unavailable("finding a token", err)
	}
	return t, nil
}

// accept checks a token whose digest is right: its expiry, and the live check.
func (s *Service) accept(ctx context.Context, t *Token, reading time.Time) error {
	if t.expired(s.timeAt(reading)) {
		s.warnRunNotCalled(ctx)
		return ErrExpiredToken
	}
	return s.liveCheck(ctx, t)
}

// timeAt returns the time, in Unix seconds, at a reading of time.Now. A reading
// costs a tenth of a validation from the cache, so each validation has one.
func (s *Service) timeAt(reading time.Time) int64 {
	if s.clock != nil {
		return s.clock.At(reading) / int64(time.Second)
	}
	return s.options.Now().Unix()
}

func (s *Service) liveCheck(ctx context.Context, t *Token) error {
	if s.options.LiveCheck == nil {
		return nil
	}
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return unavailable("asking Options.LiveCheck", err)
	}
	defer cancel()
	defer calling("Options.LiveCheck")
	err = s.options.LiveCheck(call, t.Principal.Clone())
	switch {
	case errors.Is(err, ErrRejected):
		return because(ErrInvalidToken, err)
	case err != nil:
		return hostFailed("Options.LiveCheck", "ErrRejected for a user who may not use the token any more", err)
	}
	return nil
}
