// Package cache provides an in-memory table. Reading a value from the table
// takes no lock and allocates nothing.
//
// Each value belongs to a group, whose values can be invalidated together. Each
// group has a generation, which counts how often the group was invalidated. The
// generations are in an array of fixed size, and are never evicted. A few
// groups may share a generation. Groups whose first 8 bytes are the same always do.
//
// A value is stored with the generation that its group had before the value was
// read from its source. [Table.Get] finds the value only while that generation
// is current. So a value that was invalidated while it was being read is never
// found.
//
// The package tokenauth keeps tokens in such a table. The key is the token's
// digest, and the group is the user.
//
// A library such as otter is about as fast if only look-ups are compared
// (examples/peerbench has the figures). This table exists for two reasons:
// tokenauth imports only the standard library and golang.org/x/crypto, and a
// reader must compare the generation in the same step that finds the value.
package cache

import (
	"crypto/subtle"
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// A Key names a value, and a Group names a group. Both must be hashes, with
// evenly distributed bytes.
type (
	Key   [32]byte
	Group [16]byte
)

// A Table is a set-associative hash table, like a processor's cache. The key
// selects a small set, and a reader searches that set from end to end. Writers
// lock the set; readers do not. A Table is safe for concurrent use. [New] makes
// one.
type Table[V any] struct {
	identify func(*V) (*Key, *Group)

	sets []set[V]
	max  int64
	size atomic.Int64
	hand atomic.Uint64 // counts the sets that shrink has visited

	generations []atomic.Uint64
	epoch       atomic.Uint64 // number of calls of InvalidateAll

	evictions atomic.Uint64
}

const ways = 8

// A set fills two cache lines: one with the tags that readers search, and one
// with the entries.
type set[V any] struct {
	tags    [ways]atomic.Uint32 // 0 where there is no entry
	used    atomic.Uint32       // a bit for each entry that was read since the last eviction in this set
	mu      sync.Mutex
	_       [20]byte
	entries [ways]atomic.Pointer[entry[V]]
}

// An entry is never modified.
type entry[V any] struct {
	stamp Stamp
	value V
}

// New returns a table for at most max values. The func identify returns the key
// and the group of a value. The sets have room for at least twice as many
// values, so that few sets are full before the table is.
func New[V any](max int, identify func(*V) (*Key, *Group)) *Table[V] {
	sets, generations := 1, 1024
	for sets*ways < 2*max {
		sets *= 2
	}
	for generations*4 < max {
		generations *= 2
	}
	return &Table[V]{
		identify:    identify,
		sets:        make([]set[V], sets),
		generations: make([]atomic.Uint64, generations),
		max:         int64(max),
	}
}

// Len returns the number of stored values, including invalidated ones.
func (t *Table[V]) Len() int { return int(t.size.Load()) }

// Evictions returns how many valid values were evicted to make room for others.
func (t *Table[V]) Evictions() uint64 { return t.evictions.Load() }

// A Stamp is the state of a group at one time. It is stored with a value, and
// must be taken before the value is read from the source.
type Stamp uint64

// Stamp returns the state of a group. It is the sum of two numbers that only
// grow, so an unchanged sum means that neither of them changed.
func (t *Table[V]) Stamp(g *Group) Stamp {
	return Stamp(t.generation(g).Load() + t.epoch.Load())
}

func (t *Table[V]) generation(g *Group) *atomic.Uint64 {
	return &t.generations[binary.LittleEndian.Uint64(g[:])&uint64(len(t.generations)-1)]
}

// Invalidate invalidates the values of a group, including those that are being
// read from the source.
func (t *Table[V]) Invalidate(g *Group) { t.generation(g).Add(1) }

// InvalidateAll invalidates all values, including those that are being read
// from the source. The invalid values take up memory until other values replace
// them.
func (t *Table[V]) InvalidateAll() { t.epoch.Add(1) }

// Get returns the value with the key, or nil. The value is shared, so callers
// must not modify it.
func (t *Table[V]) Get(k *Key) *V {
	s, tag := t.set(k), k.tag()
	for i := range s.tags {
		if s.tags[i].Load() != tag {
			continue
		}
		e := s.entries[i].Load()
		if e == nil {
			continue
		}
		key, group := t.identify(&e.value)
		if subtle.ConstantTimeCompare(key[:], k[:]) == 0 || e.stamp != t.Stamp(group) {
			continue
		}
		if bit := uint32(1) << i; s.used.Load()&bit == 0 {
			s.used.Or(bit)
		}
		return &e.value
	}
	return nil
}

func (t *Table[V]) set(k *Key) *set[V] {
	return &t.sets[binary.LittleEndian.Uint64(k[:])&uint64(len(t.sets)-1)]
}

// tag returns a part of the key that is never 0: in a set, 0 means no entry.
func (k *Key) tag() uint32 { return binary.LittleEndian.Uint32(k[8:]) | 1<<31 }

// Put stores a value, together with the stamp that the value's group had before
// the value was read from the source. If the table is full, Put evicts other
// values.
func (t *Table[V]) Put(v V, was Stamp) {
	e := &entry[V]{was, v}
	key, _ := t.identify(&e.value)
	s := t.set(key)
	s.mu.Lock()
	i := t.room(s, key)
	if s.entries[i].Load() == nil {
		t.size.Add(1)
	}
	s.entries[i].Store(e)
	s.tags[i].Store(key.tag())
	s.used.Or(1 << i)
	s.mu.Unlock()
	t.shrink()
}

// Remove removes the value with the key. It does not prevent a later
// [Table.Put] of a value that is being read from the source.
func (t *Table[V]) Remove(k *Key) {
	s := t.set(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.entries {
		if e := s.entries[i].Load(); e != nil && t.has(e, k) {
			t.clear(s, i)
		}
	}
}

func (t *Table[V]) has(e *entry[V], k *Key) bool {
	key, _ := t.identify(&e.value)
	return *key == *k
}

// room returns the index in the set at which to store a value with the key. If
// an entry already has the key, room returns that entry's index. Otherwise it
// returns a free index, and evicts an entry if there is no free one. The caller
// holds the lock.
func (t *Table[V]) room(s *set[V], k *Key) int {
	free := -1
	for i := range s.entries {
		switch e := s.entries[i].Load(); {
		case e == nil:
			free = i
		case t.has(e, k):
			return i
		}
	}
	if free < 0 {
		free = t.evict(s, true)
	}
	return free
}

// evict removes an entry that is invalid or was not read since the last
// eviction, and returns its index. If there is no such entry, the result
// depends on the parameter must: if it is true, evict removes the first entry,
// and otherwise evict returns -1. The caller holds the lock.
func (t *Table[V]) evict(s *set[V], must bool) int {
	unread, first := -1, -1
	for i := range s.entries {
		e := s.entries[i].Load()
		if e == nil {
			continue
		}
		if _, group := t.identify(&e.value); e.stamp != t.Stamp(group) {
			t.clear(s, i)
			return i
		}
		if bit := uint32(1) << i; s.used.Load()&bit == 0 {
			unread = i
		} else if first < 0 {
			first = i
		}
	}
	victim := unread
	if victim < 0 {
		s.used.Store(0) // all were read: keep them, but clear their bits
		if must {
			victim = first
		}
	}
	if victim >= 0 {
		t.clear(s, victim)
		t.evictions.Add(1)
	}
	return victim
}

// clear removes the entry at index i, which must hold one. The caller holds the
// lock.
func (t *Table[V]) clear(s *set[V], i int) {
	s.tags[i].Store(0)
	s.entries[i].Store(nil)
	s.used.And(^uint32(1 << i))
	t.size.Add(-1)
}

// shrink evicts entries until at most t.max are left. It visits the sets in
// turn. An entry that was read since the previous visit to its set stays until
// the next visit (the "clock" approximation of least recently used).
func (t *Table[V]) shrink() {
	for step := 0; t.size.Load() > t.max; step++ {
		s := &t.sets[t.hand.Add(1)&uint64(len(t.sets)-1)]
		s.mu.Lock()
		t.evict(s, step > len(t.sets))
		s.mu.Unlock()
	}
}
