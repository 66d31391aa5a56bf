package tokenauth

import (
	"context"
	"errors"
)

// lookAgain returns [ErrRejected] if the user or the client was disabled or
// changed while the sign-in was in progress.
func (s *Service) lookAgain(ctx context.Context, p Principal, clientID string) error {
	err := s.recheckUser(ctx, p)
	if errors.Is(err, ErrRejected) && errors.Is(err, ErrNotFound) {
		s.securityLog.lost(ctx, &p)
	}
	if err != nil || s.options.Clients == nil || clientID == "" {
		return err
	}
	now, err := s.findClient(ctx, clientID)
	if errors.Is(err, ErrInvalidClient) {
		return ErrRejected
	}
	if err != nil {
		return err
	}
	if now.Disabled || !now.admits(&p) {
		return ErrRejected
	}
	return nil
}

func (s *Service) recheckUser(ctx context.Context, p Principal) error {
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return unavailable("checking the user again", err)
	}
	defer cancel()
	defer calling("the authenticator")
	err = recheck(call, s.authenticator, p)
	switch {
	case errors.Is(err, ErrRejected):
		return because(ErrRejected, err)
	case err != nil:
		return hostFailed("the Rechecker", "ErrRejected for a user who may no longer sign in; a password.Lookup must return ErrNotFound for an unknown name", err)
	}
	return nil
}

// discard removes a token that was stored but not yet returned.
func (s *Service) discard(ctx context.Context, t *Token) {
	if err := s.revoke(ctx, t.Slot, t.Digest); err != nil {
		// This is not a security problem: no client has the access token.
		s.options.Logger.ErrorContext(ctx, "tokenauth: the token of a rejected sign-in could not be removed; it stays in the storage until it is replaced or expires, and no client has it", "error", err)
	}
}
