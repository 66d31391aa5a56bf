package tokenauthtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wrapper"
)

// A FailingStorage does what its Storage does until it is told to fail. It is safe
// for concurrent use.
//
// It is not a tokenauth.Watcher, nor a throttle.Storage: Options.Cache and
// Options.Throttle.Key are errors with it. A test of those uses the storage itself.
type FailingStorage struct {
	// Storage is the storage behind it.
	Storage tokenauth.Storage
	err     atomic.Pointer[error]
}

var (
	_ tokenauth.Storage       = (*FailingStorage)(nil)
	_ tokenauth.BatchFinder   = (*FailingStorage)(nil)
	_ tokenauth.Lister        = (*FailingStorage)(nil)
	_ tokenauth.Purger        = (*FailingStorage)(nil)
	_ tokenauth.ClientRevoker = (*FailingStorage)(nil)
)

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

// FindBatch implements tokenauth.BatchFinder. It calls Find for each slot if the
// storage behind it is none, or a wrapper of one that has its own Find only.
func (s *FailingStorage) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if finder, ok := s.Storage.(tokenauth.BatchFinder); ok && s.failure() == nil && !wrapper.BypassesFind(finder) {
		return finder.FindBatch(ctx, slots)
	}
	found := make([]tokenauth.Found, len(slots))
	for i, slot := range slots {
		found[i].Token, found[i].Err = s.Find(ctx, slot)
	}
	return found, nil
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

// List implements tokenauth.Lister.
func (s *FailingStorage) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	if l, ok := s.Storage.(tokenauth.Lister); ok {
		return l.List(ctx, u)
	}
	return nil, s.lacks("Lister")
}

// Purge implements tokenauth.Purger.
func (s *FailingStorage) Purge(ctx context.Context, expiredBefore time.Time) (int64, error) {
	if err := s.failure(); err != nil {
		return 0, err
	}
	if p, ok := s.Storage.(tokenauth.Purger); ok {
		return p.Purge(ctx, expiredBefore)
	}
	return 0, nil // it removes them by itself
}

// RevokeClient implements tokenauth.ClientRevoker.
func (s *FailingStorage) RevokeClient(ctx context.Context, c tokenauth.ClientKey) error {
	if err := s.failure(); err != nil {
		return err
	}
	if r, ok := s.Storage.(tokenauth.ClientRevoker); ok {
		return r.RevokeClient(ctx, c)
	}
	return s.lacks("ClientRevoker")
}

func (s *FailingStorage) lacks(ability string) error {
	return fmt.Errorf("tokenauthtest: %T is no %s", s.Storage, ability)
}
