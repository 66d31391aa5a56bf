package tokenauth

import (
	"context"
	"errors"
)

// lookStreamed returns the token of an open stream as the storage has it now. It
// returns [ErrInvalidToken], wrapped with the reason, if the token ended. Any
// other error leaves that open.
func (s *Service) lookStreamed(ctx context.Context, t *Token) (now *Token, err error) {
	expired := t.expired(s.options.Now().Unix())
	if expired && !s.options.tokensLiveOn() {
		return nil, ErrExpiredToken
	}
	err = recoverPanic("checking an open stream", func() (err error) {
		if t.Key != "" {
			if now, _, err = s.readKey(ctx, refOf(t)); err == nil {
				now, err = s.liveKey(ctx, now)
			}
			return err
		}
		if now, err = s.readStreamed(ctx, t.Slot); err != nil {
			return err
		}
		if !now.continues(t) {
			return now.current(&t.Digest)
		}
		if now.expired(s.options.Now().Unix()) {
			return ErrExpiredToken
		}
		return s.liveCheck(ctx, now)
	})
	if expired && err != nil && !errors.Is(err, ErrInvalidToken) {
		err = ErrExpiredToken // a failure must not prolong a token
	}
	return now, err
}

// readStreamed returns the token in the slot. With [Options.Refresh], it also has its
// Refresh, because a stream goes on when its token is refreshed.
func (s *Service) readStreamed(ctx context.Context, slot Slot) (*Token, error) {
	t, err := s.findSignIn(ctx, slot)
	return t, s.loadError(ctx, err)
}
