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
	if expired && s.options.MaxLifetime == 0 {
		return nil, ErrExpiredToken
	}
	err = recoverPanic("checking an open stream", func() (err error) {
		if now, err = s.read(ctx, t.Slot); err != nil {
			return err
		}
		if err = now.current(&t.Digest); err != nil {
			return err
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
