package storagetest_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A broken storage is a good one with one method, or two, that break a rule.
type broken struct {
	memory.Store
	methods
}

type methods struct {
	replace    func(*memory.Store, context.Context, tokenauth.Token) error
	find       func(*memory.Store, context.Context, tokenauth.Slot) (tokenauth.Token, error)
	revoke     func(*memory.Store, context.Context, tokenauth.Slot, tokenauth.Digest) error
	revokeUser func(*memory.Store, context.Context, tokenauth.UserKey) error
	purge      func(*memory.Store, context.Context, time.Time) (int64, error)
}

func (b *broken) Replace(ctx context.Context, t tokenauth.Token) error {
	if b.replace != nil {
		return b.replace(&b.Store, ctx, t)
	}
	return b.Store.Replace(ctx, t)
}

func (b *broken) Find(ctx context.Context, s tokenauth.Slot) (tokenauth.Token, error) {
	if b.find != nil {
		return b.find(&b.Store, ctx, s)
	}
	return b.Store.Find(ctx, s)
}

func (b *broken) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	if b.revoke != nil {
		return b.revoke(&b.Store, ctx, s, d)
	}
	return b.Store.Revoke(ctx, s, d)
}

func (b *broken) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if b.revokeUser != nil {
		return b.revokeUser(&b.Store, ctx, u)
	}
	return b.Store.RevokeUser(ctx, u)
}

func (b *broken) Purge(ctx context.Context, before time.Time) (int64, error) {
	if b.purge != nil {
		return b.purge(&b.Store, ctx, before)
	}
	return b.Store.Purge(ctx, before)
}

func TestBrokenStoragesAreCaught(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		broken methods
		rules  []string // those that must notice; others may
	}{
		{"none", methods{}, nil},
		{"says nothing for an empty slot", methods{
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				t, _ := s.Find(ctx, slot)
				return t, nil
			},
		}, []string{"EmptySlot", "Revoke", "RevokeUser"}},
		{"hides expired tokens", methods{
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				t, err := s.Find(ctx, slot)
				if err == nil && t.ExpiresAt.Before(time.Now()) {
					return tokenauth.Token{}, tokenauth.ErrNotFound
				}
				return t, err
			},
		}, []string{"Expired"}},
		{"forgets what was replaced", methods{
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				t, err := s.Find(ctx, slot)
				t.Replaced = tokenauth.Digest{}
				return t, err
			},
		}, []string{"Replaced", "ReplaceRace"}},
		{"forgets the stamp", methods{
			replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				t.Principal.Stamp = ""
				return s.Replace(ctx, t)
			},
		}, []string{"RoundTrip", "OddValues"}},
		{"has one slot for a user", methods{
			replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				s.RevokeUser(ctx, t.Slot.User)
				return s.Replace(ctx, t)
			},
		}, []string{"SlotsApart", "Replaced"}},
		{"revokes whatever the slot holds", methods{
			revoke: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, _ tokenauth.Digest) error {
				t, err := s.Find(ctx, slot)
				if err != nil {
					return nil
				}
				return s.Revoke(ctx, slot, t.Digest)
			},
		}, []string{"Revoke"}},
		{"complains about revoking twice", methods{
			revoke: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
				if _, err := s.Find(ctx, slot); err != nil {
					return err
				}
				return s.Revoke(ctx, slot, d)
			},
		}, []string{"Revoke"}},
		{"reads, waits, then revokes", methods{
			revoke: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
				t, err := s.Find(ctx, slot)
				if err != nil || t.Digest != d {
					return nil
				}
				time.Sleep(time.Millisecond)
				if t, err = s.Find(ctx, slot); err != nil {
					return nil
				}
				return s.Revoke(ctx, slot, t.Digest)
			},
		}, []string{"RevokeRace"}},
		{"revokes a user at one client only", methods{
			revokeUser: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) error {
				slot := tokenauth.SlotOf("alice", "")
				t, _ := s.Find(ctx, slot)
				return s.Revoke(ctx, slot, t.Digest)
			},
		}, []string{"RevokeUser", "RevokeUserRace"}},
		{"says not found when the context has ended", methods{
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				if ctx.Err() != nil {
					return tokenauth.Token{}, tokenauth.ErrNotFound
				}
				return s.Find(ctx, slot)
			},
		}, []string{"ContextEnded"}},
		{"purges what expires at the time", methods{
			purge: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
				return s.Purge(ctx, before.Add(time.Second))
			},
		}, []string{"Purge"}},
		{"purges one batch", methods{
			purge: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) { return 0, ctx.Err() },
		}, []string{"Purge"}},
		{"purges on after the end", methods{
			purge: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
				return s.Purge(context.WithoutCancel(ctx), before)
			},
		}, []string{"PurgeStops"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := storagetest.Check(t.Context(), func() tokenauth.Storage {
				return &broken{methods: test.broken}
			})
			for _, rule := range test.rules {
				if found[rule] == nil {
					t.Errorf("rule %s did not notice", rule)
				}
			}
			if test.rules == nil && len(found) > 0 {
				t.Errorf("rules %v failed for a good storage: %v", slices.Collect(maps.Keys(found)), found)
			}
		})
	}
}

// A storage that deletes and then inserts loses sign-ins that race.
func TestDeleteThenInsertIsCaught(t *testing.T) {
	t.Parallel()
	var busy atomic.Bool
	found := storagetest.Check(t.Context(), func() tokenauth.Storage {
		return &broken{methods: methods{replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
			if !busy.CompareAndSwap(false, true) {
				return errors.New("duplicate key")
			}
			defer busy.Store(false)
			time.Sleep(100 * time.Microsecond)
			return s.Replace(ctx, t)
		}}}
	})
	if found["ReplaceRace"] == nil {
		t.Error("rule ReplaceRace did not notice")
	}
}
