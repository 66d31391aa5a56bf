package tokenauth

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
)

// Extend makes a token live on as if it was used now, for a host that does not
// want to wait until a use is recorded ([Options.MaxLifetime]). The access token
// stays the same string. The token comes from [FromContext] or
// [Service.Validate]. Extend returns the stored token, with the new ExpiresAt
// and without [Token.Presented]. It never revives a token that ended in the meantime.
// It does not look at an API key, whose expiry a use does not change.
//
//   - It returns [ErrInvalidToken] if the token ended or expired, or if
//     [Options.Fallback] authenticated the request.
//   - It returns [ErrUnavailable] if [Options.MaxLifetime] is not set, or if the
//     storage failed or did not answer in time.
func (s *Service) Extend(ctx context.Context, t Token) (Token, error) {
	defer plainPanic()
	const doing = "extending a token"
	if s.options.MaxLifetime == 0 {
		return Token{}, unavailable(doing, errors.New("Options.MaxLifetime is not set"))
	}
	now := s.options.Now().Unix()
	if t.Digest.IsZero() {
		return Token{}, ErrInvalidToken
	}
	if t.Key != "" {
		t = t.clone()
		t.Presented = Secret{}
		return t, nil
	}
	ctx, cancel := deadline.Detach(ctx)
	defer cancel()
	stored, err := s.lookups.find(ctx, t.Slot)
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt), err == nil && !equal(&stored.Digest, &t.Digest):
		return Token{}, ErrInvalidToken
	case err == errPanic:
		return Token{}, err
	case err != nil:
		return Token{}, unavailable(doing, err)
	case stored.expired(now):
		return Token{}, ErrExpiredToken
	}
	until := time.Unix(stored.livesUntil(now, s.options.MaxLifetime), 0).UTC()
	if stored.Lifetime == 0 || !until.After(stored.ExpiresAt) {
		return stored.clone(), nil
	}
	use := Use{Slot: t.Slot, Digest: t.Digest, At: time.Unix(useHourStart(&t.Digest, useHourOf(&t.Digest, now)), 0).UTC(), ExpiresAt: until}
	if err := s.uses.send(ctx, []Use{use}); err != nil {
		return Token{}, unavailable(doing, err)
	}
	s.changed(t.Slot.User)
	stored, err = s.lookups.find(ctx, t.Slot)
	if errors.Is(err, ErrNotFound) || err == nil && !equal(&stored.Digest, &t.Digest) {
		return Token{}, ErrInvalidToken
	}
	if err != nil {
		return Token{}, unavailable(doing, err)
	}
	return stored.clone(), nil
}
