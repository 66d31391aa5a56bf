package tokenauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
)

// Tokens returns the live tokens of a user, one for each client that the user
// is signed in at, the newest first. It has nothing of the access tokens but
// their digests. RevokeToken ends one of them.
//
// It returns ErrUnavailable if the storage could not be asked in time or is no
// Lister; and ErrCorrupt, wrapped, beside those tokens that could be read.
func (s *Service) Tokens(ctx context.Context, userID string) ([]Token, error) {
	const doing = "listing a user's tokens"
	l, ok := s.storage.(Lister)
	if !ok {
		return nil, unavailable(doing, fmt.Errorf("%T is no Lister; the stores of gormstore, redisstore and memory are", s.storage))
	}
	timed := withTimeout(ctx, s.options.Timeout)
	defer timed.end()
	user := UserKeyOf(userID)
	tokens, err := l.List(timed, user)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, unavailable(doing, err)
	}
	now := s.options.Now().Unix()
	live := make([]Token, 0, len(tokens))
	for i := range tokens {
		if tokens[i].Slot.User != user {
			return nil, unavailable(doing, errForeignRow)
		}
		if !tokens[i].expired(now) {
			live = append(live, tokens[i].copy())
		}
	}
	slices.SortFunc(live, func(a, b Token) int {
		return cmp.Or(b.IssuedAt.Compare(a.IssuedAt), cmp.Compare(a.ClientID, b.ClientID))
	})
	return live, err
}

// Health reports whether the storage answers, for a health check: nil, or
// ErrUnavailable after Options.Timeout at most. It reads a slot that is empty.
//
// A feed that is lost is no ill health, as the storage is asked then:
// CacheStats tells of it.
func (s *Service) Health(ctx context.Context) error {
	var slot Slot
	rand.Read(slot.User[:]) // never fails: it would end the process
	_, err := s.find(ctx, slot)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return unavailable("asking the storage for a sign of life", err)
	}
	return nil
}
