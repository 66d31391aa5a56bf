package storagetest_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const keyClient = "\x01key"

// A shelf remembers the keys that a storage got.
type shelf struct {
	mu   sync.Mutex
	keys map[tokenauth.Slot]tokenauth.Token
}

// withShelf returns a storage that remembers its keys in a shelf, for the other methods.
func withShelf(other func(*shelf) methods) func() methods {
	return func() methods {
		l := &shelf{keys: make(map[tokenauth.Slot]tokenauth.Token)}
		m := other(l)
		m.replace = func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if t.ClientID == keyClient {
				l.keys[t.Slot] = t
			}
			return s.Replace(ctx, t)
		}
		return m
	}
}

// revoke revokes the keys for which the predicate returns true.
func (l *shelf) revoke(s *memory.Store, ctx context.Context, which func(tokenauth.Token) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for slot, t := range l.keys {
		if ctx.Err() == nil && which(t) {
			s.Revoke(ctx, slot, t.Digest)
		}
	}
}

func TestRunDetectsBrokenKeys(t *testing.T) {
	t.Parallel()
	detects(t, []brokenCase{
		{"revokes keys that are not used", withShelf(func(l *shelf) methods {
			return methods{revokeUnused: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
				l.revoke(s, ctx, func(t tokenauth.Token) bool { return t.IssuedAt.Before(before) })
				return s.RevokeUnused(ctx, before)
			}}
		}), []string{"Keys"}, ""},
		{"keeps unused tokens of clients whose IDs begin as that of keys", recoded(
			func(t *tokenauth.Token) {
				if strings.HasPrefix(t.ClientID, keyClient) && t.Device == "" {
					t.Principal.UserName, t.ClientID = t.ClientID+"\x00"+t.Principal.UserName, keyClient
				}
			},
			func(t *tokenauth.Token) {
				if client, name, ok := strings.Cut(t.Principal.UserName, "\x00"); ok {
					t.ClientID, t.Principal.UserName = client, name
				}
			},
		), []string{"Keys"}, ""},
		{"keeps unused tokens of a client whose ID differs from that of keys in case only", recoded(
			func(t *tokenauth.Token) {
				if t.ClientID == "\x01KEY" && t.Device == "" {
					t.ClientID, t.Principal.UserName = keyClient, "upper "+t.Principal.UserName
				}
			},
			func(t *tokenauth.Token) {
				if name, ok := strings.CutPrefix(t.Principal.UserName, "upper "); ok {
					t.ClientID, t.Principal.UserName = "\x01KEY", name
				}
			},
		), []string{"Keys"}, ""},
		{"revokes the keys of a client's users", withShelf(func(l *shelf) methods {
			return methods{revokeClient: func(s *memory.Store, ctx context.Context, c string) error {
				l.revoke(s, ctx, func(tokenauth.Token) bool { return c == "web" })
				return s.RevokeClient(ctx, c)
			}}
		}), []string{"Keys"}, ""},
		{"revokes a user's keys with the user", withShelf(func(l *shelf) methods {
			return methods{revokeUser: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) error {
				l.revoke(s, ctx, func(t tokenauth.Token) bool { return tokenauth.UserKeyOf(t.Principal.UserID) == u })
				return s.RevokeUser(ctx, u)
			}}
		}), []string{"Keys"}, ""},
		{"purges keys that never expire", withShelf(func(l *shelf) methods {
			return methods{purge: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
				l.revoke(s, ctx, func(t tokenauth.Token) bool { return t.ExpiresAt.Year() == 9999 })
				return s.Purge(ctx, before)
			}}
		}), []string{"Keys"}, ""},
		{"stores an expiry of 2106 at most", stores(func(t *tokenauth.Token) {
			t.ExpiresAt = time.Unix(min(t.ExpiresAt.Unix(), 1<<32-1), 0)
		}), []string{"OddValues", "Keys", "Rename"}, ""},
		{"rounds an expiry that is far away to 32 seconds", stores(func(t *tokenauth.Token) {
			if s := t.ExpiresAt.Unix(); s > 1<<32 {
				t.ExpiresAt = time.Unix(s&^31, 0)
			}
		}), []string{"OddValues", "Keys", "Rename"}, ""},
		{"expires keys when they are used", func() methods {
			var used sync.Map
			expired := func(t *tokenauth.Token) {
				if _, ok := used.Load(t.Digest); ok && t.ClientID == keyClient && t.ExpiresAt.Year() == 9999 {
					t.ExpiresAt = t.IssuedAt.AddDate(292, 0, 0) // the longest time.Duration
				}
			}
			m := recoded(func(*tokenauth.Token) {}, expired)()
			m.recordUses = func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
				for _, u := range uses {
					used.Store(u.Digest, true)
				}
				return s.RecordUses(ctx, uses)
			}
			return m
		}, []string{"Keys", "Rename"}, ""},
	})
}

// renames returns a storage with this Rename.
func renames(rename func(*memory.Store, context.Context, tokenauth.Slot, tokenauth.Digest, string) error) func() methods {
	return func() methods { return methods{rename: rename} }
}

func TestRunDetectsBrokenRenamers(t *testing.T) {
	t.Parallel()
	detects(t, []brokenCase{
		{"renames nothing", renames(func(*memory.Store, context.Context, tokenauth.Slot, tokenauth.Digest, string) error { return nil }),
			[]string{"Rename", "RenameRace"}, ""},
		{"renames a token with any digest", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, _ tokenauth.Digest, name string) error {
			t, _ := s.Find(ctx, slot)
			return s.Rename(ctx, slot, t.Digest, name)
		}), []string{"Rename"}, "RenameRace"},
		{"renames the token that replaced the given one", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if t, _ := s.Find(ctx, slot); t.Replaced == d && !d.IsZero() {
				d = t.Digest
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, "RenameRace"},
		{"returns an error for another token", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if t, err := s.Find(ctx, slot); err == nil && t.Digest != d {
				return tokenauth.ErrNotFound
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, "RenameRace"},
		{"returns an error for an empty slot", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if _, err := s.Find(ctx, slot); err != nil {
				return err
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, "RenameRace"},
		{"keeps the old name instead of an empty one", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if name == "" {
				return nil
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, ""},
		{"names no token that has no name", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if t, _ := s.Find(ctx, slot); t.DeviceName == "" {
				return nil
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, ""},
		{"ignores a name that differs in case only", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if t, _ := s.Find(ctx, slot); strings.EqualFold(t.DeviceName, name) {
				return nil
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, ""},
		{"cuts new names to 64 bytes", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			return s.Rename(ctx, slot, d, name[:min(len(name), 64)])
		}), []string{"Rename"}, ""},
		{"trims new names", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			return s.Rename(ctx, slot, d, strings.TrimSpace(name))
		}), []string{"Rename"}, ""},
		{"renames all tokens of the user", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			tokens, _ := s.List(ctx, slot.User)
			for _, t := range tokens {
				s.Rename(ctx, t.Slot, t.Digest, name)
			}
			return nil
		}), []string{"Rename"}, "RenameRace"},
		{"renames nothing when the context has ended, without an error", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if ctx.Err() != nil {
				return nil
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, ""},
		{"returns from Rename long after the context has ended", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if ctx.Err() != nil {
				time.Sleep(4 * time.Second)
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"Rename"}, ""},
		{"stores a token that it renames as a new one", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			t, err := s.Find(ctx, slot)
			if err != nil || t.Digest != d {
				return nil
			}
			t.DeviceName = name
			return s.Replace(ctx, t)
		}), []string{"Rename", "RenameRace"}, ""},

		{"reads the token, waits, then renames the one in the slot", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			if t, _ := s.Find(ctx, slot); t.Digest != d {
				return nil
			}
			time.Sleep(time.Millisecond)
			t, _ := s.Find(ctx, slot)
			return s.Rename(ctx, slot, t.Digest, name)
		}), []string{"RenameRace"}, ""},
		{"reads the token, waits, then stores it with the name", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			tokens, _ := s.List(ctx, slot.User)
			for _, t := range tokens {
				if t.Digest != d || t.Slot != slot || !t.Replaced.IsZero() {
					continue
				}
				time.Sleep(time.Millisecond)
				now, _ := s.Find(ctx, slot)
				s.Revoke(ctx, slot, now.Digest) // so that the token does not replace itself
				t.DeviceName = name
				s.Replace(ctx, t)
				return s.RecordUses(ctx, []tokenauth.Use{{Slot: slot, Digest: d, At: t.LastSeen}})
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"RenameRace"}, ""},
		{"stores a token again that ends while it is renamed", renames(func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
			t, err := s.Find(ctx, slot)
			if err != nil || t.Digest != d {
				return nil
			}
			time.Sleep(time.Millisecond)
			if _, err := s.Find(ctx, slot); err != nil {
				s.Replace(ctx, t)
			}
			return s.Rename(ctx, slot, d, name)
		}), []string{"RenameRace"}, ""},
	})
}
