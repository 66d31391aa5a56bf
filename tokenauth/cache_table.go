package tokenauth

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
)

// An entry is a token as the cache keeps it. It never changes.
type entry struct {
	slot             Slot
	digest, replaced Digest
	issued, expires  int64 // Unix seconds
	epoch            uint64
	owner            string // as appendOwner writes it: one allocation for all strings
}

// A table keeps entries where readers find them without a lock and without
// making garbage. It is a set-associative hash table, as the caches of
// processors are: the user's key, being a hash, says in which small set the
// user's entries are, and a set is searched from end to end. Whatever changes a
// set does so under its lock, which readers do not take.
type table struct {
	sets []set
	max  int64
	size atomic.Int64
	hand atomic.Uint64 // where the last eviction stopped
	// epoch says which entries count: raising it forgets all of them at once.
	epoch     atomic.Uint64
	evictions atomic.Uint64
}

const ways = 8

// A set is two cache lines: what is searched, and what is found there.
type set struct {
	tags [ways]atomic.Uint32 // 0 where there is no entry
	used atomic.Uint32       // a bit for each entry that was read since an eviction passed by
	// generation counts the removals, so that a value which was read before
	// one is not put in after it.
	generation atomic.Uint32
	mu         sync.Mutex
	_          [16]byte
	entries    [ways]atomic.Pointer[entry]
}

// newTable returns a table of at most max entries. Its sets are half empty
// then on average, so that few overflow before the table is full.
func newTable(max int) *table {
	n := 1
	for n*ways < 2*max {
		n *= 2
	}
	return &table{sets: make([]set, n), max: int64(max)}
}

// A place is the part of a user's key that says where the user's entries are:
// the set, and the tag in it.
type place [11]byte

func placeOf(u *UserKey) place { return place(u[:]) }

func (t *table) set(p place) *set {
	return &t.sets[binary.LittleEndian.Uint64(p[:])&uint64(len(t.sets)-1)]
}

// tag is never 0.
func (p place) tag() uint32 { return uint32(p[8]) | uint32(p[9])<<8 | uint32(p[10])<<16 | 1<<24 }

// get returns the entry of a slot, or nil.
func (t *table) get(slot *Slot) *entry {
	return t.find(placeOf(&slot.User), func(e *entry) bool { return e.slot == *slot })
}

// match returns the entry of the token with that digest, or nil. A digest
// stands for one token, and so for one slot.
func (t *table) match(p place, d *Digest) *entry {
	return t.find(p, func(e *entry) bool { return equal(&e.digest, d) })
}

func (t *table) find(p place, is func(*entry) bool) *entry {
	s, tag := t.set(p), p.tag()
	for i := range s.tags {
		if s.tags[i].Load() != tag {
			continue
		}
		if e := s.entries[i].Load(); e != nil && is(e) && e.epoch == t.epoch.Load() {
			if bit := uint32(1) << i; s.used.Load()&bit == 0 {
				s.used.Or(bit)
			}
			return e
		}
	}
	return nil
}

// A stamp is the state of a slot's set before the storage is asked for the
// slot. What the storage says may be kept if the state is still the same then.
type stamp struct {
	epoch      uint64
	generation uint32
	entry      *entry
}

func (t *table) stamp(slot *Slot) stamp {
	// The entry comes last: if it is removed in between, the generation is old.
	s := stamp{epoch: t.epoch.Load(), generation: t.set(placeOf(&slot.User)).generation.Load()}
	s.entry = t.get(slot)
	return s
}

// put keeps e for its slot, unless that changed since the stamp was taken; then
// it forgets what it has of the slot, and reports false.
func (t *table) put(e *entry, was stamp) bool {
	s := t.set(placeOf(&e.slot.User))
	s.mu.Lock()
	defer s.mu.Unlock()
	if was.epoch != t.epoch.Load() || was.generation != s.generation.Load() || was.entry != t.get(&e.slot) {
		t.remove(s, func(old *entry) bool { return old.slot == e.slot })
		return false
	}
	e.epoch = was.epoch
	i := t.room(s, &e.slot)
	if s.entries[i].Load() == nil {
		t.size.Add(1)
	}
	s.entries[i].Store(e)
	s.tags[i].Store(placeOf(&e.slot.User).tag())
	s.used.Or(1 << i)
	return true
}

// room returns where in the set an entry for the slot may go: where the old
// one is, else a free place, else one that was not read for longest. The caller
// holds the lock.
func (t *table) room(s *set, slot *Slot) int {
	free := -1
	for i := range s.entries {
		switch e := s.entries[i].Load(); {
		case e == nil:
			free = i
		case e.slot == *slot:
			return i
		}
	}
	if free < 0 {
		free = t.evictFrom(s, true)
	}
	return free
}

// evictFrom removes an entry that was not read since the last time, and
// returns where it was. If all were, it removes the first of them if it has to,
// else none, and returns -1. The caller holds the lock.
func (t *table) evictFrom(s *set, must bool) int {
	victim := -1
	for i := range s.entries {
		if s.entries[i].Load() == nil {
			continue
		}
		bit := uint32(1) << i
		if s.used.Load()&bit == 0 {
			victim = i
			break
		}
		s.used.And(^bit)
		if must && victim < 0 {
			victim = i
		}
	}
	if victim >= 0 {
		e := s.entries[victim].Load()
		t.remove(s, func(old *entry) bool { return old == e })
		t.evictions.Add(1)
	}
	return victim
}

// shrink evicts until the table has at most max entries, going round all sets:
// an entry that was read since the last round stays for another (the "clock"
// approximation of least recently used).
func (t *table) shrink() {
	for step := 0; t.size.Load() > t.max; step++ {
		s := &t.sets[t.hand.Add(1)&uint64(len(t.sets)-1)]
		s.mu.Lock()
		t.evictFrom(s, step > len(t.sets))
		s.mu.Unlock()
	}
}

// forget removes the entries of a user.
func (t *table) forget(u *UserKey) {
	s := t.set(placeOf(u))
	s.mu.Lock()
	defer s.mu.Unlock()
	t.remove(s, func(e *entry) bool { return e.slot.User == *u })
}

// remove raises the generation also if there is nothing to remove: somebody
// may be about to put in what should have been. The caller holds the lock.
func (t *table) remove(s *set, which func(*entry) bool) {
	s.generation.Add(1)
	for i := range s.entries {
		if e := s.entries[i].Load(); e != nil && which(e) {
			s.tags[i].Store(0)
			s.entries[i].Store(nil)
			s.used.And(^uint32(1 << i))
			t.size.Add(-1)
		}
	}
}

// forgetAll forgets every entry at once. They keep their memory until others
// take their places.
func (t *table) forgetAll() { t.epoch.Add(1) }
