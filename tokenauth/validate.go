package tokenauth

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/accesstoken"
)

// Validate returns the stored [Token] for an access token. The caller may keep
// and modify it. It accepts no API keys, for which there is [Keys.Validate].
//
//   - It returns [ErrInvalidToken] if the access token is not valid. If the
//     token has expired but is still stored, the error is also
//     [ErrExpiredToken]. If the user's current token at this client replaced
//     the token, the error is also [ErrReplacedToken]. If [Options.LiveCheck]
//     rejected the token, [errors.Is] also finds the errors that LiveCheck
//     wrapped.
//   - It returns [ErrUnavailable] if the storage failed or did not answer in
//     time.
//   - It returns another error if the storage is a [BatchFinder] and panicked.
//     The stack is logged.
//
// The context's deadline interrupts a storage read, but a cancellation does
// not. A read ends within [Options.Timeout]. If the storage is a BatchFinder,
// concurrent callers may share a read, which may then last until the latest of
// their deadlines. A caller that shares a read returns when its own context
// ends.
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

// validate is [Service.Validate] without the copy and the event. The returned
// token is shared, so the caller must not modify it. With [ErrExpiredToken],
// validate also returns the expired token, and with [ErrReplacedToken] the
// newer one.
func (s *Service) validate(ctx context.Context, accessToken string) (*Token, error) {
	digest, ok := accesstoken.Digest(s.options.Prefix, accessToken)
	if !ok {
		return nil, ErrInvalidToken
	}
	if cached, reading := s.cached(digest); cached != nil {
		err := s.accept(ctx, &cached.Token, &cached.mark, reading)
		if err != ErrExpiredToken || s.options.MaxLifetime == 0 {
			return &cached.Token, err
		}
		// A use at another replica may have made the token live on since it was
		// cached, so ask the storage.
		s.cache.remove((*Digest)(&digest))
	}
	slot, ok := accesstoken.Parse(s.options.Prefix, accessToken)
	if !ok {
		return nil, ErrInvalidToken
	}
	t, err := s.load(ctx, slotFrom(slot), digest)
	if err != nil {
		return nil, err
	}
	if err := t.current((*Digest)(&digest)); err != nil {
		if err != ErrReplacedToken {
			t = nil
		}
		return t, err
	}
	return t, s.accept(ctx, t, nil, time.Now())
}

// cached returns the cached token with the digest, or nil if the token must be
// read from the storage. It also returns the clock reading that it used.
func (s *Service) cached(d Digest) (t *cachedToken, reading time.Time) {
	if s.cache == nil {
		return nil, reading
	}
	reading = time.Now()
	return s.cache.hit(&d, reading), reading
}

// load returns the token in the slot from the storage, through the cache if
// there is one.
func (s *Service) load(ctx context.Context, slot Slot, d Digest) (t *Token, err error) {
	if s.cache == nil {
		return s.read(ctx, slot)
	}
	if !s.cache.alive() {
		s.warnRunNotCalled(ctx)
	}
	t, err = s.cache.find(ctx, slot, &d, s.lookups.findToken)
	return t, s.loadError(ctx, err)
}

// read returns the token in the slot from the storage, and not from the cache.
func (s *Service) read(ctx context.Context, slot Slot) (*Token, error) {
	t, err := s.lookups.findSignIn(ctx, slot)
	return t, s.loadError(ctx, err)
}

// loadError returns the error of [Service.Validate] for one of the storage.
func (s *Service) loadError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrInvalidToken
	case errors.Is(err, ErrCorrupt):
		s.securityLog.corrupt(ctx, err)
		return ErrInvalidToken
	case err != nil && err != errPanic:
		return unavailable("finding a token", err)
	}
	return err
}

// accept checks the expiry of a token whose digest is right, and calls
// [Options.LiveCheck]. It then notes that the token was used. The mark is that
// of a cached token, or nil. The reading must come from [time.Now].
func (s *Service) accept(ctx context.Context, t *Token, mark *atomic.Int64, reading time.Time) error {
	now := s.timeAt(reading)
	if t.expired(now) {
		s.warnRunNotCalled(ctx)
		return ErrExpiredToken
	}
	err := s.liveCheck(ctx, t)
	if err == nil && s.uses != nil {
		s.uses.note(t, mark, now)
	}
	return err
}

func (s *Service) liveCheck(ctx context.Context, t *Token) error {
	if s.options.LiveCheck == nil {
		return nil
	}
	return s.checkStamp(ctx, t, func(t Token) error { return s.askLiveCheck(ctx, t) })
}

func (s *Service) askLiveCheck(ctx context.Context, t Token) error {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return unavailable("asking Options.LiveCheck", err)
	}
	defer cancel()
	defer calling("Options.LiveCheck")
	err = s.options.LiveCheck(call, t)
	switch {
	case errors.Is(err, ErrRejected):
		return because(ErrInvalidToken, err)
	case err != nil:
		return hostFailed("Options.LiveCheck", "ErrRejected for a user who may no longer use the token", err)
	}
	return nil
}
