package tokenauth

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func entryOf(user, client string, n byte) *entry {
	return newEntry(&Token{Slot: SlotOf(user, client), Digest: Digest{n}, ExpiresAt: time.Unix(1, 0)})
}

// keep puts an entry in as an undisturbed reader does.
func (t *table) keep(e *entry) bool { return t.put(e, t.stamp(&e.slot)) }

func TestTableFindsEntriesItKeeps(t *testing.T) {
	t.Parallel()
	table := newTable(1000)
	for i := range 500 {
		table.keep(entryOf(fmt.Sprint(i), "", byte(i)))
	}
	lost := 0
	for i := range 500 {
		slot := SlotOf(fmt.Sprint(i), "")
		switch e := table.get(&slot); {
		case e == nil:
			lost++ // its set was full
		case e.digest != Digest{byte(i)}:
			t.Errorf("slot %d has digest %v", i, e.digest)
		}
	}
	if lost > 5 {
		t.Errorf("%d of 500 are lost in a table for 1000", lost)
	}
	if int(table.size.Load()) != 500-lost {
		t.Errorf("the size is %d, want %d", table.size.Load(), 500-lost)
	}
}

// What was read before something happened to the slot is not put in after it.
func TestTableRefusesStaleEntries(t *testing.T) {
	t.Parallel()
	slot := SlotOf("alice", "")
	for name, happens := range map[string]func(*table){
		"the user changes":    func(t *table) { t.forget(&slot.User) },
		"everything changes":  (*table).forgetAll,
		"a newer one is kept": func(t *table) { t.keep(entryOf("alice", "", 2)) },
		"a newer one is kept, and evicted": func(t *table) {
			t.keep(entryOf("alice", "", 2))
			for i := range 100 { // the table has room for one
				t.keep(entryOf(fmt.Sprint(i), "", 3))
				t.shrink()
			}
			if t.get(&slot) != nil {
				panic("it was not evicted")
			}
		},
	} {
		table := newTable(1)
		was := table.stamp(&slot)
		happens(table)
		if table.put(entryOf("alice", "", 1), was) {
			t.Errorf("%s: the stale entry is kept", name)
		}
		if e := table.get(&slot); e != nil {
			t.Errorf("%s: the slot has digest %v, want nothing", name, e.digest)
		}
		if !table.keep(entryOf("alice", "", 4)) {
			t.Errorf("%s: a fresh entry is not kept", name)
		}
	}
}

func TestTableRemovesAUserAtEveryClient(t *testing.T) {
	t.Parallel()
	table := newTable(100)
	for _, client := range []string{"", "web", "mobile"} {
		table.keep(entryOf("alice", client, 1))
	}
	table.keep(entryOf("bob", "", 1))
	alice, bob := UserKeyOf("alice"), SlotOf("bob", "")
	table.forget(&alice)
	for _, client := range []string{"", "web", "mobile"} {
		if slot := SlotOf("alice", client); table.get(&slot) != nil {
			t.Errorf("alice at %q is still there", client)
		}
	}
	if table.get(&bob) == nil || table.size.Load() != 1 {
		t.Errorf("bob is gone, or the size is %d", table.size.Load())
	}
}

// A set in which all entries are read all the time still makes room.
func TestTableEvictsFromASetOfHotEntries(t *testing.T) {
	t.Parallel()
	table := newTable(4) // one set
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			slot := SlotOf(fmt.Sprint(i), "")
			for {
				select {
				case <-stop:
					return
				default:
					table.get(&slot)
				}
			}
		})
	}
	for i := range 20_000 {
		table.keep(entryOf(fmt.Sprint(i%20), "", byte(i)))
		table.shrink()
		if n := table.size.Load(); n > 4 {
			t.Fatalf("the size is %d", n)
		}
	}
	close(stop)
	wg.Wait()
}

// Whatever happens, in whatever order, a reader finds the last value or none.
func TestTableReturnsTheLastValueOrNone(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, max := range []int{1, 8, 50} {
		table := newTable(max)
		model := make(map[Slot]Digest)
		for step := range 50_000 {
			user, client := fmt.Sprint(random.IntN(30)), fmt.Sprint(random.IntN(3))
			slot := SlotOf(user, client)
			switch n := random.IntN(100); {
			case n < 40:
				e := entryOf(user, client, byte(step))
				table.keep(e)
				table.shrink()
				model[slot] = e.digest
			case n < 45:
				table.forget(&slot.User)
				for s := range model {
					if s.User == slot.User {
						delete(model, s)
					}
				}
			case n == 45:
				table.forgetAll()
				clear(model)
			default:
				if e := table.get(&slot); e != nil && e.digest != model[slot] {
					t.Fatalf("step %d: found %v, want %v", step, e.digest, model[slot])
				}
			}
			if n := table.size.Load(); n > int64(max) {
				t.Fatalf("step %d: the size is %d", step, n)
			}
		}
	}
}

// Readers of a table that changes all the time only find whole entries of the
// slot they want.
func TestConcurrentReadersFindWholeEntries(t *testing.T) {
	t.Parallel()
	table := newTable(32)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 0))
			for range 20_000 {
				n := random.IntN(64)
				slot := SlotOf(fmt.Sprint(n), "")
				switch random.IntN(10) {
				case 0:
					table.keep(entryOf(fmt.Sprint(n), "", byte(n)))
					table.shrink()
				case 1:
					table.forget(&slot.User)
				default:
					if e := table.get(&slot); e != nil && (e.slot != slot || e.digest != Digest{byte(n)}) {
						t.Errorf("slot %d has %v", n, e)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := table.size.Load(); n < 0 || n > 32 {
		t.Errorf("the size is %d", n)
	}
}

// A hit makes no garbage.
func TestCacheHitAllocatesNothing(t *testing.T) {
	s, err := New(watched{}, rejecter{}, &Options{Cache: new(CacheOptions)})
	if err != nil {
		t.Fatal(err)
	}
	(&subscription{cache: s.cache, began: func() {}}).Alive(time.Now().Add(time.Hour))
	accessToken, digest := mint("tat_", SlotOf("alice", ""))
	e := entryOf("alice", "", 0)
	e.digest, e.expires = digest, time.Now().Add(time.Hour).Unix()
	if !s.cache.table.keep(e) {
		t.Fatal("not kept")
	}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := s.validate(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
	}); n > 0.1 {
		t.Errorf("a hit makes %v allocations", n)
	}
}

// watched is a storage that is never asked.
type watched struct {
	Storage
	Watcher
}

type rejecter struct{ Authenticator }
