package tokenauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
)

// Tokens returns the live tokens of a user, the newest first: one for each client
// that the user is signed in at. Of the access tokens they have only the digests.
// RevokeToken ends one of them.
//
// It returns ErrUnavailable if the storage is not a Lister, failed, or did not
// answer in time; and ErrCorrupt, wrapped, beside the tokens that it could read.
func (s *Service) Tokens(ctx context.Context, userID string) ([]Token, error) {
	tokens, err := s.list(ctx, userID)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	now := s.options.Now().Unix()
	live := make([]Token, 0, len(tokens))
	for i := range tokens {
		if !tokens[i].expired(now) {
			live = append(live, tokens[i].clone())
		}
	}
	slices.SortFunc(live, func(a, b Token) int {
		return cmp.Or(b.IssuedAt.Compare(a.IssuedAt), cmp.Compare(a.ClientID, b.ClientID))
	})
	return live, err
}

// canList reports whether the storage is a Lister.
func (s *Service) canList() bool {
	_, ok := s.storage.(Lister)
	return ok
}

// list returns the stored tokens of a user, expired or not.
func (s *Service) list(ctx context.Context, userID string) ([]Token, error) {
	const doing = "listing a user's tokens"
	l, ok := s.storage.(Lister)
	if !ok {
		return nil, unavailable(doing, fmt.Errorf("%T is no Lister; the stores of gormstore, redisstore and memory are", s.storage))
	}
	call, cancel, err := s.timeout.Call(ctx)
	if err != nil {
		return nil, unavailable(doing, err)
	}
	defer cancel()
	user := UserKeyOf(userID)
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

// Health checks that the storage answers, for a health check. It reads an empty
// slot, and returns nil, or ErrUnavailable after Options.Timeout at most, also if a
// BatchFinder panicked.
//
// It does not check the feed of the cache, because the Service works without it:
// CacheStats has that.
func (s *Service) Health(ctx context.Context) error {
	defer plainPanic()
	var slot Slot
	rand.Read(slot.User[:]) // never fails: it would end the process
	_, err := s.lookups.find(ctx, slot)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return unavailable("checking the storage", err)
	}
	return nil
}
