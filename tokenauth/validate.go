package tokenauth

import (
	"context"
	"errors"
	"time"
)

// Validate returns the token that an access token stands for. The caller may
// keep and change it.
//
// It returns ErrInvalidToken if the access token is not good, refined to
// ErrExpiredToken or ErrReplacedToken for whoever holds the very token that
// expired or was replaced, and ErrUnavailable if the storage could not be
// asked in time. A context that is cancelled does not break off a read that was
// begun, which ends within Options.Timeout; a deadline does.
func (s *Service) Validate(ctx context.Context, accessToken string) (Token, error) {
	began := s.beginning()
	t, err := s.validate(ctx, accessToken)
	if err != nil || s.observed() {
		e := Event{Err: err, Kind: EventValidated}
		if err != nil {
			e.Kind, e.Reason = reasonOf(err, EventRefused)
		}
		if s.observed() {
			e.Duration = time.Since(began)
		}
		s.observeToken(ctx, &e, t)
	}
	if err != nil {
		return Token{}, err
	}
	return t.copy(), nil
}

// validate is Validate without the copy and without telling anybody. It also
// returns a token that is good no more, for whoever holds it.
func (s *Service) validate(ctx context.Context, accessToken string) (held, error) {
	place, ok := placeIn(s.options.Prefix, accessToken)
	if !ok {
		return nil, ErrInvalidToken
	}
	digest := digestOf(accessToken)
	if s.cache != nil {
		reading := time.Now()
		if e := s.cache.hit(place, &digest, reading); e != nil {
			return e, s.judge(ctx, e, reading)
		}
	}
	slot, ok := slotIn(s.options.Prefix, accessToken)
	if !ok {
		return nil, ErrInvalidToken
	}
	t, err := s.ask(ctx, slot, &digest)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, ErrInvalidToken
	case errors.Is(err, ErrCorrupt):
		s.securityLog.corrupt(ctx, err)
		return nil, ErrInvalidToken
	case err != nil:
		return nil, unavailable("finding a token", err)
	}
	if d, replaced := t.digests(); !equal(d, &digest) {
		if equal(replaced, &digest) {
			return t, ErrReplacedToken
		}
		return nil, ErrInvalidToken
	}
	return t, s.judge(ctx, t, time.Now())
}

// judge looks at a token whose digest is right.
func (s *Service) judge(ctx context.Context, t held, reading time.Time) error {
	if t.expired(s.timeAt(reading)) {
		return ErrExpiredToken
	}
	return s.liveCheck(ctx, t)
}

// timeAt returns the time, in Unix seconds, at a reading of time.Now. Each
// reading of a clock is a tenth of what a validation from the cache costs, so
// there is one.
func (s *Service) timeAt(reading time.Time) int64 {
	if s.clock != nil {
		return s.clock.at(reading) / int64(time.Second)
	}
	return s.options.Now().Unix()
}

// ask finds what the slot holds in the storage, by way of the cache if there
// is one.
func (s *Service) ask(ctx context.Context, slot Slot, d *Digest) (held, error) {
	if s.cache == nil {
		return hold(s.find(ctx, slot))
	}
	return s.cache.find(ctx, slot, d, s.find)
}

var errForeignRow = errors.New("the storage returned another slot's token")

// find asks the storage. A driver that hands one request's row to another, as
// drivers have done after a cancelled context, must not sign anybody in as
// somebody else, so what comes back is compared with what was asked for.
func (s *Service) find(ctx context.Context, slot Slot) (*Token, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	timed, end := s.reads.context(ctx)
	defer end()
	t, err := s.storage.Find(timed, slot)
	if err != nil {
		return nil, err
	}
	if t.Slot != slot {
		return nil, errForeignRow
	}
	return &t, nil
}

func (s *Service) liveCheck(ctx context.Context, t held) error {
	if s.options.LiveCheck == nil {
		return nil
	}
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	err := s.options.LiveCheck(timed, t.copy().Principal)
	switch {
	case errors.Is(err, ErrRejected):
		return ErrInvalidToken
	case err != nil:
		return hostFailed("Options.LiveCheck", "ErrRejected for a user who may not have the token any more", err)
	}
	return nil
}
