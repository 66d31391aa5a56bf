package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// The plants that the matrix has to find. They have all abilities of the
// storage that they spoil.

type troubleAsNotFound struct{ *struckStorage }

func (s *troubleAsNotFound) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	t, err := s.struckStorage.Find(ctx, slot)
	if err != nil && !errors.Is(err, tokenauth.ErrCorrupt) {
		err = tokenauth.ErrNotFound
	}
	return t, err
}

type troubleAsDone struct{ *struckStorage }

func (s *troubleAsDone) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	s.struckStorage.Revoke(ctx, slot, d)
	return nil
}

type troubleThatStays struct {
	*struckStorage
	broken atomic.Bool
}

func (s *troubleThatStays) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	if s.broken.Load() {
		return tokenauth.Token{}, errStruck
	}
	t, err := s.struckStorage.Find(ctx, slot)
	s.broken.Store(errors.Is(err, errStruck))
	return t, err
}

type disguisedRow struct{ *struckStorage }

func (s *disguisedRow) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	t, err := s.struckStorage.Find(ctx, slot)
	t.Slot = slot
	return t, err
}
