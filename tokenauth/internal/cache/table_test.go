package cache

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// A token is a value of a user, like those that the package tokenauth caches.
type token struct {
	digest Key
	user   Group
	n      int
}

func (t *token) identify() (*Key, *Group) { return &t.digest, &t.user }

func tokenOf(user string, n int) token {
	sum := sha256.Sum256([]byte(user))
	return token{sha256.Sum256(fmt.Append(nil, user, n)), Group(sum[:16]), n}
}

func newTable(max int) *Table[token] { return New(max, (*token).identify) }

// keep stores a value with the current stamp of its group.
func keep(t *Table[token], v token) { t.Put(v, t.Stamp(&v.user)) }

func TestTableFindsWhatWasPut(t *testing.T) {
	t.Parallel()
	table := newTable(1000)
	for i := range 500 {
		keep(table, tokenOf(fmt.Sprint(i), i))
	}
	lost := 0
	for i := range 500 {
		want := tokenOf(fmt.Sprint(i), i)
		switch v := table.Get(&want.digest); {
		case v == nil:
			lost++ // evicted from a full set
		case *v != want:
			t.Errorf("value %d: got %v", i, v)
		}
	}
	if lost > 5 || table.Len() != 500-lost {
		t.Errorf("%d of 500 values are lost in a table for 1000, want at most 5; Len is %d", lost, table.Len())
	}
}

func TestValuesReadBeforeAnInvalidationAreNotFound(t *testing.T) {
	t.Parallel()
	alice := tokenOf("alice", 1)
	for name, invalidate := range map[string]func(*Table[token]){
		"of the group":            func(t *Table[token]) { t.Invalidate(&alice.user) },
		"of everything":           (*Table[token]).InvalidateAll,
		"of the group, then more": func(t *Table[token]) { t.Invalidate(&alice.user); keep(t, tokenOf("alice", 2)) },
	} {
		table := newTable(10)
		was := table.Stamp(&alice.user)
		invalidate(table)
		table.Put(alice, was)
		if v := table.Get(&alice.digest); v != nil {
			t.Errorf("invalidation %s: found %v", name, v)
		}
		if keep(table, alice); table.Get(&alice.digest) == nil {
			t.Errorf("invalidation %s: a value that was read after it is not found", name)
		}
	}
}

// Package tokenauth relies on the first 8 bytes for a user's API keys.
func TestInvalidateEndsAllValuesOfAGroup(t *testing.T) {
	t.Parallel()
	table := newTable(100_000)
	for n := range 3 {
		keep(table, tokenOf("alice", n))
	}
	key := tokenOf("alice", 3)
	for i := range key.user[8:] {
		key.user[8+i] ^= byte(i + 1)
	}
	keep(table, key)
	bob := tokenOf("bob", 0)
	if keep(table, bob); table.generation(&bob.user) == table.generation(&Group{}) {
		t.Fatal("bob and the zero group share a generation: choose another name for this test")
	}
	alice := tokenOf("alice", 0)
	table.Invalidate(&alice.user)
	for n := range 3 {
		if v := tokenOf("alice", n); table.Get(&v.digest) != nil {
			t.Errorf("token %d of alice is still found", n)
		}
	}
	if table.Get(&key.digest) != nil {
		t.Error("a value of a group with the same first 8 bytes is still found")
	}
	if table.Get(&bob.digest) == nil {
		t.Error("bob's token is not found")
	}
}

func TestRemoveRemovesOneValue(t *testing.T) {
	t.Parallel()
	table := newTable(100)
	first, second := tokenOf("alice", 1), tokenOf("alice", 2)
	keep(table, first)
	keep(table, second)
	table.Remove(&first.digest)
	table.Remove(&first.digest)
	if table.Get(&first.digest) != nil || table.Get(&second.digest) == nil || table.Len() != 1 {
		t.Errorf("got first %v, second %v and Len %d, want only the second", table.Get(&first.digest), table.Get(&second.digest), table.Len())
	}
}

func TestInvalidValuesMakeRoomFirst(t *testing.T) {
	t.Parallel()
	table := newTable(4) // one set
	alice, bob := tokenOf("alice", 0), tokenOf("bob", 0)
	for n := range 8 {
		keep(table, tokenOf("alice", n))
	}
	table.Invalidate(&alice.user)
	before := table.Evictions()
	for range 4 {
		keep(table, bob)
	}
	if table.Get(&bob.digest) == nil || table.Evictions() != before {
		t.Errorf("got bob's token %v and %d evictions of valid tokens, want no eviction", table.Get(&bob.digest), table.Evictions()-before)
	}
}

// A set whose values are all read constantly still makes room for a new value.
func TestTableMakesRoomAmongHotValues(t *testing.T) {
	t.Parallel()
	table := newTable(4) // one set
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			v := tokenOf(fmt.Sprint(i), i)
			for {
				select {
				case <-stop:
					return
				default:
					table.Get(&v.digest)
				}
			}
		})
	}
	for i := range 20_000 {
		keep(table, tokenOf(fmt.Sprint(i%20), i%20))
		if n := table.Len(); n > 4 {
			t.Fatalf("Len is %d, want at most 4", n)
		}
	}
	close(stop)
	wg.Wait()
}

// After any sequence of operations, a reader finds the last value or none, and
// never an invalidated one.
func TestTableReturnsTheLastValueOrNone(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, max := range []int{1, 8, 50} {
		table := newTable(max)
		model := make(map[Key]token) // the values that Get may return
		found := 0
		for step := range 50_000 {
			v := tokenOf(fmt.Sprint(random.IntN(30)), random.IntN(3))
			switch n := random.IntN(100); {
			case n < 40:
				keep(table, v)
				model[v.digest] = v
			case n < 43:
				table.Invalidate(&v.user)
				for k, other := range model {
					if other.user == v.user {
						delete(model, k)
					}
				}
			case n < 45:
				table.Remove(&v.digest)
				delete(model, v.digest)
			case n == 45:
				table.InvalidateAll()
				clear(model)
			default:
				if got := table.Get(&v.digest); got != nil {
					if found++; *got != model[v.digest] {
						t.Fatalf("step %d: found %v, want %v", step, *got, model[v.digest])
					}
				}
			}
			if n := table.Len(); n > max {
				t.Fatalf("step %d: Len is %d", step, n)
			}
		}
		if found < 100 {
			t.Errorf("with at most %d values, only %d were found", max, found)
		}
	}
}

// Readers of a table that changes constantly find only complete values.
func TestConcurrentReadersFindWholeEntries(t *testing.T) {
	t.Parallel()
	table := newTable(32)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 0))
			for range 20_000 {
				n := random.IntN(64)
				v := tokenOf(fmt.Sprint(n), n)
				switch random.IntN(12) {
				case 0:
					keep(table, v)
				case 1:
					table.Invalidate(&v.user)
				case 2:
					table.Remove(&v.digest)
				default:
					if got := table.Get(&v.digest); got != nil && *got != v {
						t.Errorf("value %d: got %v", n, *got)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := table.Len(); n < 0 || n > 32 {
		t.Errorf("Len is %d, want 0 to 32", n)
	}
}
