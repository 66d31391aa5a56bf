package storagetest_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// recordsUses returns a storage with this RecordUses.
func recordsUses(record func(*memory.Store, context.Context, []tokenauth.Use) error) func() methods {
	return func() methods { return methods{recordUses: record} }
}

// changesUses returns a storage that changes each use before it records it.
func changesUses(change func(*memory.Store, context.Context, *tokenauth.Use)) func() methods {
	return recordsUses(func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
		for _, u := range uses {
			change(s, ctx, &u)
			if err := s.RecordUses(ctx, []tokenauth.Use{u}); err != nil {
				return err
			}
		}
		return nil
	})
}

// revokesUnused returns a storage with this RevokeUnused.
func revokesUnused(revoke func(*memory.Store, context.Context, time.Time) (int64, error)) func() methods {
	return func() methods { return methods{revokeUnused: revoke} }
}

// A useRecord is the last use of the token in a slot.
type useRecord struct {
	digest        tokenauth.Digest
	at, expiresAt time.Time
}

// A ledger keeps last uses apart from the tokens.
type ledger struct {
	mu   sync.Mutex
	last map[tokenauth.Slot]useRecord
}

// keeps returns a storage that records uses in a ledger, too. For each use of the
// token in a slot, it lets record change the slot's record, and the use before
// [memory.Store] records it. It lets read change each token that it finds or
// lists.
func keeps(record func(r *useRecord, u *tokenauth.Use), read func(r useRecord, listed bool, t *tokenauth.Token)) func() methods {
	return func() methods {
		l := &ledger{last: make(map[tokenauth.Slot]useRecord)}
		reads := func(t *tokenauth.Token, listed bool) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if r, ok := l.last[t.Slot]; ok {
				read(r, listed, t)
			}
		}
		return methods{
			recordUses: func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
				l.mu.Lock()
				defer l.mu.Unlock()
				uses = slices.Clone(uses)
				for i := range uses {
					u := &uses[i]
					if t, err := s.Find(ctx, u.Slot); err == nil && t.Digest == u.Digest {
						r := l.last[u.Slot]
						record(&r, u)
						l.last[u.Slot] = r
					}
				}
				return s.RecordUses(ctx, uses)
			},
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				t, err := s.Find(ctx, slot)
				reads(&t, false)
				return t, err
			},
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				tokens, err := s.List(ctx, u)
				for i := range tokens {
					reads(&tokens[i], true)
				}
				return tokens, err
			},
		}
	}
}

// latest records the later one of two uses of a token.
func latest(r *useRecord, u *tokenauth.Use) {
	if r.digest != u.Digest {
		*r = useRecord{digest: u.Digest}
	}
	if u.At.After(r.at) {
		r.at = u.At
	}
	if u.ExpiresAt.After(r.expiresAt) {
		r.expiresAt = u.ExpiresAt
	}
}

// lists sets the last use of a listed token to the recorded one.
func lists(r useRecord, listed bool, t *tokenauth.Token) {
	if !listed {
		return
	}
	t.LastSeen = time.Time{}
	if r.digest == t.Digest {
		t.LastSeen = r.at
	}
}

func TestRunDetectsBrokenUseRecorders(t *testing.T) {
	t.Parallel()
	detects(t, []brokenCase{
		{"records nothing", recordsUses(func(*memory.Store, context.Context, []tokenauth.Use) error { return nil }), []string{
			"RecordUses", "RecordUsesDigest", "RecordUsesExtends", "RecordUsesMany", "RecordUsesRace", "RecordUsesContextEnded", "RevokeUnused", "RevokeUnusedAll",
			"Keys", "Rename", "RenameRace"}, ""},
		{"records an earlier hour over a later one", keeps(
			func(r *useRecord, u *tokenauth.Use) { *r = useRecord{digest: u.Digest, at: u.At} },
			lists,
		), []string{"RecordUses", "RecordUsesExtends"}, "RecordUsesRace"},
		{"lists the last use of the token before", keeps(latest, func(r useRecord, listed bool, t *tokenauth.Token) {
			if listed {
				t.LastSeen = r.at
			}
		}), []string{"RecordUsesDigest", "Rename"}, "RecordUsesRace"},
		{"records no use that is earlier than one of the token before", keeps(
			func(r *useRecord, u *tokenauth.Use) {
				if u.At.After(r.at) {
					*r = useRecord{digest: u.Digest, at: u.At}
				}
			},
			lists,
		), []string{"RecordUsesDigest", "RecordUsesRace"}, "RevokeUnusedRace"},
		{"returns the last use from Find", keeps(latest, func(r useRecord, _ bool, t *tokenauth.Token) {
			if r.digest == t.Digest {
				t.LastSeen = r.at
			}
		}), []string{"RecordUses", "RecordUsesDigest", "RecordUsesExtends", "RecordUsesMany", "RecordUsesRace", "RecordUsesContextEnded", "RevokeUnused", "RevokeUnusedAll", "Keys", "Rename", "RenameRace"}, "RevokeUnusedRace"},
		{"records a use of any token", changesUses(func(s *memory.Store, ctx context.Context, u *tokenauth.Use) {
			if t, err := s.Find(ctx, u.Slot); err == nil {
				u.Digest = t.Digest
			}
		}), []string{"RecordUsesDigest", "RecordUsesMany"}, "RecordUsesRace"},
		{"stores a token in an empty slot", changesUses(func(s *memory.Store, ctx context.Context, u *tokenauth.Use) {
			if _, err := s.Find(ctx, u.Slot); err != nil {
				s.Replace(ctx, tokenauth.Token{Slot: u.Slot, Digest: u.Digest, ExpiresAt: u.ExpiresAt})
			}
		}), []string{"RecordUsesDigest", "RecordUsesMany", "RecordUsesRace"}, "RevokeUnusedRace"},

		{"sets the expiry to an earlier time", keeps(
			func(r *useRecord, u *tokenauth.Use) {
				if !u.ExpiresAt.IsZero() {
					*r = useRecord{digest: u.Digest, expiresAt: u.ExpiresAt}
				}
			},
			func(r useRecord, _ bool, t *tokenauth.Token) {
				if r.digest == t.Digest {
					t.ExpiresAt = r.expiresAt
				}
			},
		), []string{"RecordUsesExtends"}, "RecordUsesRace"},
		{"extends no token if a use in this hour was recorded", changesUses(func(s *memory.Store, ctx context.Context, u *tokenauth.Use) {
			tokens, _ := s.List(ctx, u.Slot.User)
			for _, t := range tokens {
				if t.Slot == u.Slot && !u.At.After(t.LastSeen) {
					u.ExpiresAt = time.Time{}
				}
			}
		}), []string{"RecordUsesExtends"}, "RecordUsesRace"},
		{"extends tokens in Find only", keeps(latest, func(r useRecord, listed bool, t *tokenauth.Token) {
			if listed && !r.expiresAt.IsZero() && r.digest == t.Digest {
				t.ExpiresAt = t.ExpiresAt.Add(-time.Second)
			}
		}), []string{"RecordUsesExtends", "RecordUsesMany", "RecordUsesRace", "RecordUsesContextEnded"}, ""},
		{"purges an extended token", keeps(
			func(r *useRecord, u *tokenauth.Use) {
				latest(r, u)
				u.ExpiresAt = time.Time{} // so that Purge does not see it
			},
			func(r useRecord, _ bool, t *tokenauth.Token) {
				if r.digest == t.Digest && r.expiresAt.After(t.ExpiresAt) {
					t.ExpiresAt = r.expiresAt
				}
			},
		), []string{"RecordUsesExtends"}, ""},
		{"records 64 uses of a call at most", recordsUses(func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
			return s.RecordUses(ctx, uses[:min(64, len(uses))])
		}), []string{"RecordUsesMany"}, ""},
		{"fails for more than 999 uses", recordsUses(func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
			if len(uses) > 999 {
				return errors.New("too many variables")
			}
			return s.RecordUses(ctx, uses)
		}), []string{"RecordUsesMany"}, ""},
		{"reads the token, waits, then extends it", changesUses(func(s *memory.Store, ctx context.Context, u *tokenauth.Use) {
			tokens, _ := s.List(ctx, u.Slot.User)
			for _, t := range tokens {
				if ctx.Err() == nil && t.Digest == u.Digest && u.ExpiresAt.After(t.ExpiresAt) {
					time.Sleep(100 * time.Microsecond)
					t.ExpiresAt = u.ExpiresAt
					s.Revoke(ctx, t.Slot, t.Digest) // so that the token does not replace itself
					s.Replace(ctx, t)
					s.RecordUses(ctx, []tokenauth.Use{{Slot: t.Slot, Digest: t.Digest, At: t.LastSeen}})
				}
			}
		}), []string{"RecordUsesRace"}, "RenameRace"},
		{"extends tokens when the context has ended, but records no use", changesUses(func(_ *memory.Store, ctx context.Context, u *tokenauth.Use) {
			if ctx.Err() != nil {
				u.At = time.Time{}
			}
		}), []string{"RecordUsesContextEnded"}, ""},
		{"returns nil from RecordUses when the context has ended", recordsUses(func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
			if ctx.Err() != nil {
				return nil
			}
			return s.RecordUses(ctx, uses)
		}), []string{"RecordUsesContextEnded"}, ""},
		{"returns from RecordUses long after the context has ended", recordsUses(func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
			if ctx.Err() != nil {
				time.Sleep(4 * time.Second)
			}
			return s.RecordUses(ctx, uses)
		}), []string{"RecordUsesContextEnded"}, ""},

		{"revokes no unused token", revokesUnused(func(_ *memory.Store, ctx context.Context, _ time.Time) (int64, error) { return 0, ctx.Err() }),
			[]string{"RevokeUnused", "RevokeUnusedAll", "Keys"}, ""},
		{"revokes tokens issued or used at the given time", revokesUnused(func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
			return s.RevokeUnused(ctx, before.Add(time.Millisecond))
		}), []string{"RevokeUnused", "RevokeUnusedAll"}, "RevokeUnusedRace"},
		{"rounds the time for RevokeUnused down to a second", revokesUnused(func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
			return s.RevokeUnused(ctx, before.Truncate(time.Second))
		}), []string{"RevokeUnused"}, ""},
		{"revokes tokens that were used", keeps(func(r *useRecord, u *tokenauth.Use) {
			latest(r, u)
			u.At = time.Time{} // so that RevokeUnused does not see it
		}, lists), []string{"RevokeUnused", "RevokeUnusedAll"}, "RevokeUnusedRace"},
		{"returns a wrong number of unused tokens", revokesUnused(func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
			n, err := s.RevokeUnused(ctx, before)
			return n / 2, err
		}), []string{"RevokeUnused", "RevokeUnusedAll"}, "RevokeUnusedRace"},
		{"keeps a token because the one before was used", func() methods {
			l := &ledger{last: make(map[tokenauth.Slot]useRecord)}
			return methods{
				recordUses: func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
					l.mu.Lock()
					defer l.mu.Unlock()
					for _, u := range uses {
						if t, err := s.Find(ctx, u.Slot); err == nil && t.Digest == u.Digest && u.At.After(l.last[u.Slot].at) {
							l.last[u.Slot] = useRecord{at: u.At}
						}
					}
					return s.RecordUses(ctx, uses)
				},
				revokeUnused: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
					l.mu.Lock()
					defer l.mu.Unlock()
					for slot, r := range l.last {
						if t, err := s.Find(ctx, slot); err == nil && !r.at.Before(before) {
							s.RecordUses(ctx, []tokenauth.Use{{Slot: slot, Digest: t.Digest, At: r.at}})
						}
					}
					return s.RevokeUnused(ctx, before)
				},
			}
		}, []string{"RevokeUnused"}, ""},
		{"revokes the slots of no user", func() methods {
			nobody := tokenauth.UserKey(bytes.Repeat([]byte{0xFF}, len(tokenauth.UserKey{})))
			return methods{revokeUnused: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
				if ctx.Err() == nil {
					s.RevokeUser(ctx, nobody)
				}
				return s.RevokeUnused(ctx, before)
			}}
		}, []string{"RevokeUnusedAll"}, ""},
		{"revokes 1,000 unused tokens of a user at most", revokesUnused(func(s *memory.Store, ctx context.Context, before time.Time) (n int64, err error) {
			err = some(s, ctx, 1000, none, func() error {
				n, err = s.RevokeUnused(ctx, before)
				return err
			})
			return n, err
		}), []string{"RevokeUnusedAll"}, ""},
		{"returns nil from RevokeUnused when the context has ended", revokesUnused(func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
			n, _ := s.RevokeUnused(ctx, before)
			return n, nil
		}), []string{"RevokeUnusedAll"}, ""},
		{"reads the unused tokens, waits, then revokes their slots", revokesUnused(func(s *memory.Store, ctx context.Context, before time.Time) (ended int64, err error) {
			var unused []tokenauth.Slot
			for _, user := range []string{"user0", "user1", "user2", "user3"} {
				tokens, _ := s.List(ctx, tokenauth.UserKeyOf(user))
				for _, t := range tokens {
					if ctx.Err() == nil && t.IssuedAt.Before(before) && t.LastSeen.Before(before) {
						unused = append(unused, t.Slot)
					}
				}
			}
			time.Sleep(time.Millisecond)
			for _, slot := range unused {
				t, _ := s.Find(ctx, slot)
				s.Revoke(ctx, slot, t.Digest)
				ended++
			}
			n, err := s.RevokeUnused(ctx, before)
			return ended + n, err
		}), []string{"RevokeUnusedRace"}, ""},
	})
}

// A FindBatch with a cache that is not invalidated when a use extends a token.
func TestRunDetectsBatchThatMissesExtension(t *testing.T) {
	t.Parallel()
	found := storagetest.Check(t.Context(), func() tokenauth.Storage {
		s := new(memory.Store)
		return struct {
			*batchStore
			tokenauth.UseRecorder
		}{&batchStore{s, keepsTokens()}, s}
	})
	// RevokeUser does not invalidate that cache either.
	if got, want := slices.Sorted(maps.Keys(found)), []string{"FindBatchFresh", "RecordUsesExtends"}; !slices.Equal(got, want) {
		t.Errorf("got failures of the rules %v, want %v: %v", got, want, found)
	}
}
