package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Yiling-J/theine-go"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/maypok86/otter/v2"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A structure is a data structure for a cache of tokens.
type structure interface {
	get(tokenauth.Slot) *record // nil if the slot is not cached
	put(tokenauth.Slot, *record)
}

const nothing = "nothing to look up"

// structures lists the compared data structures. The function make returns a
// structure with room for max entries. Unbounded structures ignore max.
var structures = []struct {
	name    string
	bounded bool
	make    func(max int) structure
}{
	{"otter v2", true, func(max int) structure {
		return otterCache{otter.Must(&otter.Options[tokenauth.Slot, *record]{MaximumSize: max})}
	}},
	{"theine", true, func(max int) structure {
		c, err := theine.NewBuilder[tokenauth.Slot, *record](int64(max)).Build()
		if err != nil {
			panic(err)
		}
		return theineCache{c}
	}},
	{"golang-lru v2", true, func(max int) structure {
		c, err := lru.New[tokenauth.Slot, *record](max)
		if err != nil {
			panic(err)
		}
		return lruCache{c}
	}},
	{"sync.Map", false, func(int) structure { return new(syncMap) }},
	{"RWMutex map", false, func(int) structure { return &mutexMap{m: make(map[tokenauth.Slot]*record)} }},
	{nothing, false, func(int) structure { return new(onlyOne) }},
}

type otterCache struct {
	c *otter.Cache[tokenauth.Slot, *record]
}

func (o otterCache) get(s tokenauth.Slot) *record    { r, _ := o.c.GetIfPresent(s); return r }
func (o otterCache) put(s tokenauth.Slot, r *record) { o.c.Set(s, r) }

type theineCache struct {
	c *theine.Cache[tokenauth.Slot, *record]
}

func (t theineCache) get(s tokenauth.Slot) *record    { r, _ := t.c.Get(s); return r }
func (t theineCache) put(s tokenauth.Slot, r *record) { t.c.Set(s, r, 1) }

type lruCache struct {
	c *lru.Cache[tokenauth.Slot, *record]
}

func (l lruCache) get(s tokenauth.Slot) *record    { r, _ := l.c.Get(s); return r }
func (l lruCache) put(s tokenauth.Slot, r *record) { l.c.Add(s, r) }

type syncMap struct{ m sync.Map }

func (m *syncMap) get(s tokenauth.Slot) *record {
	v, _ := m.m.Load(s)
	r, _ := v.(*record)
	return r
}
func (m *syncMap) put(s tokenauth.Slot, r *record) { m.m.Store(s, r) }

type mutexMap struct {
	mu sync.RWMutex
	m  map[tokenauth.Slot]*record
}

func (m *mutexMap) get(s tokenauth.Slot) *record {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.m[s]
}

func (m *mutexMap) put(s tokenauth.Slot, r *record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.m[s] = r
}

// onlyOne returns the same record for every slot. It measures what a validation
// costs apart from the look-up.
type onlyOne struct{ r atomic.Pointer[record] }

func (o *onlyOne) get(tokenauth.Slot) *record      { return o.r.Load() }
func (o *onlyOne) put(_ tokenauth.Slot, r *record) { o.r.Store(r) }

// chooseStructure compares this project's cache with caches that use other data
// structures.
func chooseStructure(tb testing.TB, p plan, r *report) {
	p = p.of(20*time.Millisecond, p.cycles)
	size := 1_000_000
	if p.short {
		size = 100_000
	}
	store := new(ledger)
	strict := service(tb, store, nil)
	cards := deal(tb, strict, size)
	walk := inOrder(size)
	zipf := byPopularity(size)

	t := &table{
		title: "Other data structures for the cache",
		about: fmt.Sprintf("Validations (parse, digest, look-up, comparison, copy of the token) on %d cores with different caches inside. "+
			"Left: %s tokens that are all cached, with room for twice as many, in random order. Right: with room for a tenth of them, requested by popularity (Zipf, s = 1.1); a miss loads the token. "+
			"ns per validation, median of %d rounds without garbage collections. Bytes per token and marking time of one collection are those of the left side. "+
			"Only this project's cache counts hits, checks the lease of a feed, and never stores a token that was just revoked.",
			cores(), decimal(float64(size), 0), p.rounds),
		head: []string{"", "all cached, ns", "min–max", "a tenth, ns", "hits", "bytes/token", "marking, ms"},
	}
	// A maker returns a validator with a cache for max tokens. It also returns the
	// function loads, which returns how often a token was not in that cache.
	type maker func(max int) (v validator, loads func() uint64)
	ours := func(max int) (validator, func() uint64) {
		auth := service(tb, store, &tokenauth.CacheOptions{MaxEntries: max})
		return auth, func() uint64 { return auth.CacheStats().Misses }
	}
	names, makers, unbounded := []string{"this project"}, []maker{ours}, make(map[string]bool)
	for _, s := range structures {
		names, makers = append(names, s.name), append(makers, func(max int) (validator, func() uint64) {
			f := &front{structure: s.make(max), store: store}
			return f, f.loads.Load
		})
		unbounded[s.name] = !s.bounded
	}

	rows := make(map[string][]string)
	var full, tenth []operation
	hits := make(map[string]func() float64)
	before := weigh(p.rounds / 2)
	for i, name := range names {
		v, _ := makers[i](2 * size)
		if err := validateAll(v, cards); err != nil {
			tb.Fatal(name, ": ", err)
		}
		after := weigh(p.rounds / 2)
		w := after.minus(before)
		before = after
		rows[name] = []string{decimal(w.bytes/float64(size), 0), decimal(w.marking, 1)}
		if name == nothing {
			rows[name] = []string{"", ""}
		}
		full = append(full, operation{name: name, run: func(a amount) error { return validate(v, cards, walk, a) }})
	}
	for i, name := range names {
		if unbounded[name] {
			continue
		}
		v, loads := makers[i](size / 10)
		var asked atomic.Uint64
		hits[name] = func() float64 { return 1 - float64(loads())/float64(asked.Load()) }
		tenth = append(tenth, operation{name: name, run: func(a amount) error {
			asked.Add(uint64(a.total))
			return validate(v, cards, zipf, a)
		}})
	}

	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	p.before = sparingly(1 << 30)
	allCached, err := p.compare(full...)
	if err != nil {
		tb.Fatal(err)
	}
	for _, o := range tenth { // fill each cache with the popular tokens
		if err := o.run(amount{total: 2 * size}); err != nil {
			tb.Fatal(err)
		}
	}
	partly, err := p.compare(tenth...)
	if err != nil {
		tb.Fatal(err)
	}
	by := named(partly)
	for _, f := range allCached {
		row := append([]string{f.name}, nanoseconds(f)...)
		if g, ok := by[f.name]; ok {
			row = append(row, decimal(g.median(), 0), decimal(100*hits[f.name](), 1)+" %")
		} else {
			row = append(row, "–", "–")
		}
		t.add(append(row, rows[f.name]...)...)
	}
	r.table(t)
	runtime.KeepAlive(store)
}

// inOrder and byPopularity return functions that choose the token for the i-th
// validation, and return that token's index in the deck.

func inOrder(size int) func(i int) int { return func(i int) int { return i % size } }

func byPopularity(size int) func(i int) int {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 1, uint64(size-1))
	order := make([]uint32, 1<<20)
	for i := range order {
		order[i] = uint32(zipf.Uint64())
	}
	return func(i int) int { return int(order[i%len(order)]) }
}

func validateAll(v validator, cards deck) error {
	for i := range cards.len() {
		if _, err := v.Validate(context.Background(), cards.accessToken(i)); err != nil {
			return err
		}
	}
	return nil
}

func validate(v validator, cards deck, which func(i int) int, a amount) error {
	ctx := context.Background()
	offset := rand.IntN(cards.len())
	return spread(cores(), a, 64, func(int) func(int) error {
		return func(i int) error {
			_, err := v.Validate(ctx, cards.accessToken(which(offset+i)))
			return err
		}
	})
}
