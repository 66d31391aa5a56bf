package tokenauth

import "context"

// Revoke ends an access token. It is idempotent: a token that is malformed,
// unknown or no longer good is no error, and an old token never ends the one
// that replaced it. It returns ErrUnavailable if the storage could not be
// asked in time; the token may then still be good.
func (s *Service) Revoke(ctx context.Context, accessToken string) error {
	slot, digest, ok := parse(s.options.Prefix, accessToken)
	if !ok {
		return nil
	}
	return s.revoke(ctx, slot, digest)
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
// token issued before the call is good. It returns ErrUnavailable if the
// storage could not be asked in time.
func (s *Service) RevokeUser(ctx context.Context, userID string) error {
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	user := UserKeyOf(userID)
	err := s.storage.RevokeUser(timed, user)
	s.changed(user)
	if err != nil {
		return unavailable("revoking a user's tokens", err)
	}
	return nil
}

// changed has the cache forget a user before the call that changed something
// returns, so that whoever made it sees what came of it. A call that failed
// may have been done.
func (s *Service) changed(u UserKey) {
	if s.cache != nil {
		s.cache.changed(u)
	}
}
