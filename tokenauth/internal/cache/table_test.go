package cache

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// A token is a value of a user, as tokenauth keeps it.
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

// keep puts a value in as an undisturbed reader does.
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
			lost++ // its set was full
		case *v != want:
			t.Errorf("value %d is %v", i, v)
		}
	}
	if lost > 5 || table.Len() != 500-lost {
		t.Errorf("%d of 500 are lost in a table for 1000 that has %d", lost, table.Len())
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
			t.Errorf("%s: found %v", name, v)
		}
		if keep(table, alice); table.Get(&alice.digest) == nil {
			t.Errorf("%s: what was read afterwards is not found", name)
		}
	}
}

func TestInvalidateEndsAllValuesOfAGroup(t *testing.T) {
	t.Parallel()
	table := newTable(1000)
	for n := range 3 {
		keep(table, tokenOf("alice", n))
	}
	bob := tokenOf("bob", 0)
	if keep(table, bob); table.generation(&bob.user) == table.generation(&Group{}) {
		t.Fatal("bob shares a generation with the zero group: choose another name")
	}
	alice := tokenOf("alice", 0)
	table.Invalidate(&alice.user)
	for n := range 3 {
		if v := tokenOf("alice", n); table.Get(&v.digest) != nil {
			t.Errorf("token %d of alice is still found", n)
		}
	}
	if table.Get(&bob.digest) == nil {
		t.Error("bob's token is gone")
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
		t.Errorf("the first is %v, the second %v, and there are %d", table.Get(&first.digest), table.Get(&second.digest), table.Len())
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
		t.Errorf("bob's token is %v, and %d valid ones were evicted", table.Get(&bob.digest), table.Evictions()-before)
	}
}

// A set in which all values are read all the time still makes room.
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
			t.Fatalf("there are %d", n)
		}
	}
	close(stop)
	wg.Wait()
}

// Whatever happens, in whatever order, a reader finds the value or none, and
// none that was invalidated.
func TestTableReturnsTheLastValueOrNone(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, max := range []int{1, 8, 50} {
		table := newTable(max)
		model := make(map[Key]token) // what may be found
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
				t.Fatalf("step %d: there are %d", step, n)
			}
		}
		if found < 100 {
			t.Errorf("of %d only %d were found", max, found)
		}
	}
}

// Readers of a table that changes all the time only find whole values.
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
						t.Errorf("value %d is %v", n, *got)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := table.Len(); n < 0 || n > 32 {
		t.Errorf("there are %d", n)
	}
}
