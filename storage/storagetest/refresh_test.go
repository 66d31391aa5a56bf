package storagetest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A refresher is a storage without a feed that is a Refresher.
type refresher struct {
	storage
	tokenauth.Refresher
}

// refreshes returns a storage with this Refresh.
func refreshes(refresh func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error)) func() methods {
	return func() methods { return methods{refresh: refresh} }
}

// changesRefresh returns a storage that changes the arguments of Refresh.
func changesRefresh(change func(s *memory.Store, ctx context.Context, was, t *tokenauth.Token)) func() methods {
	return refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
		change(s, ctx, &was, &t)
		return s.Refresh(ctx, was, t)
	})
}

// findsRefresh returns a storage that passes the correct results of FindRefresh to
// spoil, and returns the results of that.
func findsRefresh(spoil func(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error)) func() methods {
	return func() methods {
		return methods{findRefresh: func(s *memory.Store, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
			found, _ := s.FindRefresh(ctx, slots)
			return spoil(ctx, slots, found)
		}}
	}
}

// recodedRefresh returns a storage that changes each Refresh before it stores it.
func recodedRefresh(change func(*tokenauth.Refresh)) func() methods {
	changed := func(t tokenauth.Token) tokenauth.Token {
		if t.Refresh != nil {
			refresh := *t.Refresh
			change(&refresh)
			t.Refresh = &refresh
		}
		return t
	}
	return func() methods {
		return methods{
			replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error { return s.Replace(ctx, changed(t)) },
			refresh: func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
				return s.Refresh(ctx, changed(was), changed(t))
			},
		}
	}
}

// now returns the token in the slot of t, or the zero Token.
func now(s *memory.Store, t tokenauth.Token) tokenauth.Token {
	found, _ := s.Find(context.Background(), t.Slot)
	return found
}

// same reports whether two tokens are the same to Refresh.
func same(a, b tokenauth.Token) bool {
	return a.Digest == b.Digest && a.Principal.Stamp == b.Principal.Stamp && a.Refresh != nil && bytes.Equal(a.Refresh.State, b.Refresh.State)
}

func TestRunDetectsBrokenRefreshers(t *testing.T) {
	t.Parallel()
	const (
		roundTrip, basic, compares, replaced = "RefreshRoundTrip", "Refresh", "RefreshCompares", "RefreshReplaced"
		revoked, purge, uses, race           = "RefreshRevoked", "RefreshPurge", "RefreshUses", "RefreshRace"
		replaceRace, revokeRace, userRace    = "RefreshReplaceRace", "RefreshRevokeRace", "RefreshRevokeUserRace"
		purgeRace, ended                     = "RefreshPurgeRace", "RefreshContextEnded"
		find, kept, findEnded, findRace      = "FindRefresh", "FindRefreshKept", "FindRefreshContextEnded", "FindRefreshRace"
	)
	for _, test := range []struct {
		name   string
		broken func() methods
		rules  []string // the rules that must fail; other rules of Refresher may fail, too
	}{
		{"none", func() methods { return methods{} }, nil},

		{"ignores the digest", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			was.Digest = now(s, *was).Digest
		}), []string{compares}},
		{"compares the first 31 bytes of the digest", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			was.Digest[31] = now(s, *was).Digest[31]
		}), []string{compares}},
		{"ignores the state", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			was.Refresh = now(s, *was).Refresh
		}), []string{compares, race, basic}},
		{"compares the first 5 bytes of the state", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			if r := now(s, *was).Refresh; r != nil && was.Refresh != nil && bytes.HasPrefix(was.Refresh.State, r.State[:min(5, len(r.State))]) {
				was.Refresh = r
			}
		}), []string{compares}},
		{"ignores the case of the state", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			if r := now(s, *was).Refresh; r != nil && was.Refresh != nil && bytes.EqualFold(r.State, was.Refresh.State) {
				was.Refresh = r
			}
		}), []string{compares}},
		{"ignores spaces after the state", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			if r := now(s, *was).Refresh; r != nil && was.Refresh != nil && bytes.Equal(r.State, bytes.TrimRight(was.Refresh.State, " ")) {
				was.Refresh = r
			}
		}), []string{compares}},
		{"ignores the stamp", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			was.Principal.Stamp = now(s, *was).Principal.Stamp
		}), []string{compares}},
		{"ignores a space after the stamp", changesRefresh(func(s *memory.Store, _ context.Context, was, _ *tokenauth.Token) {
			was.Principal.Stamp = strings.TrimRight(was.Principal.Stamp, " ")
		}), []string{compares}},
		{"stores into an empty slot", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			if _, err := s.Find(ctx, was.Slot); err != nil {
				return true, s.Replace(ctx, t)
			}
			return s.Refresh(ctx, was, t)
		}), []string{compares, revoked, revokeRace, userRace, purgeRace}},
		{"returns ErrNotFound for an empty slot", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			if _, err := s.Find(ctx, was.Slot); err != nil {
				return false, err
			}
			return s.Refresh(ctx, was, t)
		}), []string{compares, revoked, revokeRace, userRace, purgeRace}},
		{"returns an error for another token", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			stored, err := s.Refresh(ctx, was, t)
			if _, empty := s.Find(ctx, was.Slot); !stored && empty == nil {
				err = errors.New("another token")
			}
			return stored, err
		}), []string{basic, compares, replaced, race}},
		{"returns true for another token", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			_, err := s.Refresh(ctx, was, t)
			_, empty := s.Find(ctx, was.Slot)
			return empty == nil, err
		}), []string{basic, compares, replaced, race}},
		{"overwrites the token before with an expired one", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			stored, err := s.Refresh(ctx, was, t)
			if found := now(s, was); !stored && found.Refresh != nil {
				spoiled := found
				spoiled.ExpiresAt = time.Unix(0, 0).UTC()
				s.Refresh(ctx, found, spoiled)
			}
			return stored, err
		}), []string{basic, compares, replaced, race}},
		{"compares, waits, then stores", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			if !same(now(s, was), was) {
				return false, nil
			}
			time.Sleep(time.Millisecond)
			found := now(s, was)
			if found.Refresh == nil {
				t.Replaced = tokenauth.Digest{}
				return true, s.Replace(ctx, t)
			}
			return s.Refresh(ctx, found, t)
		}), []string{race, replaceRace, revokeRace, userRace, purgeRace}},
		{"stores as a sign-in does", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			if !same(now(s, was), was) {
				return false, nil
			}
			return true, s.Replace(ctx, t)
		}), []string{basic, uses, race}},

		{"keeps the user's name", changesRefresh(func(_ *memory.Store, _ context.Context, was, t *tokenauth.Token) {
			t.Principal.UserName = was.Principal.UserName
		}), []string{basic}},
		{"keeps roles and attributes", changesRefresh(func(_ *memory.Store, _ context.Context, was, t *tokenauth.Token) {
			t.Principal.Roles, t.Principal.Attributes = was.Principal.Roles, was.Principal.Attributes
		}), []string{basic}},
		{"keeps the stamp", changesRefresh(func(_ *memory.Store, _ context.Context, was, t *tokenauth.Token) {
			t.Principal.Stamp = was.Principal.Stamp
		}), []string{basic, compares}},
		{"drops the milliseconds", changesRefresh(func(_ *memory.Store, _ context.Context, _, t *tokenauth.Token) {
			t.IssuedAt = t.IssuedAt.Truncate(time.Second)
		}), []string{basic}},
		{"keeps the time of issue", changesRefresh(func(_ *memory.Store, _ context.Context, was, t *tokenauth.Token) {
			t.IssuedAt = was.IssuedAt
		}), []string{basic, revoked}},
		{"keeps the later expiry", changesRefresh(func(_ *memory.Store, _ context.Context, was, t *tokenauth.Token) {
			if t.ExpiresAt.Before(was.ExpiresAt) {
				t.ExpiresAt = was.ExpiresAt
			}
		}), []string{basic, purge}},
		{"keeps the expiry of the refresh token", changesRefresh(func(_ *memory.Store, _ context.Context, was, t *tokenauth.Token) {
			t.Refresh = &tokenauth.Refresh{ExpiresAt: was.Refresh.ExpiresAt, State: t.Refresh.State}
		}), []string{basic, purge}},
		{"sets Replaced by itself", changesRefresh(func(_ *memory.Store, _ context.Context, was, t *tokenauth.Token) {
			if t.Replaced != was.Replaced {
				t.Replaced = was.Digest
			}
		}), []string{basic}},
		{"loses the device's name", changesRefresh(func(_ *memory.Store, _ context.Context, _, t *tokenauth.Token) {
			t.DeviceName = ""
		}), []string{basic}},
		{"loses the device", changesRefresh(func(_ *memory.Store, _ context.Context, _, t *tokenauth.Token) {
			t.Device = ""
		}), []string{basic, revoked}},
		{"loses the client", changesRefresh(func(_ *memory.Store, _ context.Context, _, t *tokenauth.Token) {
			t.ClientID = ""
		}), []string{basic, revoked}},
		{"keeps the last use", func() methods {
			return methods{refresh: func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
				listed, _ := s.List(ctx, was.Slot.User)
				stored, err := s.Refresh(ctx, was, t)
				for _, l := range listed {
					if stored && l.Slot == t.Slot && !l.LastSeen.IsZero() {
						s.RecordUses(ctx, []tokenauth.Use{{Slot: t.Slot, Digest: t.Digest, At: l.LastSeen}})
					}
				}
				return stored, err
			}}
		}, []string{uses}},

		{"cuts the state off at 255 bytes", recodedRefresh(func(r *tokenauth.Refresh) {
			r.State = r.State[:min(255, len(r.State))]
		}), []string{roundTrip, basic, find}},
		{"stores the state as text", recodedRefresh(func(r *tokenauth.Refresh) {
			r.State = bytes.ToValidUTF8(r.State, []byte("\ufffd"))
		}), []string{roundTrip, find, compares}},
		{"stores the state without spaces at its end", recodedRefresh(func(r *tokenauth.Refresh) {
			r.State = bytes.TrimRight(r.State, " ")
		}), []string{roundTrip, find, compares}},
		{"stores the state without zeros at its end", recodedRefresh(func(r *tokenauth.Refresh) {
			r.State = bytes.TrimRight(r.State, "\x00")
		}), []string{roundTrip, find, compares}},
		{"stores the access token's expiry as that of the refresh token", func() methods {
			return methods{replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				if t.Refresh != nil {
					t.Refresh = &tokenauth.Refresh{ExpiresAt: t.ExpiresAt, State: t.Refresh.State}
				}
				return s.Replace(ctx, t)
			}}
		}, []string{roundTrip, find, purge}},
		{"lists no Refresh", func() methods {
			return methods{list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				tokens, err := s.List(ctx, u)
				for i := range tokens {
					tokens[i].Refresh = nil
				}
				return tokens, err
			}}
		}, []string{roundTrip, basic}},

		{"purges by the access token's expiry", purges(func(t *tokenauth.Token) time.Time { return t.ExpiresAt }), []string{purge}},
		{"purges by the refresh token's expiry", purges(func(t *tokenauth.Token) time.Time {
			if t.Refresh != nil {
				return t.Refresh.ExpiresAt
			}
			return t.ExpiresAt
		}), []string{purge}},
		{"purges by the expiry of the sign-in", func() methods {
			var mu sync.Mutex
			first := make(map[tokenauth.Slot]time.Time)
			m := purges(func(t *tokenauth.Token) time.Time {
				mu.Lock()
				defer mu.Unlock()
				if t.Refresh != nil {
					return first[t.Slot]
				}
				return t.ExpiresAt
			})()
			m.replace = func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				mu.Lock()
				defer mu.Unlock()
				if t.Refresh != nil {
					first[t.Slot] = slices.MaxFunc([]time.Time{t.ExpiresAt, t.Refresh.ExpiresAt}, time.Time.Compare)
				}
				return s.Replace(ctx, t)
			}
			return m
		}, []string{purge}},

		{"revokes a user's tokens one after the other", func() methods {
			return methods{revokeUser: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) error {
				tokens, _ := s.List(ctx, u)
				time.Sleep(time.Millisecond)
				for _, t := range tokens {
					s.Revoke(ctx, t.Slot, t.Digest)
				}
				return nil
			}}
		}, []string{userRace}},
		{"revokes a client's tokens one after the other", revokesEach(func(m *methods, each func(s *memory.Store, which func(tokenauth.Token) bool)) {
			m.revokeClient = func(s *memory.Store, ctx context.Context, c string) error {
				each(s, func(t tokenauth.Token) bool { return t.ClientID == c })
				return ctx.Err()
			}
		}), []string{userRace}},
		{"revokes all tokens one after the other", revokesEach(func(m *methods, each func(s *memory.Store, which func(tokenauth.Token) bool)) {
			m.revokeAll = func(s *memory.Store, ctx context.Context) error {
				each(s, func(tokenauth.Token) bool { return true })
				return ctx.Err()
			}
		}), []string{userRace}},

		{"stores nothing when the context has ended, and returns false", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			if ctx.Err() != nil {
				return false, nil
			}
			return s.Refresh(ctx, was, t)
		}), []string{ended}},
		{"stores half of the token when the context has ended", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			if ctx.Err() != nil {
				t.Refresh = was.Refresh
			}
			stored, _ := s.Refresh(ctx, was, t)
			return stored, ctx.Err()
		}), []string{ended}},
		{"returns from Refresh long after the context has ended", refreshes(func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
			if ctx.Err() != nil {
				time.Sleep(4 * time.Second)
			}
			return s.Refresh(ctx, was, t)
		}), []string{ended}},

		{"finds no Refresh", findsRefresh(func(_ context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			for i := range found {
				found[i].Token.Refresh = nil
			}
			return found, nil
		}), []string{roundTrip, basic, find, kept, findEnded, findRace}},
		{"finds no Refresh in large batches", findsRefresh(func(_ context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			for i := range found {
				if len(found) > 8 {
					found[i].Token.Refresh = nil
				}
			}
			return found, nil
		}), []string{find, kept, findEnded}},
		{"finds tokens without attributes", findsRefresh(func(_ context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			for i := range found {
				found[i].Token.Principal.Attributes = nil
			}
			return found, nil
		}), []string{roundTrip, basic, find}},
		{"hides expired access tokens", findsRefresh(func(_ context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			for i := range found {
				if found[i].Token.ExpiresAt.Before(time.Now()) {
					found[i] = tokenauth.Found{Err: tokenauth.ErrNotFound}
				}
			}
			return found, nil
		}), []string{roundTrip, find, purge}},
		{"finds a token in an empty slot", findsRefresh(func(_ context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			for i := range found {
				found[i].Err = nil
			}
			return found, nil
		}), []string{compares, revoked, find, revokeRace, userRace, purge, purgeRace}},
		{"fails if all slots are empty", findsRefresh(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			if len(slots) > 1 && !slices.ContainsFunc(found, func(f tokenauth.Found) bool { return f.Err == nil }) {
				return nil, tokenauth.ErrNotFound
			}
			return found, nil
		}), []string{find}},
		{"finds 63 tokens at most", findsRefresh(func(_ context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			return found[:min(63, len(found))], nil
		}), []string{find}},
		{"returns many results in the order of their keys", func() methods {
			return methods{findRefresh: func(s *memory.Store, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
				if len(slots) > 16 {
					slots = slices.SortedFunc(slices.Values(slots), compareSlots)
				}
				return s.FindRefresh(ctx, slots)
			}}
		}, []string{find}},
		{"sorts the slots of its argument", findsRefresh(func(_ context.Context, slots []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			slices.SortFunc(slots, compareSlots)
			return found, nil
		}), []string{kept}},
		{"reuses the memory of the state", reusesState, []string{kept}},
		{"modifies the Refresh of its argument", changesRefresh(func(_ *memory.Store, _ context.Context, _, t *tokenauth.Token) {
			t.Refresh.ExpiresAt = t.Refresh.ExpiresAt.Add(time.Second)
		}), []string{kept}},
		{"returns ErrNotFound for each slot when the context has ended", findsRefresh(func(ctx context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			if ctx.Err() != nil {
				for i := range found {
					found[i] = tokenauth.Found{Err: tokenauth.ErrNotFound}
				}
			}
			return found, nil
		}), []string{findEnded}},
		{"returns ErrCorrupt when the context has ended", findsRefresh(func(ctx context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			if ctx.Err() != nil {
				return nil, tokenauth.ErrCorrupt
			}
			return found, nil
		}), []string{findEnded}},
		{"returns half of the results when the context has ended", findsRefresh(func(ctx context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			if ctx.Err() != nil {
				found = found[:len(found)/2]
			}
			return found, nil
		}), []string{findEnded}},
		{"returns from FindRefresh long after the context has ended", findsRefresh(func(ctx context.Context, _ []tokenauth.Slot, found []tokenauth.Found) ([]tokenauth.Found, error) {
			if ctx.Err() != nil {
				time.Sleep(4 * time.Second)
			}
			return found, nil
		}), []string{findEnded}},
		{"reads a token and its Refresh in two steps", func() methods {
			return methods{findRefresh: func(s *memory.Store, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
				found, _ := s.FindRefresh(ctx, slots)
				time.Sleep(100 * time.Microsecond)
				again, _ := s.FindRefresh(ctx, slots)
				for i := range found {
					if found[i].Err == nil && again[i].Err == nil {
						found[i].Token.Refresh = again[i].Token.Refresh
					}
				}
				return found, nil
			}}
		}, []string{findRace}},
		{"reads three slots from a copy that is one refresh behind", func() methods {
			var mu sync.Mutex
			copies := make(map[tokenauth.Slot]tokenauth.Token)
			return methods{
				findRefresh: func(s *memory.Store, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
					mu.Lock()
					defer mu.Unlock()
					found, _ := s.FindRefresh(ctx, slots)
					for i, slot := range slots {
						if c, ok := copies[slot]; ok && found[i].Err == nil && len(slots) == 3 {
							found[i].Token = c
						}
					}
					return found, nil
				},
				refresh: func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error) {
					mu.Lock()
					defer mu.Unlock()
					if stored, err := s.Refresh(ctx, was, t); !stored {
						return stored, err
					}
					if was.Digest != t.Digest {
						copies[t.Slot] = was
					}
					return true, nil
				},
			}
		}, []string{findRace}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := storagetest.CheckRefresher(t.Context(), func() tokenauth.Storage {
				b := &broken{methods: test.broken()}
				return refresher{b, b}
			})
			for _, rule := range test.rules {
				if found[rule] == nil {
					t.Errorf("rule %s did not fail", rule)
				}
			}
			if len(test.rules) == 0 && len(found) > 0 {
				t.Errorf("rules failed: %v", found)
			}
		})
	}
}

// purges returns a storage that purges each token by the time that a function returns.
func purges(expiry func(*tokenauth.Token) time.Time) func() methods {
	return func() methods {
		return methods{purge: func(s *memory.Store, ctx context.Context, before time.Time) (removed int64, err error) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			for _, t := range everyToken(s) {
				if expiry(&t).Before(before) {
					s.Revoke(ctx, t.Slot, t.Digest)
					removed++
				}
			}
			return removed, ctx.Err()
		}}
	}
}

// everyToken returns the tokens of the users whom the rules for refreshing and for
// purging use.
func everyToken(s *memory.Store) (tokens []tokenauth.Token) {
	for i := range 2500 {
		some, _ := s.List(context.Background(), tokenauth.UserKeyOf(fmt.Sprint("user", i)))
		tokens = append(tokens, some...)
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		some, _ := s.List(context.Background(), tokenauth.UserKeyOf(user))
		tokens = append(tokens, some...)
	}
	return tokens
}

// revokesEach returns a storage that lists all tokens first, and then revokes each.
func revokesEach(set func(m *methods, each func(s *memory.Store, which func(tokenauth.Token) bool))) func() methods {
	return func() methods {
		var m methods
		set(&m, func(s *memory.Store, which func(tokenauth.Token) bool) {
			tokens := everyToken(s)
			time.Sleep(time.Millisecond)
			for _, t := range tokens {
				if which(t) {
					s.Revoke(context.Background(), t.Slot, t.Digest)
				}
			}
		})
		return m
	}
}

// reusesState returns a storage whose FindRefresh for two slots always returns the same
// memory.
func reusesState() methods {
	var kept [2][512]byte
	return methods{findRefresh: func(s *memory.Store, ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
		found, err := s.FindRefresh(ctx, slots)
		for i := range found {
			if r := found[i].Token.Refresh; r != nil && len(slots) == 2 {
				found[i].Token.Refresh = &tokenauth.Refresh{ExpiresAt: r.ExpiresAt, State: kept[i][:copy(kept[i][:], r.State)]}
			}
		}
		return found, err
	}}
}
