package main

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A store is one of the storages that the quickstart's flag -store can select.
type store struct {
	name  string
	short string                     // used in the names of ratios
	make  func(tb testing.TB) string // creates an empty store and returns the flag's value
}

const memoryStore = "memory"

func stores() []store {
	all := []store{{"memory", memoryStore, func(testing.TB) string { return "memory:" }}}
	for _, d := range []database{sqlite, postgresql, mariaDB} {
		all = append(all, store{d.name, d.short, func(tb testing.TB) string { return d.store(d.make(tb)) }})
	}
	return append(all, store{"Redis", "redis", throwaway.Redis})
}

// storesOverHTTP measures the unchanged quickstart on each store. Each server and
// each load generator is a separate process.
func storesOverHTTP(tb testing.TB, p plan, r *report) {
	storesOn(tb, p, r, stores(), []int{1, 32, 128, 400})
}

func storesOn(tb testing.TB, p plan, r *report, stores []store, connections []int) {
	binary := buildQuickstart(tb)
	servers := make(map[string]serving)
	for _, s := range stores {
		if err := throwaway.Outside(tb.Context(), func(inner testing.TB) { s.make(inner) }); errors.Is(err, throwaway.ErrMissing) {
			r.skip("the quickstart on "+s.name, err)
			continue
		}
		var server serving
		startChild(tb, &server, "quickstart", binary, s.make(tb))
		servers[s.short] = server
	}
	stores = slices.DeleteFunc(slices.Clone(stores), func(s store) bool { return servers[s.short].Address == "" })
	failed := make(map[string]int)
	for _, n := range connections {
		slice := 250 * time.Millisecond
		if p.short {
			slice = 60 * time.Millisecond
		} else if n == 1 {
			slice = 100 * time.Millisecond
		}
		results := loadStores(tb, p.of(slice, 1), r, stores, servers, n)
		for i, s := range stores {
			failed[s.short] += results[i].notOK()
		}
	}
	for _, s := range stores {
		r.ratio("http_me_"+s.short+"_not_200", float64(failed[s.short]))
	}
}

// loadStores measures the servers in turn, with the given number of connections to
// each.
func loadStores(tb testing.TB, p plan, r *report, stores []store, servers map[string]serving, connections int) []loadResult {
	results := make([]loadResult, len(stores))
	var counting bool
	p.before = func() { counting = true } // first called after the warm-up, whose responses are not counted
	var operations []operation
	var loads []*process
	for _, s := range stores {
		l := startChild(tb, &struct{}{}, "load")
		defer l.stop()
		if err := l.send(loadTarget{servers[s.short], connections}); err != nil {
			tb.Fatal(err)
		}
		loads = append(loads, l)
		run := func(a amount) error {
			var done struct{}
			return errors.Join(l.send(loadOrder{Total: a.total, Each: a.each, Count: counting}), l.receive(&done))
		}
		operations = append(operations, operation{s.name, run, 2 * connections})
	}
	figures, err := p.compare(operations...)
	if err != nil {
		tb.Fatal(err)
	}
	title := fmt.Sprintf("The quickstart over HTTP, on each store, %d connections", connections)
	if connections == 1 {
		title = "The quickstart over HTTP, on each store, 1 connection"
	}
	t := &table{
		title: title,
		about: fmt.Sprintf("Requests per second to /me with one valid token, without the cache, on the pool as gorm.Open leaves it; over loopback, with keep-alive, one request at a time on each connection. "+
			"The server and the load generator are processes on the same %d cores. Responses are counted by status. Median and spread of %d rounds.",
			cores(), p.rounds),
		head: []string{"", "requests/s", "min–max", "to memory", "p50, ms", "p99, ms", "answers"},
	}
	for i, s := range stores {
		if err := errors.Join(loads[i].send(loadOrder{}), loads[i].receive(&results[i])); err != nil {
			tb.Fatal(err)
		}
		res := results[i]
		toMemory := figures[0].over(figures[i])
		t.add(slices.Concat([]string{s.name}, rates(figures[i]), []string{times(toMemory), decimal(res.P50, 3), decimal(res.P99, 3), res.answers()})...)
		name := "http_me_" + s.short
		if i > 0 {
			r.ratio(fmt.Sprintf("%s_vs_%s_%d", name, memoryStore, connections), toMemory)
		}
		if connections == 1 {
			r.ratio(fmt.Sprintf("%s_p50_ms_%d", name, connections), res.P50)
		} else {
			r.ratio(fmt.Sprintf("%s_p99_ms_%d", name, connections), res.P99)
		}
	}
	r.table(t)
	return results
}

// buildQuickstart builds anystore, the quickstart with all storages. It builds
// anystore in the library's module, with the dependencies that the library's go.mod
// requires.
func buildQuickstart(tb testing.TB) string {
	program := filepath.Join(tb.TempDir(), "quickstart")
	build := exec.CommandContext(tb.Context(), "go", "build", "-o", program, "./examples/quickstart/anystore")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("building ../../examples/quickstart/anystore: %v\n%s", err, out)
	}
	return program
}
