package tokenauthtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wrapper"
)

// A FailingStorage passes each call on to another storage, until the test calls
// [FailingStorage.Fail]. With it, a test can check how a host answers while its
// storage is down. It is safe for concurrent use.
//
// It implements neither [tokenauth.Watcher] nor
// [github.com/bearerkit/bearerkit/tokenauth/throttle.Storage]. So with a
// FailingStorage, [tokenauth.New] returns an error if [tokenauth.Options.Cache]
// or [tokenauth.ThrottleOptions.Key] is set. A test that sets one of these
// options must pass the other storage itself to New.
type FailingStorage struct {
	// Storage is the other storage. It must not be nil.
	Storage tokenauth.Storage
	err     atomic.Pointer[error]
}

var (
	_ tokenauth.Storage     = (*FailingStorage)(nil)
	_ tokenauth.BatchFinder = (*FailingStorage)(nil)
	_ tokenauth.Lister      = (*FailingStorage)(nil)
	_ tokenauth.Purger      = (*FailingStorage)(nil)
	_ tokenauth.BulkRevoker = (*FailingStorage)(nil)
	_ tokenauth.UseRecorder = (*FailingStorage)(nil)
	_ tokenauth.Refresher   = (*FailingStorage)(nil)
	_ tokenauth.Renamer     = (*FailingStorage)(nil)
)

// Fail makes every later call return err without calling the other storage.
// Clients then get 503, unless err is [tokenauth.ErrNotFound] or
// [tokenauth.ErrCorrupt]. [FailingStorage.Heal] ends the failure. Fail panics
// if err is nil.
func (s *FailingStorage) Fail(err error) {
	if err == nil {
		panic("tokenauthtest: FailingStorage.Fail got a nil error; to end a failure, call Heal")
	}
	s.err.Store(&err)
}

// Heal ends the failure that [FailingStorage.Fail] began. The storage still has
// the tokens that it stored before.
func (s *FailingStorage) Heal() { s.err.Store(nil) }

func (s *FailingStorage) failure() error {
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

// Replace implements [tokenauth.Storage].
func (s *FailingStorage) Replace(ctx context.Context, t tokenauth.Token) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.Storage.Replace(ctx, t)
}

// Find implements [tokenauth.Storage].
func (s *FailingStorage) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	if err := s.failure(); err != nil {
		return tokenauth.Token{}, err
	}
	return s.Storage.Find(ctx, slot)
}

// FindBatch implements [tokenauth.BatchFinder]. After [FailingStorage.Fail], it
// returns the error for each slot. FindBatch calls Find for each slot if the
// storage has no FindBatch. It also does so if the storage is a wrapper that
// declares Find but inherits FindBatch, because the inherited method would
// bypass the wrapper's Find.
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

// Revoke implements [tokenauth.Storage].
func (s *FailingStorage) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.Storage.Revoke(ctx, slot, d)
}

// RevokeUser implements [tokenauth.Storage].
func (s *FailingStorage) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if err := s.failure(); err != nil {
		return err
	}
	return s.Storage.RevokeUser(ctx, u)
}

// List implements [tokenauth.Lister]. It returns an error if the storage is not a
// Lister.
func (s *FailingStorage) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	if l, ok := s.Storage.(tokenauth.Lister); ok {
		return l.List(ctx, u)
	}
	return nil, s.lacks("Lister")
}

// Purge implements [tokenauth.Purger]. It does nothing if the storage is not a
// Purger.
func (s *FailingStorage) Purge(ctx context.Context, expiredBefore time.Time) (int64, error) {
	if err := s.failure(); err != nil {
		return 0, err
	}
	if p, ok := s.Storage.(tokenauth.Purger); ok {
		return p.Purge(ctx, expiredBefore)
	}
	return 0, nil // a storage that is not a Purger removes expired tokens itself
}

// RevokeClient implements [tokenauth.BulkRevoker]. It returns an error if the
// storage is not a BulkRevoker.
func (s *FailingStorage) RevokeClient(ctx context.Context, clientID string) error {
	if err := s.failure(); err != nil {
		return err
	}
	if r, ok := s.Storage.(tokenauth.BulkRevoker); ok {
		return r.RevokeClient(ctx, clientID)
	}
	return s.lacks("BulkRevoker")
}

// RevokeAll implements [tokenauth.BulkRevoker]. It returns an error if the
// storage is not a BulkRevoker.
func (s *FailingStorage) RevokeAll(ctx context.Context) error {
	if err := s.failure(); err != nil {
		return err
	}
	if r, ok := s.Storage.(tokenauth.BulkRevoker); ok {
		return r.RevokeAll(ctx)
	}
	return s.lacks("BulkRevoker")
}

// RecordUses implements [tokenauth.UseRecorder]. It does nothing if the storage
// is not a UseRecorder.
func (s *FailingStorage) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	if err := s.failure(); err != nil {
		return err
	}
	if r, ok := s.Storage.(tokenauth.UseRecorder); ok {
		return r.RecordUses(ctx, uses)
	}
	return nil
}

// RevokeUnused implements [tokenauth.UseRecorder]. It returns an error if the
// storage is not a UseRecorder.
func (s *FailingStorage) RevokeUnused(ctx context.Context, before time.Time) (int64, error) {
	if err := s.failure(); err != nil {
		return 0, err
	}
	if r, ok := s.Storage.(tokenauth.UseRecorder); ok {
		return r.RevokeUnused(ctx, before)
	}
	return 0, s.lacks("UseRecorder")
}

// FindRefresh implements [tokenauth.Refresher]. After [FailingStorage.Fail], it returns
// the error. It also returns an error if the storage is not a Refresher.
func (s *FailingStorage) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if err := s.failure(); err != nil {
		return nil, err
	}
	if r, ok := s.Storage.(tokenauth.Refresher); ok {
		return r.FindRefresh(ctx, slots)
	}
	return nil, s.lacks("Refresher")
}

// Refresh implements [tokenauth.Refresher]. It returns an error if the storage is not a
// Refresher.
func (s *FailingStorage) Refresh(ctx context.Context, was, t tokenauth.Token) (stored bool, err error) {
	if err := s.failure(); err != nil {
		return false, err
	}
	if r, ok := s.Storage.(tokenauth.Refresher); ok {
		return r.Refresh(ctx, was, t)
	}
	return false, s.lacks("Refresher")
}

// Rename implements [tokenauth.Renamer]. It returns an error if the storage is not a
// Renamer.
func (s *FailingStorage) Rename(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
	if err := s.failure(); err != nil {
		return err
	}
	if r, ok := s.Storage.(tokenauth.Renamer); ok {
		return r.Rename(ctx, slot, d, name)
	}
	return s.lacks("Renamer")
}

func (s *FailingStorage) lacks(ability string) error {
	return fmt.Errorf("tokenauthtest: FailingStorage.Storage is a %T, which does not implement tokenauth.%s", s.Storage, ability)
}
