package matrix

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A struckStorage is a [memory.Store] with nearly all optional interfaces. Its
// striker can make calls fail. It knows what each slot held before its last change.
type struckStorage struct {
	*striker
	store memory.Store

	mu     sync.Mutex
	slots  []tokenauth.Slot                   // all slots that ever held a token
	before map[tokenauth.Slot]tokenauth.Token // a zero token for an empty slot

	counters map[throttle.Key]throttle.Counter
}

func newStruckStorage(s *striker) *struckStorage {
	return &struckStorage{striker: s, before: make(map[tokenauth.Slot]tokenauth.Token), counters: make(map[throttle.Key]throttle.Counter)}
}

// holds returns the tokens of all slots, in their order. The caller holds the lock.
func (s *struckStorage) holds(ctx context.Context) []tokenauth.Token {
	tokens := make([]tokenauth.Token, len(s.slots))
	for i, slot := range s.slots {
		tokens[i], _ = s.store.Find(ctx, slot) // the memory storage never fails
	}
	return tokens
}

// change makes a call that changes slots, and remembers what they held before.
func (s *struckStorage) change(ctx context.Context, name string, do func() error) error {
	return s.call(ctx, name, func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		was := s.holds(ctx)
		err := do()
		now := s.holds(ctx)
		for i := range was { // not for new slots
			if now[i].Digest != was[i].Digest {
				s.before[s.slots[i]] = was[i]
			}
		}
		return err
	})
}

// Replace implements [tokenauth.Storage].
func (s *struckStorage) Replace(ctx context.Context, t tokenauth.Token) error {
	return s.change(ctx, "Replace", func() error {
		if !slices.Contains(s.slots, t.Slot) {
			s.slots = append(s.slots, t.Slot)
			s.before[t.Slot] = tokenauth.Token{}
		}
		return s.store.Replace(ctx, t)
	})
}

// Find implements [tokenauth.Storage].
func (s *struckStorage) Find(ctx context.Context, slot tokenauth.Slot) (t tokenauth.Token, err error) {
	how := s.enter("Find")
	defer s.leave()
	switch how {
	case otherRow:
		return s.another(ctx, slot.User), nil
	case staleRow:
		return s.stale(ctx, slot)
	case corruptRow:
		return t, fmt.Errorf("%w: torture", tokenauth.ErrCorrupt)
	}
	trouble := s.befall(ctx, how, "Find", func() error {
		t, err = s.store.Find(ctx, slot)
		return nil
	})
	if trouble != nil {
		return tokenauth.Token{}, trouble
	}
	t.Refresh = nil // only FindRefresh needs it
	return t, err
}

// FindRefresh implements [tokenauth.Refresher].
func (s *struckStorage) FindRefresh(ctx context.Context, slots []tokenauth.Slot) (found []tokenauth.Found, err error) {
	defer s.sharing()()
	how := s.enter("FindRefresh")
	defer s.leave()
	err = s.befall(ctx, how, "FindRefresh", func() (err error) {
		found, err = s.store.FindRefresh(ctx, slots)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, slot := range slots {
		switch how {
		case otherRow:
			found[i] = tokenauth.Found{Token: s.another(ctx, slot.User)}
		case staleRow:
			found[i].Token, found[i].Err = s.stale(ctx, slot)
		case corruptRow:
			found[i] = tokenauth.Found{Err: fmt.Errorf("%w: torture", tokenauth.ErrCorrupt)}
		}
	}
	return found, nil
}

// Refresh implements [tokenauth.Refresher].
func (s *struckStorage) Refresh(ctx context.Context, was, t tokenauth.Token) (stored bool, err error) {
	err = s.change(ctx, "Refresh", func() error {
		if stored, _ = s.store.Refresh(ctx, was, t); !stored { // the memory storage never fails
			return errNotStored
		}
		return nil
	})
	if err == errNotStored {
		return false, nil
	}
	return stored && err == nil, err
}

// errNotStored keeps a striker from counting a call as one that did its work.
var errNotStored = errors.New("torture: the slot has changed")

// another returns a token of another user.
func (s *struckStorage) another(ctx context.Context, than tokenauth.UserKey) tokenauth.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.holds(ctx) {
		if t.Slot.User != than && !t.Digest.IsZero() {
			return t
		}
	}
	panic("torture: matrix: no other user has a token")
}

// stale returns what the slot held before its last change.
func (s *struckStorage) stale(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, changed := s.before[slot]
	if !changed {
		return s.store.Find(ctx, slot)
	}
	if t.Digest.IsZero() {
		return t, tokenauth.ErrNotFound
	}
	return t, nil
}

// Revoke implements [tokenauth.Storage].
func (s *struckStorage) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	return s.change(ctx, "Revoke", func() error { return s.store.Revoke(ctx, slot, d) })
}

// RevokeUser implements [tokenauth.Storage].
func (s *struckStorage) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	return s.change(ctx, "RevokeUser", func() error { return s.store.RevokeUser(ctx, u) })
}

// RevokeClient implements [tokenauth.BulkRevoker].
func (s *struckStorage) RevokeClient(ctx context.Context, clientID string) error {
	return s.change(ctx, "RevokeClient", func() error { return s.store.RevokeClient(ctx, clientID) })
}

// RevokeAll implements [tokenauth.BulkRevoker].
func (s *struckStorage) RevokeAll(ctx context.Context) error {
	return s.change(ctx, "RevokeAll", func() error { return s.store.RevokeAll(ctx) })
}

// RecordUses implements [tokenauth.UseRecorder].
func (s *struckStorage) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	return s.call(ctx, "RecordUses", func() error { return s.store.RecordUses(ctx, uses) })
}

// RevokeUnused implements [tokenauth.UseRecorder].
func (s *struckStorage) RevokeUnused(ctx context.Context, before time.Time) (ended int64, err error) {
	err = s.change(ctx, "RevokeUnused", func() (err error) {
		ended, err = s.store.RevokeUnused(ctx, before)
		return err
	})
	return ended, err
}

// Purge implements [tokenauth.Purger].
func (s *struckStorage) Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error) {
	err = s.change(ctx, "Purge", func() (err error) {
		removed, err = s.store.Purge(ctx, expiredBefore)
		return err
	})
	return removed, err
}

// List implements [tokenauth.Lister].
func (s *struckStorage) List(ctx context.Context, u tokenauth.UserKey) (tokens []tokenauth.Token, err error) {
	how := s.enter("List")
	defer s.leave()
	err = s.befall(ctx, how, "List", func() (err error) {
		tokens, err = s.store.List(ctx, u)
		return err
	})
	switch {
	case how == otherRow:
		tokens = append(tokens, s.another(ctx, u))
	case how == corruptRow:
		return tokens[1:], fmt.Errorf("%w: torture", tokenauth.ErrCorrupt)
	case err != nil:
		return nil, err
	}
	return tokens, nil
}

// Watch implements [tokenauth.Watcher].
func (s *struckStorage) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	return s.store.Watch(ctx, beat, feed)
}

// UpdateCounters implements [throttle.Storage].
func (s *struckStorage) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	return s.call(ctx, "UpdateCounters", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		counters := make([]throttle.Counter, len(keys))
		for i, key := range keys {
			counters[i] = s.counters[key]
		}
		change(counters)
		for i, key := range keys {
			s.counters[key] = counters[i]
		}
		return nil
	})
}

// crowd sets all counters as if n sign-ins were in progress at other processes. Since
// is their begin in Unix milliseconds.
func (s *struckStorage) crowd(n, since int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.counters {
		c.Pending, c.PendingAt = n, since
		s.counters[key] = c
	}
}
