package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An operation is something that a comparison measures. The function run does the
// operation the given number of times, on one or more goroutines, and returns when
// the goroutines have ended.
type operation struct {
	name  string
	run   func(amount) error
	least int // minimum number of operations in a time slice, which lasts longer if necessary; 0 means 1
}

// An amount is the number of times that an operation is done.
type amount struct {
	total int
	// each is the minimum for every goroutine. Goroutines that reach the minimum
	// continue until the slowest goroutine has reached it, even if the sum then
	// exceeds total. 0 means no minimum.
	each int
}

// warmUp is how often an operation is done before it is timed. All goroutines
// run at the same time, which opens all connections and prepares all statements.
// Each goroutine needs more than five operations, because PostgreSQL plans the first
// five executions of a statement on a connection differently.
var warmUp = amount{total: 2000, each: 16}

// A plan defines how long a comparison takes. In each cycle, every operation runs
// for one short time slice, since the speed of a machine varies from second to
// second. A round adds up the times of its cycles.
type plan struct {
	rounds int // an odd number, so that the median is the result of one round
	cycles int // number of cycles in a round
	slice  time.Duration
	before func() // called before each slice unless nil
	short  bool   // also shortens measurements that have no rounds
}

// of returns a copy of the plan with the given slice length and number of cycles.
func (p plan) of(slice time.Duration, cycles int) plan {
	p.slice, p.cycles = slice, cycles
	return p
}

// A figure is the time of one operation, in nanoseconds, in each round.
type figure struct {
	name   string
	rounds []float64
}

func (f figure) median() float64 { return median(f.rounds) }

// perSecond returns the number of operations per second.
func (f figure) perSecond() float64 { return 1e9 / f.median() }

// over divides the time of f by the time of g. It does so for each round, since the
// speed of the machine differs between rounds, and returns the median quotient.
func (f figure) over(g figure) float64 {
	ratios := make([]float64, len(f.rounds))
	for i := range ratios {
		ratios[i] = f.rounds[i] / g.rounds[i]
	}
	return median(ratios)
}

// named returns a map from the name of each figure to the figure.
func named(figures []figure) map[string]figure {
	by := make(map[string]figure)
	for _, f := range figures {
		by[f.name] = f
	}
	return by
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// compare runs the operations in turn, and returns their figures in the same order.
func (p plan) compare(operations ...operation) ([]figure, error) {
	figures := make([]figure, len(operations))
	counts := make([]int, len(operations))
	for i, o := range operations {
		figures[i] = figure{name: o.name, rounds: make([]float64, p.rounds)}
		if err := o.run(warmUp); err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		n, err := p.calibrate(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		counts[i] = n
	}
	for round := range p.rounds {
		for cycle := range p.cycles {
			for turn := range operations {
				// The order changes, so that no operation always follows the
				// same other operation.
				i := (turn + cycle + round) % len(operations)
				if p.before != nil {
					p.before()
				}
				began := time.Now()
				if err := operations[i].run(amount{total: counts[i]}); err != nil {
					return nil, fmt.Errorf("%s: %w", operations[i].name, err)
				}
				figures[i].rounds[round] += float64(time.Since(began)) / float64(counts[i]*p.cycles)
			}
		}
	}
	return figures, nil
}

// calibrate returns how many times the operation can be done in a time slice. It
// requires two successive runs that last long enough, because the machine may have
// paused during one of them.
func (p plan) calibrate(o operation) (int, error) {
	long := 0 // number of successive runs that took at least half a slice
	for n := max(16, o.least); ; {
		began := time.Now()
		if err := o.run(amount{total: n}); err != nil {
			return 0, err
		}
		took := time.Since(began)
		if took < p.slice/2 {
			long = 0
			n = max(2*n, min(100*n, int(float64(n)*0.7*float64(p.slice)/float64(took+1))))
			continue
		}
		n = max(1, o.least, int(float64(n)*float64(p.slice)/float64(took)))
		if long++; long == 2 {
			return n, nil
		}
	}
}

// collect is a function for plan.before. It frees the memory that the preceding
// operation no longer uses.
func collect() { runtime.GC() }

// spread does an operation on several goroutines. The repetitions are numbered, and
// the goroutines take the numbers in batches. Each goroutine calls worker once, and
// then calls the function that worker returned with each of its numbers.
func spread(goroutines int, a amount, batch int, worker func(goroutine int) func(i int) error) error {
	var (
		next    atomic.Int64
		behind  atomic.Int64 // number of goroutines that have done fewer than a.each operations
		stopped atomic.Bool
		wg      sync.WaitGroup
		once    sync.Once
		failed  error
	)
	if a.each > 0 {
		behind.Store(int64(goroutines))
	}
	for g := range goroutines {
		wg.Go(func() {
			do := worker(g)
			for done := 0; !stopped.Load(); {
				end := int(next.Add(int64(batch)))
				i := end - batch
				if behind.Load() == 0 {
					end = min(end, a.total)
				}
				if i >= end {
					return
				}
				for ; i < end; i++ {
					if err := do(i); err != nil {
						once.Do(func() { failed = err })
						stopped.Store(true)
						return
					}
				}
				if done < a.each && done+batch >= a.each {
					behind.Add(-1)
				}
				done += batch
			}
		})
	}
	wg.Wait()
	return failed
}

// garbage returns how many objects and bytes an operation allocates.
func garbage(o operation) (objects, bytes float64, err error) {
	const n = 4000
	if err := o.run(amount{total: n}); err != nil { // makes the allocations that are needed only once
		return 0, 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = o.run(amount{total: n})
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n, float64(after.TotalAlloc-before.TotalAlloc) / n, err
}
