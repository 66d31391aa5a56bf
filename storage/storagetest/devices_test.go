package storagetest_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// An unwatched storage has no feed, so its tests do not wait for heartbeats. It is not a
// Refresher either.
type unwatched struct{ storage }

type storage interface {
	tokenauth.Storage
	tokenauth.Lister
	tokenauth.Purger
	tokenauth.BulkRevoker
	tokenauth.UseRecorder
	tokenauth.Renamer
}

// A brokenCase is a storage that breaks some of the rules.
type brokenCase struct {
	name   string
	broken func() methods
	rules  []string // the rules that must fail; no others may, except:
	may    string   // a rule that fails in most runs
}

// detects tests that the rules of each case fail.
func detects(t *testing.T, cases []brokenCase) {
	t.Helper()
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := storagetest.Check(t.Context(), func() tokenauth.Storage {
				return unwatched{&broken{methods: test.broken()}}
			})
			for _, rule := range test.rules {
				if found[rule] == nil {
					t.Errorf("rule %s did not fail", rule)
				}
			}
			for rule, err := range found {
				if rule != test.may && !slices.Contains(test.rules, rule) {
					t.Errorf("rule %s failed: %v", rule, err)
				}
			}
		})
	}
}

// stores returns a storage that changes tokens before it stores them.
func stores(change func(*tokenauth.Token)) func() methods {
	return recoded(change, func(*tokenauth.Token) {})
}

// recoded returns a storage that changes tokens before it stores them, and after
// it finds them.
func recoded(encode, decode func(*tokenauth.Token)) func() methods {
	return func() methods {
		return methods{
			replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				encode(&t)
				return s.Replace(ctx, t)
			},
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				t, err := s.Find(ctx, slot)
				decode(&t)
				return t, err
			},
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				tokens, err := s.List(ctx, u)
				for i := range tokens {
					decode(&tokens[i])
				}
				return tokens, err
			},
		}
	}
}

// replaces returns a storage with this Replace.
func replaces(replace func(*memory.Store, context.Context, tokenauth.Token) error) func() methods {
	return func() methods { return methods{replace: replace} }
}

const noName = "\x00" // in the slots of memory.Store, which keeps no empty name

// withoutName changes a token that lacks a name, so that [memory.Store] does not
// keep the name of the token before.
func withoutName(t *tokenauth.Token) {
	if t.DeviceName == "" {
		t.DeviceName = noName
	}
}

func withName(t *tokenauth.Token) { t.DeviceName = strings.TrimSuffix(t.DeviceName, noName) }

func TestRunDetectsBrokenDevices(t *testing.T) {
	t.Parallel()
	detects(t, []brokenCase{
		{"none", func() methods { return methods{} }, nil, ""},
		{"cuts devices to 32 bytes", stores(func(t *tokenauth.Token) { t.Device = t.Device[:min(32, len(t.Device))] }), []string{"RoundTrip"}, ""},
		{"cuts names of devices to 64 bytes", stores(func(t *tokenauth.Token) { t.DeviceName = t.DeviceName[:min(64, len(t.DeviceName))] }), []string{"RoundTrip"}, ""},
		{"trims names of devices", stores(func(t *tokenauth.Token) { t.DeviceName = strings.TrimSpace(t.DeviceName) }), []string{"RoundTrip", "OddValues"}, ""},
		{"stores devices in lower case", stores(func(t *tokenauth.Token) { t.Device = strings.ToLower(t.Device) }), []string{"RoundTrip"}, ""},
		{"stores IssuedAt in whole seconds", stores(func(t *tokenauth.Token) { t.IssuedAt = t.IssuedAt.Truncate(time.Second) }),
			[]string{"RoundTrip", "KeepsDeviceName", "List", "RecordUses", "RecordUsesExtends", "RevokeUnused", "Rename", "RenameRace"}, ""},
		{"stores IssuedAt in hundredths of a second", stores(func(t *tokenauth.Token) { t.IssuedAt = t.IssuedAt.Truncate(10 * time.Millisecond) }),
			[]string{"RoundTrip", "KeepsDeviceName", "List", "RecordUses", "RecordUsesExtends", "RevokeUnused"}, ""},
		{"stores lifetimes of 30 days at most", stores(func(t *tokenauth.Token) { t.Lifetime = min(t.Lifetime, 30*24*time.Hour) }), []string{"RoundTrip"}, ""},
		{"keeps the lifetime and the milliseconds of the token before", replaces(func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
			if old, err := s.Find(ctx, t.Slot); err == nil && t.Device == "" && t.Lifetime == 0 {
				t.Lifetime, t.IssuedAt = old.Lifetime, t.IssuedAt.Add(time.Duration(old.IssuedAt.Nanosecond()))
			}
			return s.Replace(ctx, t)
		}), []string{"RoundTrip", "KeepsDeviceName"}, ""},

		{"does not keep the name of a device", recoded(withoutName, withName), []string{"KeepsDeviceName", "KeepsDeviceNameRace", "Rename", "RenameRace"}, ""},
		{"never changes the name of a device", replaces(func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
			if old, err := s.Find(ctx, t.Slot); err == nil && old.DeviceName != "" {
				t.DeviceName = ""
			}
			return s.Replace(ctx, t)
		}), []string{"KeepsDeviceName", "KeepsDeviceNameRace", "RenameRace"}, ""},
		{"keeps the name of another device", replaces(func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
			others, _ := s.List(ctx, t.Slot.User)
			for _, other := range others {
				if t.DeviceName == "" && t.Device == "tablet" {
					t.DeviceName = other.DeviceName
				}
			}
			return s.Replace(ctx, t)
		}), []string{"KeepsDeviceName", "RecordUses"}, ""},
		{"keeps the name of a device in an empty slot", func() methods {
			var names sync.Map
			return methods{replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				if name, ok := names.Load(t.Slot); ok && t.DeviceName == "" {
					t.DeviceName = name.(string)
				}
				names.Store(t.Slot, t.DeviceName)
				return s.Replace(ctx, t)
			}}
		}, []string{"KeepsDeviceName", "Rename"}, "KeepsDeviceNameRace"},
		{"does not keep the name of an expired token", func() methods {
			m := recoded(func(*tokenauth.Token) {}, withName)()
			m.replace = func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				if old, err := s.Find(ctx, t.Slot); err == nil && old.ExpiresAt.Before(time.Now()) {
					withoutName(&t)
				}
				return s.Replace(ctx, t)
			}
			return m
		}, []string{"KeepsDeviceName"}, ""},
		{"reads the name of a device, waits, then replaces", replaces(func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
			if old, err := s.Find(ctx, t.Slot); err == nil && t.DeviceName == "" {
				t.DeviceName = old.DeviceName
				time.Sleep(time.Millisecond)
			}
			return s.Replace(ctx, t)
		}), []string{"KeepsDeviceNameRace"}, ""},

		{"ignores the last byte of some keys", func() methods {
			cut := func(slot tokenauth.Slot) tokenauth.Slot {
				if bytes.HasPrefix(slot.Client[:], []byte(`\'`)) {
					slot.Client[15] = 0
				}
				return slot
			}
			return methods{
				replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
					t.Slot = cut(t.Slot)
					return s.Replace(ctx, t)
				},
				find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
					t, err := s.Find(ctx, cut(slot))
					t.Slot = slot
					return t, err
				},
			}
		}, []string{"DevicesApart"}, ""},
		{"revokes the tokens of similar keys", func() methods {
			return methods{revoke: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
				tokens, _ := s.List(ctx, slot.User)
				for _, t := range tokens {
					if bytes.Equal(t.Slot.Client[1:8], slot.Client[1:8]) && t.Slot != slot {
						s.Revoke(ctx, t.Slot, t.Digest)
					}
				}
				return s.Revoke(ctx, slot, d)
			}}
		}, []string{"DevicesApart"}, ""},
	})
}

// clientRevokes returns a storage with this RevokeClient.
func clientRevokes(revoke func(*memory.Store, context.Context, string) error) func() methods {
	return func() methods { return methods{revokeClient: revoke} }
}

// some revokes tokens by calling revoke, but keeps those of user alice beyond the
// first n, and those for which keep returns true.
func some(s *memory.Store, ctx context.Context, n int, keep func(tokenauth.Token) bool, revoke func() error) error {
	tokens, _ := s.List(ctx, tokenauth.UserKeyOf("alice"))
	err := revoke()
	for i, t := range tokens {
		if _, gone := s.Find(ctx, t.Slot); gone != nil && (i >= n || keep(t)) {
			s.Replace(ctx, t)
		}
	}
	return err
}

func none(tokenauth.Token) bool { return false }

func TestRunDetectsBrokenBulkRevokers(t *testing.T) {
	t.Parallel()
	detects(t, []brokenCase{
		{"does not revoke a client's devices", recoded(
			func(t *tokenauth.Token) { t.ClientID, t.Device = t.ClientID+"\x00"+t.Device, "" },
			func(t *tokenauth.Token) { t.ClientID, t.Device, _ = strings.Cut(t.ClientID, "\x00") },
		), []string{"RevokeClientDevices", "RevokeClientRace", "Keys"}, ""},
		{"does not revoke a client's device that is a space", recoded(
			func(t *tokenauth.Token) { t.Device = strings.TrimRight(t.Device, " ") },
			func(t *tokenauth.Token) {
				if t.Device == "" && t.Slot.Client != tokenauth.SlotOf("", t.ClientID).Client && t.Slot.User != (tokenauth.UserKey{}) && t.ClientID != keyClient {
					t.Device = " "
				}
			},
		), []string{"RevokeClientDevices"}, ""},
		{"ignores the case of the client's ID", clientRevokes(func(s *memory.Store, ctx context.Context, c string) error {
			return errors.Join(s.RevokeClient(ctx, c), s.RevokeClient(ctx, strings.ToUpper(c)))
		}), []string{"RevokeClientDevices"}, ""},
		{"ignores a space after the client's ID", clientRevokes(func(s *memory.Store, ctx context.Context, c string) error {
			return errors.Join(s.RevokeClient(ctx, c), s.RevokeClient(ctx, c+" "))
		}), []string{"RevokeClientDevices"}, ""},
		{"takes the empty ID for all clients", clientRevokes(func(s *memory.Store, ctx context.Context, c string) error {
			if c == "" {
				return s.RevokeAll(ctx)
			}
			return s.RevokeClient(ctx, c)
		}), []string{"RevokeClientDevices", "Keys"}, ""},
		{"revokes 1,000 tokens of a user at a client at most", clientRevokes(func(s *memory.Store, ctx context.Context, c string) error {
			return some(s, ctx, 1000, none, func() error { return s.RevokeClient(ctx, c) })
		}), []string{"RevokeClientDevices"}, ""},

		{"does not revoke all tokens", func() methods {
			return methods{revokeAll: func(_ *memory.Store, ctx context.Context) error { return ctx.Err() }}
		}, []string{"RevokeAll", "RevokeAllRace"}, ""},
		{"revokes 1,000 tokens of a user at most", func() methods {
			return methods{revokeAll: func(s *memory.Store, ctx context.Context) error {
				return some(s, ctx, 1000, none, func() error { return s.RevokeAll(ctx) })
			}}
		}, []string{"RevokeAll"}, ""},
		{"does not revoke expired tokens", func() methods {
			return methods{revokeAll: func(s *memory.Store, ctx context.Context) error {
				isExpired := func(t tokenauth.Token) bool { return t.ExpiresAt.Before(time.Now()) }
				return some(s, ctx, 1e6, isExpired, func() error { return s.RevokeAll(ctx) })
			}}
		}, []string{"RevokeAll"}, ""},
		{"returns nil from RevokeAll when the context has ended", func() methods {
			return methods{revokeAll: func(s *memory.Store, ctx context.Context) error {
				s.RevokeAll(ctx)
				return nil
			}}
		}, []string{"RevokeAll"}, ""},
		{"fails to revoke all tokens if a user signs in meanwhile", func() methods {
			var stored atomic.Int64
			return methods{
				replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
					stored.Add(1)
					return s.Replace(ctx, t)
				},
				revokeAll: func(s *memory.Store, ctx context.Context) error {
					before := stored.Load()
					time.Sleep(time.Millisecond)
					if stored.Load() != before {
						return errors.New("deadlock")
					}
					return s.RevokeAll(ctx)
				},
			}
		}, []string{"RevokeAllRace"}, ""},
	})
}
