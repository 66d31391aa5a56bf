package tokenauthtest

import (
	"context"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A FailingStorage does what its Storage does until it is told to fail. It is safe
// for concurrent use.
//
// It has the four methods of tokenauth.Storage and no other ability of the
// storage behind it: Options.Cache and Options.Throttle.Key are errors with it,
// and Service.RevokeClient returns tokenauth.ErrUnavailable. A test of those uses
// the storage itself.
type FailingStorage struct {
	// Storage is the storage behind it.
	Storage tokenauth.Storage
	err     atomic.Pointer[error]
}

var _ tokenauth.Storage = (*FailingStorage)(nil)

// Fail makes every call from now on do nothing and return the error, which becomes
// a 503 unless it is tokenauth.ErrNotFound or tokenauth.ErrCorrupt. It panics if
// err is nil: Heal is for that.
func (s *FailingStorage) Fail(err error) {
	if err == nil {
		panic("tokenauthtest: a FailingStorage fails with an error")
	}
	s.err.Store(&err)
}

// Heal ends what Fail began. What was stored before is there.
func (s *FailingStorage) Heal() { s.err.Store(nil) }

func (s *FailingStorage) failure() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Replace implements tokenauth.Storage.
func (s *FailingStorage) Replace(ctx context.Context, t tokenauth.Token) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.Storage.Replace(ctx, t)
}

// Find implements tokenauth.Storage.
func (s *FailingStorage) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	if err := s.failure(); err != nil {
		return tokenauth.Token{}, err
	}
	return s.Storage.Find(ctx, slot)
}

// Revoke implements tokenauth.Storage.
func (s *FailingStorage) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.Storage.Revoke(ctx, slot, d)
}

// RevokeUser implements tokenauth.Storage.
func (s *FailingStorage) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.Storage.RevokeUser(ctx, u)
}
