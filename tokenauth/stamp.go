package tokenauth

import (
	"context"
	"errors"
)

// checkStamp calls check for a copy of a token that was read from the storage or
// the cache. If check rejects the token, checkStamp reads it again. A change to
// the user may have given a token that it keeps a new [Principal.Stamp] after t
// was read, as SetPassword of gormstore's Users does. Then checkStamp checks the
// token with the new stamp.
//
// Every later stamp is in the storage before check can compare with it. So check
// rejects a kept token only if its user changed once more.
func (s *Service) checkStamp(ctx context.Context, t *Token, check func(Token) error) error {
	for {
		rejected := check(t.clone())
		if !errors.Is(rejected, ErrRejected) && !errors.Is(rejected, ErrInvalidToken) ||
			t.Principal.Stamp == "" || t.Digest.IsZero() {
			return rejected
		}
		again, err := s.lookups.find(ctx, t.Slot)
		switch {
		case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
			return rejected
		case err == errPanic:
			return err
		case err != nil:
			return unavailable("finding a token again", err)
		case !equal(&again.Digest, &t.Digest), again.Principal.Stamp == t.Principal.Stamp:
			return rejected
		}
		t = again
	}
}
