package main

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A series is a line in a plot.
type series struct {
	name string
	x, y []float64
}

var sizes = []int{1_000, 10_000, 100_000, 1_000_000}

// growth measures how the time of a validation grows with the number of tokens.
func growth(tb testing.TB, p plan, r *report) {
	p = p.of(20*time.Millisecond, p.cycles)
	// A garbage collection scans the tokens of all operations, but would slow down
	// only the operation that runs at that time. So no collection runs during a
	// slice. memoryAndCollections measures the cost of collections.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	p.before = sparingly(1 << 30)

	bareEngine := engine(nil, userID)
	operations := []operation{{name: "bare", run: func(a amount) error { return serveDeck(bareEngine, deck{scheme + "none", len(scheme + "none")}, a) }}}
	for _, size := range sizes {
		store := new(memory.Store)
		auth := service(tb, store, nil)
		cards := deal(tb, auth, size)
		withCache := service(tb, store, &tokenauth.CacheOptions{MaxEntries: size})
		warm(tb, withCache, cards)
		for _, s := range []*tokenauth.Service{auth, withCache} {
			e := engine(ginadapter.RequireBearer(s), userID)
			operations = append(operations, operation{name: fmt.Sprint(size), run: func(a amount) error { return serveDeck(e, cards, a) }})
		}
	}
	runtime.GC()
	figures, err := p.compare(operations...)
	if err != nil {
		tb.Fatal(err)
	}
	t := &table{
		title: "Validation with many tokens",
		about: fmt.Sprintf("Whole requests inside Gin on %d cores, each with another token, in random order; ns per request, without garbage collections; "+
			"median and spread of %d rounds. Bare Gin takes %s ns of each request.", cores(), p.rounds, decimal(figures[0].median(), 0)),
		head: []string{"tokens", "cached, ns", "min–max", "strict on memory, ns", "min–max"},
	}
	cachedLine, strictLine := series{name: "cached"}, series{name: "strict on memory"}
	for i, size := range sizes {
		strict, cached := figures[1+2*i], figures[2+2*i]
		t.add(append(append([]string{decimal(float64(size), 0)}, nanoseconds(cached)...), nanoseconds(strict)...)...)
		cachedLine.x, cachedLine.y = append(cachedLine.x, float64(size)), append(cachedLine.y, cached.median())
		strictLine.x, strictLine.y = append(strictLine.x, float64(size)), append(strictLine.y, strict.median())
	}
	r.table(t)
	r.growth = append(r.growth, cachedLine, strictLine)
	last := len(figures) - 1
	r.ratio("growth_1e3_to_1e6", figures[last].over(figures[2]))
	r.ratio("growth_1e3_to_1e6_strict_memory", figures[last-1].over(figures[1]))
}

// serveDeck sends requests to a handler, each with the next token of the deck.
func serveDeck(h http.Handler, cards deck, a amount) error {
	return spread(cores(), a, 64, func(g int) func(int) error {
		w := &blank{header: make(http.Header)}
		template, r := request(), new(http.Request)
		value := []string{""}
		template.Header["Authorization"] = value
		start := g * cards.len() / cores()
		return func(i int) error {
			value[0] = cards.header((start + i) % cards.len())
			*r = *template
			w.status = 0
			h.ServeHTTP(w, r)
			if w.status != 0 && w.status != http.StatusNoContent {
				return fmt.Errorf("a request with a valid token got status %d, want 204", w.status)
			}
			return nil
		}
	})
}

// warm validates each token once, which fills the cache.
func warm(tb testing.TB, auth *tokenauth.Service, cards deck) {
	for i := range cards.len() {
		if _, err := auth.Validate(tb.Context(), cards.accessToken(i)); err != nil {
			tb.Fatal(err)
		}
	}
}

// sparingly returns a function for plan.before, for use while automatic garbage
// collection is off. The function collects garbage only if the program has
// allocated more than limit bytes since it last did so.
func sparingly(limit uint64) func() {
	var last uint64
	return func() {
		if allocated := read("/gc/heap/allocs:bytes").Uint64(); allocated-last > limit {
			runtime.GC()
			last = allocated
		}
	}
}

// memoryAndCollections measures the memory of the cache, and the time that the cache
// adds to a garbage collection. It compares both with the same figures for a
// map of pointers.
func memoryAndCollections(tb testing.TB, p plan, r *report) {
	const size = 1_000_000
	store := new(ledger)
	cards := deal(tb, service(tb, store, nil), size)

	t := &table{
		title: "Memory and garbage collection at 1,000,000 tokens",
		about: "Bytes of heap per token, and the additional time of one garbage collection: marking time of all cores, and time until runtime.GC returns. Medians.",
		head:  []string{"", "tokens", "bytes/token", "marking, ms", "runtime.GC, ms"},
	}
	without := weigh(p.rounds / 2)
	t.add("without", "0", "", decimal(without.marking, 1), decimal(without.collection, 1))

	auth := service(tb, store, &tokenauth.CacheOptions{MaxEntries: size})
	warm(tb, auth, cards)
	kept := auth.CacheStats().Entries
	cache := weigh(p.rounds / 2).minus(without)
	perToken := cache.bytes / float64(kept)
	t.add("this project's cache", decimal(float64(kept), 0), decimal(perToken, 0), decimal(cache.marking, 1), decimal(cache.collection, 1))
	runtime.KeepAlive(auth)

	base := weigh(p.rounds / 2)
	naive := make(map[string]*tokenauth.Token)
	for i := range size {
		t, err := auth.Validate(tb.Context(), cards.accessToken(i))
		if err != nil {
			tb.Fatal(err)
		}
		t.Principal.UserID, t.Principal.UserName, t.Principal.Stamp = strings.Clone(t.Principal.UserID), strings.Clone(t.Principal.UserName), strings.Clone(t.Principal.Stamp)
		naive[strings.Clone(cards.accessToken(i))] = &t
	}
	pointers := weigh(p.rounds / 2).minus(base)
	t.add("map[string]*Token", decimal(size, 0), decimal(pointers.bytes/size, 0), decimal(pointers.marking, 1), decimal(pointers.collection, 1))
	runtime.KeepAlive(naive)
	runtime.KeepAlive(store)
	r.table(t)

	r.ratio("bytes_per_cached_token", perToken)
	r.ratio("gc_ms_1e6_cached", cache.marking)
	r.ratio("gc_ms_1e6_naive", pointers.marking)
}

// A weight is the size of the heap, and how long a garbage collection takes.
type weight struct {
	bytes, marking, collection float64 // marking and collection are in milliseconds
}

func (w weight) minus(v weight) weight {
	return weight{w.bytes - v.bytes, w.marking - v.marking, w.collection - v.collection}
}

// weigh returns the size of the heap, and the median times of the given number of
// garbage collections.
func weigh(collections int) weight {
	runtime.GC()
	runtime.GC() // frees objects in pools and with finalizers, which survive the first collection
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var marking, collection []float64
	for range collections {
		before, began := markTime(), time.Now()
		runtime.GC()
		collection = append(collection, float64(time.Since(began))/1e6)
		marking = append(marking, 1e3*(markTime()-before))
	}
	return weight{float64(m.HeapAlloc), median(marking), median(collection)}
}

// markTime returns how much CPU time garbage collections have spent on marking
// since the start of the program, in seconds.
func markTime() float64 {
	return read("/cpu/classes/gc/mark/assist:cpu-seconds").Float64() +
		read("/cpu/classes/gc/mark/dedicated:cpu-seconds").Float64() +
		read("/cpu/classes/gc/mark/idle:cpu-seconds").Float64()
}

func read(metric string) metrics.Value {
	sample := []metrics.Sample{{Name: metric}}
	metrics.Read(sample)
	return sample[0].Value
}
