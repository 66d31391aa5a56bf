package main

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"
)

// validation measures requests in this process, without a network. The Gin engine
// writes to a ResponseWriter that discards the response. The handler behind the
// guard answers 204.
func validation(tb testing.TB, p plan, r *report) {
	validationFor(tb, p, r, 20*time.Millisecond)
}

func validationFor(tb testing.TB, p plan, r *report, slice time.Duration) {
	p = p.of(slice, p.cycles)
	p.before = collect
	users := users(64)
	all := make(map[string]contestant)
	var names []string
	for _, m := range contestants {
		c := m.make(tb, m.name, users)
		if err := c.check(users); err != nil {
			tb.Fatal(err)
		}
		all[m.name] = c
		names = append(names, m.name)
	}

	figures := serveAll(tb, p, all, names)
	by := named(figures)
	bare, ours := by[bareName], by[oursName]
	floor := by[floorNames[0]]
	if other := by[floorNames[1]]; other.median() < floor.median() {
		floor = other
	}
	t := &table{
		title: "Validation inside Gin, in process",
		about: fmt.Sprintf("Whole requests on %d cores, %d users, ns per request: median and spread of %d rounds. "+
			"Net is the time beyond that of bare Gin. The faster ideal floor is the %s.",
			cores(), len(users), p.rounds, floor.name),
		head: []string{"", "ns", "min–max", "net ns", "to ours", "allocs", "bytes"},
	}
	for _, f := range figures {
		objects, bytes, err := garbage(all[f.name].serve(1))
		if err != nil {
			tb.Fatal(err)
		}
		if f.name == oursName {
			r.ratio("cached_allocs", math.Round(objects))
		}
		t.add(append(append([]string{f.name}, nanoseconds(f)...),
			decimal(f.median()-bare.median(), 0), times(f.over(ours)), decimal(objects, 0), decimal(bytes, 0))...)
	}
	r.table(t)
	r.costs = figures
	r.ratio("cached_vs_gin_jwt", by[ginJWTName].over(ours))
	r.ratio("cached_vs_golang_jwt_hs256", by[golangJWTName].over(ours))
	r.ratio("cached_vs_golang_jwt_eddsa", by["golang-jwt EdDSA"].over(ours))
	r.ratio("cached_vs_floor", ours.over(floor))

	besideHeap(tb, p, r, all, floor.name)
	scaling(tb, p, r, all)
}

// serveAll compares the named contestants on all cores.
func serveAll(tb testing.TB, p plan, all map[string]contestant, names []string) []figure {
	var operations []operation
	for _, name := range names {
		operations = append(operations, all[name].serve(cores()))
	}
	figures, err := p.compare(operations...)
	if err != nil {
		tb.Fatal(err)
	}
	return figures
}

// besideHeap measures again with a larger heap, so that the garbage collector
// runs less often. With this program's small heap, the collector runs
// about once in a thousand requests if the requests allocate much memory. Each
// collection scans the data of all contestants.
func besideHeap(tb testing.TB, p plan, r *report, all map[string]contestant, floorName string) {
	const size = 64 << 20
	heap := make([]byte, size)
	defer runtime.KeepAlive(heap)
	t := &table{
		title: "The same with 64 MB more heap",
		about: "As above, with 64 MB more heap, so that the garbage collector runs as rarely as in a larger service. " +
			"Garbage costs less here in every row.",
		head: []string{"", "ns", "min–max", "to ours"},
	}
	figures := serveAll(tb, p, all, []string{bareName, floorName, oursName, ginJWTName, golangJWTName})
	by := named(figures)
	for _, f := range figures {
		t.add(append(append([]string{f.name}, nanoseconds(f)...), times(f.over(by[oursName])))...)
	}
	r.table(t)
	r.ratio("cached_vs_gin_jwt_64mb_heap", by[ginJWTName].over(by[oursName]))
	r.ratio("cached_vs_golang_jwt_hs256_64mb_heap", by[golangJWTName].over(by[oursName]))
	r.ratio("cached_vs_floor_64mb_heap", by[oursName].over(by[floorName]))
}

// scaling measures how the throughput grows with the number of cores.
func scaling(tb testing.TB, p plan, r *report, all map[string]contestant) {
	steps := []int{1}
	for n := 2; n < cores(); n *= 2 {
		steps = append(steps, n)
	}
	if cores() > 1 {
		steps = append(steps, cores())
	}
	t := &table{
		title: "Throughput by cores",
		about: fmt.Sprintf("Requests per second inside Gin, with one goroutine for each core (GOMAXPROCS): median of %d rounds.", p.rounds),
		head:  []string{""},
	}
	for _, n := range steps {
		t.head = append(t.head, fmt.Sprint(n))
	}
	t.head = append(t.head, "most to 1")

	var operations []operation
	for _, name := range []string{bareName, oursName, strictName, ginJWTName} {
		for _, n := range steps {
			serve := all[name].serve(n)
			operations = append(operations, operation{name: name, run: func(requests amount) error {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
				return serve.run(requests)
			}})
		}
	}
	figures, err := p.compare(operations...)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(figures); i += len(steps) {
		row := []string{figures[i].name}
		for _, f := range figures[i : i+len(steps)] {
			row = append(row, decimal(f.perSecond(), 0))
		}
		gain := figures[i].over(figures[i+len(steps)-1])
		t.add(append(row, times(gain))...)
		if figures[i].name == oursName {
			r.ratio("cached_all_cores_vs_1", gain)
		}
	}
	r.table(t)
}
