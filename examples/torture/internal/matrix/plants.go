package matrix

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants are the bugs that the trial must find. Each keeps all optional interfaces
// of the storage.
var Plants = []*plant.Plant{
	{
		Name: "trouble-as-not-found", Trials: []string{"matrix"},
		About: "trouble of the storage is reported as a slot that is empty",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &troubleAsNotFound{s.(*struckStorage)}
		},
	},
	{
		Name: "trouble-as-done", Trials: []string{"matrix"},
		About: "a revocation that failed is reported as done",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &troubleAsDone{s.(*struckStorage)}
		},
	},
	{
		Name: "trouble-that-stays", Trials: []string{"matrix"},
		About: "after its first trouble the storage is in trouble for ever, as a connection is that nobody replaces",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &troubleThatStays{struckStorage: s.(*struckStorage)}
		},
	},
	{
		Name: "disguised-row", Trials: []string{"matrix"},
		About: "a row says that it is of the slot that was asked for, whose ever it is",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &disguisedRow{s.(*struckStorage)}
		},
	},
}

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
