package tokenauth

import (
	"context"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/internal/rotation"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// refreshTries is how often a refresh that another one overtook is tried again. A
// refresh token is rotated once, and repeated a few times, so more is not needed.
const refreshTries = 2 + rotation.MaxRepeats + rotation.MaxRecent

var errOvertaken = errors.New("other refreshes of the same sign-in keep overtaking this one")

// endSignIn ends the sign-in of a presented refresh token, and reports the event. It
// returns false if a refresh replaced the tokens meanwhile.
func (s *Service) endSignIn(ctx context.Context, p presentedRefresh, t *Token, e Event) (done bool, err error) {
	began := time.Now()
	further, cancel := deadline.Detach(ctx) // finish what has begun
	defer cancel()
	e.setToken(t)
	if err = s.revoke(further, t.Slot, t.Digest); err == nil {
		_, err = s.refresh.judge(further, p)
		if done = errors.Is(err, errRefreshToken); done {
			err = nil
		} else if err == nil {
			return false, nil
		}
	}
	s.observeRevoked(ctx, e, began, err)
	return done, err
}

// revokeRefresh ends the sign-in of a refresh token, which may have been used before. If
// the client is not nil, the token must be the client's.
func (s *Service) revokeRefresh(ctx context.Context, p presentedRefresh, client *Client, e Event) error {
	for range refreshTries {
		f, err := s.refresh.judge(ctx, p)
		switch {
		case errors.Is(err, errRefreshToken):
			return nil // it cannot be valid
		case err != nil:
			return err
		case client != nil && f.token.ClientID != client.ID:
			return unauthorizedClient(wire.TokenOfAnotherClient)
		}
		if done, err := s.endSignIn(ctx, p, f.token, e); done || err != nil {
			return err
		}
	}
	return unavailable("revoking a refresh token", errOvertaken)
}
