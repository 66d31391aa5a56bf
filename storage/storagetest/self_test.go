package storagetest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A broken is a correct storage in which test cases replace methods by broken
// ones.
type broken struct {
	memory.Store
	counters
	methods
}

// counters is a correct throttle.Storage in memory.
type counters struct {
	mu  sync.Mutex
	all map[throttle.Key]throttle.Counter
}

func (c *counters) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	some := c.some(keys)
	change(some)
	return c.put(ctx, keys, some)
}

func (c *counters) some(keys []throttle.Key) (some []throttle.Counter) {
	for _, key := range keys {
		some = append(some, c.all[key])
	}
	return some
}

func (c *counters) put(ctx context.Context, keys []throttle.Key, some []throttle.Counter) error {
	if c.all == nil {
		c.all = make(map[throttle.Key]throttle.Counter)
	}
	if ctx.Err() == nil {
		for i, key := range keys {
			c.all[key] = some[i]
		}
	}
	return ctx.Err()
}

type methods struct {
	replace    func(*memory.Store, context.Context, tokenauth.Token) error
	find       func(*memory.Store, context.Context, tokenauth.Slot) (tokenauth.Token, error)
	revoke     func(*memory.Store, context.Context, tokenauth.Slot, tokenauth.Digest) error
	revokeUser func(*memory.Store, context.Context, tokenauth.UserKey) error
	purge      func(*memory.Store, context.Context, time.Time) (int64, error)
	watch      func(*memory.Store, context.Context, time.Duration, tokenauth.Invalidator) error

	list func(*memory.Store, context.Context, tokenauth.UserKey) ([]tokenauth.Token, error)

	revokeClient   func(*memory.Store, context.Context, string) error
	revokeAll      func(*memory.Store, context.Context) error
	recordUses     func(*memory.Store, context.Context, []tokenauth.Use) error
	revokeUnused   func(*memory.Store, context.Context, time.Time) (int64, error)
	findRefresh    func(*memory.Store, context.Context, []tokenauth.Slot) ([]tokenauth.Found, error)
	refresh        func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (bool, error)
	rename         func(*memory.Store, context.Context, tokenauth.Slot, tokenauth.Digest, string) error
	updateCounters func(*counters, context.Context, []throttle.Key, func([]throttle.Counter)) error
}

func (b *broken) Replace(ctx context.Context, t tokenauth.Token) error {
	if b.replace != nil {
		return b.replace(&b.Store, ctx, t)
	}
	return b.Store.Replace(ctx, t)
}

func (b *broken) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	if b.list != nil {
		return b.list(&b.Store, ctx, u)
	}
	return b.Store.List(ctx, u)
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

func (b *broken) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if b.watch != nil {
		return b.watch(&b.Store, ctx, beat, feed)
	}
	return b.Store.Watch(ctx, beat, feed)
}

func (b *broken) RevokeClient(ctx context.Context, c string) error {
	if b.revokeClient != nil {
		return b.revokeClient(&b.Store, ctx, c)
	}
	return b.Store.RevokeClient(ctx, c)
}

func (b *broken) RevokeAll(ctx context.Context) error {
	if b.revokeAll != nil {
		return b.revokeAll(&b.Store, ctx)
	}
	return b.Store.RevokeAll(ctx)
}

func (b *broken) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	if b.recordUses != nil {
		return b.recordUses(&b.Store, ctx, uses)
	}
	return b.Store.RecordUses(ctx, uses)
}

func (b *broken) RevokeUnused(ctx context.Context, before time.Time) (int64, error) {
	if b.revokeUnused != nil {
		return b.revokeUnused(&b.Store, ctx, before)
	}
	return b.Store.RevokeUnused(ctx, before)
}

func (b *broken) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if b.findRefresh != nil {
		return b.findRefresh(&b.Store, ctx, slots)
	}
	return b.Store.FindRefresh(ctx, slots)
}

func (b *broken) Refresh(ctx context.Context, was, t tokenauth.Token) (bool, error) {
	if b.refresh != nil {
		return b.refresh(&b.Store, ctx, was, t)
	}
	return b.Store.Refresh(ctx, was, t)
}

func (b *broken) Rename(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
	if b.rename != nil {
		return b.rename(&b.Store, ctx, slot, d, name)
	}
	return b.Store.Rename(ctx, slot, d, name)
}

func (b *broken) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	if b.updateCounters != nil {
		return b.updateCounters(&b.counters, ctx, keys, change)
	}
	return b.counters.UpdateCounters(ctx, keys, change)
}

// A brokenFeed passes all calls on to its Invalidator, except those that changed
// or alive replaces.
type brokenFeed struct {
	tokenauth.Invalidator
	changed func(tokenauth.Invalidator, tokenauth.UserKey)
	alive   func(tokenauth.Invalidator, time.Time)
}

func (f *brokenFeed) Invalidate(u tokenauth.UserKey) {
	if f.changed != nil {
		f.changed(f.Invalidator, u)
		return
	}
	f.Invalidator.Invalidate(u)
}

func (f *brokenFeed) Heartbeat(asOf time.Time) {
	if f.alive != nil {
		f.alive(f.Invalidator, asOf)
		return
	}
	f.Invalidator.Heartbeat(asOf)
}

// changes replaces the reports of changes to the feed by calls of changed.
func changes(changed func(tokenauth.Invalidator, tokenauth.UserKey)) methods {
	return methods{watch: func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
		return s.Watch(ctx, beat, &brokenFeed{Invalidator: feed, changed: changed})
	}}
}

// lives replaces the heartbeats by calls of alive.
func lives(alive func(tokenauth.Invalidator, time.Time)) methods {
	return methods{watch: func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
		return s.Watch(ctx, beat, &brokenFeed{Invalidator: feed, alive: alive})
	}}
}

func TestRunDetectsBrokenStorages(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		broken methods
		rules  []string // the rules that must fail; others may fail too
	}{
		{"none", methods{}, nil},
		{"finds an empty slot without an error", methods{
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
		{"loses the replaced digest", methods{
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				t, err := s.Find(ctx, slot)
				t.Replaced = tokenauth.Digest{}
				return t, err
			},
		}, []string{"Replaced", "ReplaceRace"}},
		{"loses the stamp", methods{
			replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				t.Principal.Stamp = ""
				return s.Replace(ctx, t)
			},
		}, []string{"RoundTrip", "OddValues"}},
		{"has only one slot for each user", methods{
			replace: func(s *memory.Store, ctx context.Context, t tokenauth.Token) error {
				s.RevokeUser(ctx, t.Slot.User)
				return s.Replace(ctx, t)
			},
		}, []string{"SlotsApart", "Replaced"}},
		{"revokes a token with any digest", methods{
			revoke: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot, _ tokenauth.Digest) error {
				t, err := s.Find(ctx, slot)
				if err != nil {
					return nil
				}
				return s.Revoke(ctx, slot, t.Digest)
			},
		}, []string{"Revoke"}},
		{"fails if a token is revoked twice", methods{
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
		{"returns ErrNotFound when the context has ended", methods{
			find: func(s *memory.Store, ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
				if ctx.Err() != nil {
					return tokenauth.Token{}, tokenauth.ErrNotFound
				}
				return s.Find(ctx, slot)
			},
		}, []string{"ContextEnded"}},
		{"lists only tokens that have not expired", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				all, err := s.List(ctx, u)
				return slices.DeleteFunc(all, func(t tokenauth.Token) bool { return t.ExpiresAt.Before(time.Now()) }), err
			},
		}, []string{"List"}},
		{"lists tokens of another user too", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				all, _ := s.List(ctx, u)
				others, err := s.List(ctx, tokenauth.UserKeyOf("bob"))
				return append(all, others...), err
			},
		}, []string{"List"}},
		{"lists only one token", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				all, err := s.List(ctx, u)
				return all[:min(1, len(all))], err
			},
		}, []string{"List", "ListRace"}},
		{"fails if a user has no tokens", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				all, err := s.List(ctx, u)
				if len(all) == 0 {
					err = tokenauth.ErrNotFound
				}
				return all, err
			},
		}, []string{"List"}},
		{"lists no tokens when the context has ended", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				if ctx.Err() != nil {
					return nil, nil
				}
				return s.List(ctx, u)
			},
		}, []string{"List"}},
		{"lists tokens without the replaced digest", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				all, err := s.List(ctx, u)
				for i := range all {
					all[i].Replaced = tokenauth.Digest{}
				}
				return all, err
			},
		}, []string{"List"}},
		{"lists the results of two reads", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				all, err := s.List(ctx, u)
				time.Sleep(time.Millisecond)
				again, _ := s.List(ctx, u)
				for _, t := range again {
					if !slices.ContainsFunc(all, func(seen tokenauth.Token) bool { return seen.Digest == t.Digest }) {
						all = append(all, t)
					}
				}
				return all, err
			},
		}, []string{"ListRace"}},
		{"lists only tokens that a second read finds too", methods{
			list: func(s *memory.Store, ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
				all, err := s.List(ctx, u)
				time.Sleep(time.Millisecond)
				return slices.DeleteFunc(all, func(t tokenauth.Token) bool {
					now, err := s.Find(ctx, t.Slot)
					return err != nil || now.Digest != t.Digest
				}), err
			},
		}, []string{"ListRace"}},
		{"purges tokens that expire at the given time", methods{
			purge: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
				return s.Purge(ctx, before.Add(time.Second))
			},
		}, []string{"Purge"}},
		{"purges nothing", methods{
			purge: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) { return 0, ctx.Err() },
		}, []string{"Purge"}},
		{"purges after the context has ended", methods{
			purge: func(s *memory.Store, ctx context.Context, before time.Time) (int64, error) {
				return s.Purge(context.WithoutCancel(ctx), before)
			},
		}, []string{"PurgeStops"}},
		{"revokes a client's tokens of 1,000 users only", methods{
			revokeClient: func(s *memory.Store, ctx context.Context, c string) error {
				for i := range 1000 {
					slot := tokenauth.SlotOf(fmt.Sprint("user", i), c)
					t, _ := s.Find(ctx, slot)
					s.Revoke(ctx, slot, t.Digest)
				}
				return ctx.Err()
			},
		}, []string{"RevokeClient"}},
		{"revokes all tokens of a client's users", methods{
			revokeClient: func(s *memory.Store, ctx context.Context, c string) error {
				for i := range 2000 {
					slot := tokenauth.SlotOf(fmt.Sprint("user", i), c)
					if _, err := s.Find(ctx, slot); err == nil {
						s.RevokeUser(ctx, slot.User)
					}
				}
				return nil
			},
		}, []string{"RevokeClient", "RevokeClientRace"}},
		{"returns nil from RevokeClient when the context has ended", methods{
			revokeClient: func(s *memory.Store, ctx context.Context, c string) error {
				s.RevokeClient(ctx, c)
				return nil
			},
		}, []string{"RevokeClient"}},
		{"overwrites tokens at other clients with old ones", methods{
			revokeClient: func(s *memory.Store, ctx context.Context, c string) error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				var kept []tokenauth.Token
				for i := range 2000 {
					for _, client := range []string{"", "mobile"} {
						if t, err := s.Find(ctx, tokenauth.SlotOf(fmt.Sprint("user", i), client)); err == nil {
							kept = append(kept, t)
						}
					}
				}
				time.Sleep(time.Millisecond)
				for i := range 2000 {
					s.RevokeUser(ctx, tokenauth.UserKeyOf(fmt.Sprint("user", i)))
				}
				for _, t := range kept {
					s.Replace(ctx, t)
				}
				return nil
			},
		}, []string{"RevokeClientRace"}},
		{"does not report that a client's tokens were revoked", silent(func(m *methods, quietly func(func())) {
			m.revokeClient = func(s *memory.Store, ctx context.Context, c string) (err error) {
				quietly(func() { err = s.RevokeClient(ctx, c) })
				return err
			}
		}), []string{"WatchReports"}},
		{"does not report that the token of a client's device was revoked", silent(func(m *methods, quietly func(func())) {
			m.revokeClient = func(s *memory.Store, ctx context.Context, c string) (err error) {
				if c != "tv" {
					return s.RevokeClient(ctx, c)
				}
				quietly(func() { err = s.RevokeClient(ctx, c) })
				return err
			}
		}), []string{"WatchReports"}},
		{"does not report that all tokens were revoked", silent(func(m *methods, quietly func(func())) {
			m.revokeAll = func(s *memory.Store, ctx context.Context) (err error) {
				quietly(func() { err = s.RevokeAll(ctx) })
				return err
			}
		}), []string{"WatchReports"}},
		{"does not report that unused tokens were revoked", silent(func(m *methods, quietly func(func())) {
			m.revokeUnused = func(s *memory.Store, ctx context.Context, before time.Time) (n int64, err error) {
				quietly(func() { n, err = s.RevokeUnused(ctx, before) })
				return n, err
			}
		}), []string{"WatchReports"}},
		{"does not report that a token was refreshed", silent(func(m *methods, quietly func(func())) {
			m.refresh = func(s *memory.Store, ctx context.Context, was, t tokenauth.Token) (stored bool, err error) {
				quietly(func() { stored, err = s.Refresh(ctx, was, t) })
				return stored, err
			}
		}), []string{"WatchReports"}},
		{"reports each recorded use", reportsUses(), []string{"WatchIgnoresUses"}},
		{"reports each change twice", changes(func(f tokenauth.Invalidator, u tokenauth.UserKey) {
			f.Invalidate(u)
			f.Invalidate(u)
		}), nil},
		{"rounds the counters' times", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				return c.UpdateCounters(ctx, keys, func(some []throttle.Counter) {
					change(some)
					for i := range some {
						some[i].SucceededAt -= some[i].SucceededAt % 2
						some[i].PendingAt -= some[i].PendingAt % 2
					}
				})
			},
		}, []string{"CountersRoundTrip"}},
		{"stores negative failures as zero", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				return c.UpdateCounters(ctx, keys, func(some []throttle.Counter) {
					change(some)
					for i := range some {
						some[i].Failures = max(0, some[i].Failures)
					}
				})
			},
		}, []string{"CountersRoundTrip"}},
		{"stores keys of counters as text", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				texts := make([]throttle.Key, len(keys))
				for i := range keys {
					copy(texts[i][:], strings.ToValidUTF8(string(keys[i][:3]), "?"))
				}
				return c.UpdateCounters(ctx, texts, change)
			},
		}, []string{"CountersRoundTrip"}},
		{"reads the counters, waits, then stores them", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				c.mu.Lock()
				some := c.some(keys)
				c.mu.Unlock()
				change(some)
				time.Sleep(100 * time.Microsecond)
				c.mu.Lock()
				defer c.mu.Unlock()
				return c.put(ctx, keys, some)
			},
		}, []string{"CountersAtomic", "CountersUnchanged"}},
		{"updates counters one after the other", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				read := make([]throttle.Counter, len(keys))
				for i := range keys {
					err := c.UpdateCounters(ctx, keys[i:i+1], func(one []throttle.Counter) {
						read[i] = one[0]
						some := slices.Clone(read)
						change(some)
						one[0] = some[i]
					})
					time.Sleep(100 * time.Microsecond)
					if err != nil {
						return err
					}
				}
				return nil
			},
		}, []string{"CountersAtomic"}},
		{"resets the counters that are not changed", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				return c.UpdateCounters(ctx, keys, func(some []throttle.Counter) {
					before := slices.Clone(some)
					change(some)
					for i := range some {
						if some[i] == before[i] {
							some[i] = throttle.Counter{}
						}
					}
				})
			},
		}, []string{"CountersUnchanged"}},
		{"stores half of the counters when the context has ended", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				return c.UpdateCounters(context.WithoutCancel(ctx), keys, func(some []throttle.Counter) {
					before := slices.Clone(some)
					change(some)
					if ctx.Err() != nil {
						copy(some[1:], before[1:])
					}
				})
			},
		}, []string{"CountersContextEnded"}},
		{"returns nil from UpdateCounters when the context has ended", methods{
			updateCounters: func(c *counters, ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
				c.UpdateCounters(ctx, keys, change)
				return nil
			},
		}, []string{"CountersContextEnded"}},
		{"reports no changes", changes(func(tokenauth.Invalidator, tokenauth.UserKey) {}), []string{"WatchReports"}},
		{"reports another user", changes(func(f tokenauth.Invalidator, u tokenauth.UserKey) {
			u[15]++
			f.Invalidate(u)
		}), []string{"WatchReports"}},
		{"reports a change after the heartbeat", changes(func(f tokenauth.Invalidator, u tokenauth.UserKey) {
			time.AfterFunc(300*time.Millisecond, func() { f.Invalidate(u) })
		}), []string{"WatchReports"}},
		{"reports changes to one call of Watch only", methods{
			watch: onlyFirst(),
		}, []string{"WatchReports"}},
		{"sends only one heartbeat", methods{
			watch: func(s *memory.Store, ctx context.Context, _ time.Duration, feed tokenauth.Invalidator) error {
				return s.Watch(ctx, time.Hour, feed)
			},
		}, []string{"WatchAlive"}},
		{"sends heartbeats too rarely", methods{
			watch: func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
				return s.Watch(ctx, 3*beat, feed)
			},
		}, []string{"WatchAlive"}},
		{"sends heartbeats with a time in the future", lives(func(f tokenauth.Invalidator, asOf time.Time) {
			f.Heartbeat(asOf.Add(time.Second))
		}), []string{"WatchAlive"}},
		{"sends heartbeats without a monotonic clock reading", lives(func(f tokenauth.Invalidator, asOf time.Time) {
			f.Heartbeat(asOf.Round(0))
		}), []string{"WatchAlive"}},
		{"does not return from Watch when the context ends", methods{
			watch: func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
				s.Watch(ctx, beat, feed)
				timed, cancel := context.WithTimeout(context.WithoutCancel(ctx), 4*time.Second)
				defer cancel()
				s.Watch(timed, beat, feed)
				return ctx.Err()
			},
		}, []string{"WatchStops"}},
		{"returns nil from Watch when the context ends", methods{
			watch: func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
				s.Watch(ctx, beat, feed)
				return nil
			},
		}, []string{"WatchStops"}},
		{"returns from Watch after each heartbeat", methods{
			watch: endsAfterHeartbeat(-1),
		}, []string{"WatchReports", "WatchAlive", "WatchStops"}},
		{"loses the connection of Watch once", methods{
			watch: endsAfterHeartbeat(1),
		}, nil},
		{"reports a change after Watch returned", methods{
			watch: func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
				defer time.AfterFunc(beat, feed.InvalidateAll)
				return s.Watch(ctx, beat, feed)
			},
		}, []string{"WatchStops"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			found := storagetest.Check(t.Context(), func() tokenauth.Storage {
				return &broken{methods: test.broken}
			})
			for _, rule := range test.rules {
				if found[rule] == nil {
					t.Errorf("rule %s did not fail", rule)
				}
			}
			if test.rules == nil && len(found) > 0 {
				t.Errorf("rules %v failed for a correct storage: %v", slices.Collect(maps.Keys(found)), found)
			}
		})
	}
}

// silent returns methods whose Watch reports no change that quietly makes.
func silent(set func(m *methods, quietly func(change func()))) methods {
	var quiet atomic.Bool
	m := changes(func(f tokenauth.Invalidator, u tokenauth.UserKey) {
		if !quiet.Load() {
			f.Invalidate(u)
		}
	})
	set(&m, func(change func()) {
		quiet.Store(true)
		defer quiet.Store(false)
		change()
	})
	return m
}

// reportsUses returns methods whose RecordUses reports a change for each use.
func reportsUses() methods {
	var mu sync.Mutex
	feeds := make(map[tokenauth.Invalidator]bool)
	set := func(feed tokenauth.Invalidator, running bool) {
		mu.Lock()
		defer mu.Unlock()
		feeds[feed] = running
	}
	return methods{
		watch: func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
			set(feed, true)
			defer set(feed, false)
			return s.Watch(ctx, beat, feed)
		},
		recordUses: func(s *memory.Store, ctx context.Context, uses []tokenauth.Use) error {
			mu.Lock()
			defer mu.Unlock()
			for feed, running := range feeds {
				for _, u := range uses {
					if running {
						feed.Invalidate(u.Slot.User)
					}
				}
			}
			return s.RecordUses(ctx, uses)
		},
	}
}

// onlyFirst returns a Watch that reports changes to only one of the calls in
// progress.
func onlyFirst() func(*memory.Store, context.Context, time.Duration, tokenauth.Invalidator) error {
	var busy atomic.Bool
	return func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
		if busy.CompareAndSwap(false, true) {
			defer busy.Store(false)
			return s.Watch(ctx, beat, feed)
		}
		return s.Watch(ctx, beat, &brokenFeed{Invalidator: feed, changed: func(tokenauth.Invalidator, tokenauth.UserKey) {}})
	}
}

// endsAfterHeartbeat returns a Watch that returns an error after its first heartbeat,
// in the given number of calls, or in all calls if n is negative.
func endsAfterHeartbeat(n int64) func(*memory.Store, context.Context, time.Duration, tokenauth.Invalidator) error {
	var calls atomic.Int64
	return func(s *memory.Store, ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
		if n >= 0 && calls.Add(1) > n {
			return s.Watch(ctx, beat, feed)
		}
		errLost := errors.New("the connection is lost")
		watching, lose := context.WithCancelCause(ctx)
		defer lose(nil)
		s.Watch(watching, beat, &brokenFeed{Invalidator: feed, alive: func(f tokenauth.Invalidator, asOf time.Time) {
			f.Heartbeat(asOf)
			lose(errLost)
		}})
		return context.Cause(watching)
	}
}

// A storage whose Replace deletes and then inserts fails concurrent sign-ins.
func TestRunDetectsDeleteThenInsert(t *testing.T) {
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
		t.Error("rule ReplaceRace did not fail")
	}
}

// The test of ExampleRun is itself correct.
func TestExampleRunPasses(t *testing.T) {
	t.Parallel()
	testStorage(t)
}
