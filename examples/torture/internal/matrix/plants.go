package matrix

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/examples/torture/internal/plant"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Plants lists the bugs that the trial "matrix" must find. Each plant keeps all
// optional interfaces of the storage.
var Plants = []*plant.Plant{
	{
		Name: "trouble-as-not-found", Trials: []string{"matrix"},
		About: "an error of the storage is reported as an empty slot",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &troubleAsNotFound{s.(*struckStorage)}
		},
	},
	{
		Name: "trouble-as-empty-list", Trials: []string{"matrix"},
		About: "an error of a list is reported as an empty list: a sign-in exceeds the bound on devices",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &troubleAsEmptyList{s.(*struckStorage)}
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
		About: "after its first error the storage always fails, like a broken connection that is never replaced",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &troubleThatStays{struckStorage: s.(*struckStorage)}
		},
	},
	{
		Name: "trouble-as-refreshed", Trials: []string{"matrix"},
		About: "a refresh that failed is reported as done",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &troubleAsRefreshed{s.(*struckStorage)}
		},
	},
	{
		Name: "forgotten-salt", Trials: []string{"matrix"},
		About: "a refresh is stored without what it takes to repeat it: a lost answer signs the user out",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &forgottenSalt{s.(*struckStorage)}
		},
	},
	{
		Name: "disguised-row", Trials: []string{"matrix"},
		About: "each row that a look-up returns names the requested slot, even if it is another user's row",
		Storage: func(s tokenauth.Storage, _ *plant.State, _ uint64) tokenauth.Storage {
			return &disguisedRow{s.(*struckStorage)}
		},
	},
}

type troubleAsEmptyList struct{ *struckStorage }

func (s *troubleAsEmptyList) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	tokens, err := s.struckStorage.List(ctx, u)
	if errors.Is(err, tokenauth.ErrCorrupt) {
		return tokens, err
	}
	return tokens, nil
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

type troubleAsRefreshed struct{ *struckStorage }

func (s *troubleAsRefreshed) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	stored, err := s.struckStorage.Refresh(ctx, was, t)
	return stored || err != nil, nil
}

type forgottenSalt struct{ *struckStorage }

func (s *forgottenSalt) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	t.Refresh = plant.WithoutSalts(t.Refresh)
	return s.struckStorage.Refresh(ctx, was, t)
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
