package tokenauthtest

import (
	"context"
	"sync/atomic"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A FailingStorage is a storage that fails on demand. It is safe for concurrent
// use.
//
// It has the four methods of tokenauth.Storage and none of the abilities that
// the storage behind it may have beside them: Options.Cache and
// Options.Throttle.Key are errors with it, and Service.RevokeClient returns
// tokenauth.ErrUnavailable. A test of those takes the storage itself.
type FailingStorage struct {
	storage tokenauth.Storage
	err     atomic.Pointer[error]
}

var _ tokenauth.Storage = (*FailingStorage)(nil)

// NewFailingStorage returns a storage that does what s does until it is told to
// fail.
func NewFailingStorage(s tokenauth.Storage) *FailingStorage { return &FailingStorage{storage: s} }

// Fail has every call from now on do nothing and return the error, which is
// trouble (503) unless it is tokenauth.ErrNotFound or tokenauth.ErrCorrupt. It
// panics if err is nil, for which there is Heal.
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
	return s.storage.Replace(ctx, t)
}

// Find implements tokenauth.Storage.
func (s *FailingStorage) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	if err := s.failure(); err != nil {
		return tokenauth.Token{}, err
	}
	return s.storage.Find(ctx, slot)
}

// Revoke implements tokenauth.Storage.
func (s *FailingStorage) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.storage.Revoke(ctx, slot, d)
}

// RevokeUser implements tokenauth.Storage.
func (s *FailingStorage) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.storage.RevokeUser(ctx, u)
}
