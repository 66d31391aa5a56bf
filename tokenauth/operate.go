package tokenauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Tokens returns a user's valid tokens, the newest first. There is one for each
// client and device with which the user is signed in. A [Token] has only the
// digest of its access token.
//
// A page where users see their sign-ins shows [Token.DeviceName], ClientID,
// IssuedAt and LastSeen. The token of the page's own request ([FromContext]) has
// the same Slot as the current sign-in. [Service.RevokeDevice] ends one sign-in,
// and [Service.RevokeUser] all, or all others. API keys are not listed: see
// [Keys.List].
//
//   - It returns [ErrUnavailable] if the storage is not a [Lister], failed, or
//     did not answer in time.
//   - If the storage could not read some of the tokens, it returns the others,
//     together with a wrapped [ErrCorrupt].
func (s *Service) Tokens(ctx context.Context, userID string) ([]Token, error) {
	defer plainPanic()
	tokens, err := s.list(ctx, userID)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	now := s.options.Now().Unix()
	live := make([]Token, 0, len(tokens))
	for i := range tokens {
		if tokens[i].over(now) || tokens[i].isOwner() {
			continue
		}
		t := tokens[i].clone()
		t.setSignedIn()
		if s.uses != nil {
			t.setLastSeen()
		} else {
			t.LastSeen = time.Time{} // it would not show later uses
		}
		live = append(live, t)
	}
	slices.SortFunc(live, func(a, b Token) int {
		return cmp.Or(b.IssuedAt.Compare(a.IssuedAt), cmp.Compare(a.ClientID, b.ClientID), cmp.Compare(a.Device, b.Device))
	})
	return live, err
}

// canList reports whether the storage is a [Lister].
func (s *Service) canList() bool {
	_, ok := s.storage.(Lister)
	return ok
}

// list returns the stored tokens of a user, expired or not. One of them may be the
// record of a user who has API keys ([Token.isOwner]).
func (s *Service) list(ctx context.Context, userID string) ([]Token, error) {
	return s.listOf(ctx, UserKeyOf(userID))
}

// listOf returns the tokens in all slots of a user key.
func (s *Service) listOf(ctx context.Context, user UserKey) ([]Token, error) {
	const doing = "listing a user's tokens"
	l, ok := s.storage.(Lister)
	if !ok {
		return nil, unavailable(doing, fmt.Errorf("%T is not a Lister; the stores of gormstore, redisstore and memory are", s.storage))
	}
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return nil, unavailable(doing, err)
	}
	defer cancel()
	defer calling("the storage")
	tokens, err := l.List(call, user)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, unavailable(doing, err)
	}
	for i := range tokens {
		if tokens[i].Slot.User != user {
			return nil, unavailable(doing, errForeignRow)
		}
	}
	return tokens, err
}

// Health is for health checks. It reads an empty slot, to find out whether the
// storage answers. It returns nil or [ErrUnavailable] within [Options.Timeout].
// A panic in a [BatchFinder] also becomes ErrUnavailable.
//
// It does not check the storage's feed, because the Service works without the
// cache that needs the feed. [Service.CacheStats] reports the state of the
// feed.
func (s *Service) Health(ctx context.Context) error {
	defer plainPanic()
	var slot Slot
	rand.Read(slot.User[:]) // never returns an error
	_, err := s.lookups.find(ctx, slot)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return unavailable("checking the storage", err)
	}
	return nil
}
