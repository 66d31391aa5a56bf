package tokenauth

import (
	"context"
	"fmt"
	"time"
)

// Revoke ends an access token. It is idempotent: a token that is malformed,
// unknown or no longer good is no error, and an old token never ends the one
// that replaced it. It returns ErrUnavailable if the storage could not be
// asked in time; the token may then still be good.
func (s *Service) Revoke(ctx context.Context, accessToken string) error {
	slot, digest, ok := parse(s.options.Prefix, accessToken)
	if !ok {
		return nil
	}
	return s.revokeObserved(ctx, slot, digest, Event{})
}

// RevokeToken ends a token that Tokens listed or a guard let through, or that a
// Grant holds, as Revoke does. It returns ErrInvalidToken for one that
// Options.Fallback vouched for, which is not the Service's to end.
func (s *Service) RevokeToken(ctx context.Context, t Token) error {
	if t.Digest.IsZero() {
		return ErrInvalidToken
	}
	var e Event
	e.of(&t)
	return s.revokeObserved(ctx, t.Slot, t.Digest, e)
}

// revokeObserved tells of it by e, which has what is known beside the digest.
func (s *Service) revokeObserved(ctx context.Context, slot Slot, digest Digest, e Event) error {
	began := time.Now()
	err := s.revoke(ctx, slot, digest)
	e.Digest = digest
	s.observeRevoked(ctx, e, began, err)
	return err
}

// observeRevoked tells of a revocation, or that it was not possible.
func (s *Service) observeRevoked(ctx context.Context, e Event, began time.Time, err error) {
	e.Kind, e.Duration, e.Err = EventRevoked, time.Since(began), err
	if err != nil {
		e.Kind, e.Reason = EventUnavailable, ""
	}
	s.observe(ctx, &e)
}

func (s *Service) revoke(ctx context.Context, slot Slot, digest Digest) error {
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	err := s.storage.Revoke(timed, slot, digest)
	s.changed(slot.User)
	if err != nil {
		return unavailable("revoking a token", err)
	}
	return nil
}

// RevokeUser ends all tokens of a user, at every client. Call it after each
// change of a user that must end what was issued before: when it returns, no
// token issued before the call is good.
//
// UserID is Principal.UserID, and not the name that the user types; one that has
// no tokens is no error. It returns ErrInvalidPrincipal for "", and
// ErrUnavailable if the storage could not be asked in time.
func (s *Service) RevokeUser(ctx context.Context, userID string) error {
	if userID == "" { // nobody's, so the caller has not got hold of whom it meant
		return fmt.Errorf("%w: RevokeUser needs a UserID, and it is empty", ErrInvalidPrincipal)
	}
	began := time.Now()
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	user := UserKeyOf(userID)
	err := s.storage.RevokeUser(timed, user)
	s.changed(user)
	if err != nil {
		err = unavailable("revoking a user's tokens", err)
	}
	s.observeRevoked(ctx, Event{Reason: ReasonUser, UserID: userID}, began, err)
	return err
}

// changed has the cache forget a user before the call that changed something
// returns, so that whoever made it sees what came of it. A call that failed
// may have been done.
func (s *Service) changed(u UserKey) {
	if s.cache != nil {
		s.cache.changed(u)
	}
}
