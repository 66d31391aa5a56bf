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

// An operation is one of several that are compared. Its run does the operation
// n times, on as many goroutines as it likes, and returns when all are done.
type operation struct {
	name string
	run  func(n int) error
}

// A plan says how long to compare. A machine has faster and slower seconds, so
// in each cycle every operation has a turn of one slice, and what is compared
// are the sums over the cycles of a round.
type plan struct {
	rounds int // an odd number, so that the median is one of them
	cycles int // in a round
	slice  time.Duration
	before func() // each slice; nil for nothing
	short  bool   // also what is not done in rounds
}

// of returns the plan with other slices and cycles.
func (p plan) of(slice time.Duration, cycles int) plan {
	p.slice, p.cycles = slice, cycles
	return p
}

// A figure is what one operation took, in nanoseconds, in each round.
type figure struct {
	name   string
	rounds []float64
}

func (f figure) median() float64 { return median(f.rounds) }

// perSecond returns how many operations there were in a second.
func (f figure) perSecond() float64 { return 1e9 / f.median() }

// over returns how many times as long as g the operation took: the median of
// the rounds' ratios, since the two shared each round's luck.
func (f figure) over(g figure) float64 {
	ratios := make([]float64, len(f.rounds))
	for i := range ratios {
		ratios[i] = f.rounds[i] / g.rounds[i]
	}
	return median(ratios)
}

// named finds figures by their names.
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

// compare runs the operations in turns. The figures are in the same order.
func (p plan) compare(operations ...operation) ([]figure, error) {
	figures := make([]figure, len(operations))
	counts := make([]int, len(operations))
	for i, o := range operations {
		figures[i] = figure{name: o.name, rounds: make([]float64, p.rounds)}
		n, err := p.calibrate(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.name, err)
		}
		counts[i] = n
	}
	for round := range p.rounds {
		for cycle := range p.cycles {
			for turn := range operations {
				// Nobody always comes behind the same one.
				i := (turn + cycle + round) % len(operations)
				if p.before != nil {
					p.before()
				}
				began := time.Now()
				if err := operations[i].run(counts[i]); err != nil {
					return nil, fmt.Errorf("%s: %w", operations[i].name, err)
				}
				figures[i].rounds[round] += float64(time.Since(began)) / float64(counts[i]*p.cycles)
			}
		}
	}
	return figures, nil
}

// calibrate returns how often the operation can be done in a slice.
func (p plan) calibrate(o operation) (int, error) {
	for n := 16; ; {
		began := time.Now()
		if err := o.run(n); err != nil {
			return 0, err
		}
		took := time.Since(began)
		if took >= p.slice/2 {
			return max(1, int(float64(n)*float64(p.slice)/float64(took))), nil
		}
		n = max(2*n, min(100*n, int(float64(n)*0.7*float64(p.slice)/float64(took+1))))
	}
}

// collect is for plan.before: nobody begins with the garbage of another.
func collect() { runtime.GC() }

// spread does n operations on some goroutines, which take them in batches. It
// calls worker once on each of them, for what does one operation.
func spread(goroutines, n, batch int, worker func(goroutine int) func(i int) error) error {
	var (
		next   atomic.Int64
		wg     sync.WaitGroup
		once   sync.Once
		failed error
	)
	for g := range goroutines {
		wg.Go(func() {
			do := worker(g)
			for {
				end := int(next.Add(int64(batch)))
				for i := end - batch; i < min(end, n); i++ {
					if err := do(i); err != nil {
						once.Do(func() { failed = err })
						next.Add(int64(n)) // nobody takes another batch
						return
					}
				}
				if end >= n {
					return
				}
			}
		})
	}
	wg.Wait()
	return failed
}

// garbage returns how many objects, and how many bytes, an operation leaves on
// the heap.
func garbage(o operation) (objects, bytes float64, err error) {
	const n = 4000
	if err := o.run(n); err != nil { // what is only allocated once
		return 0, 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = o.run(n)
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / n, float64(after.TotalAlloc-before.TotalAlloc) / n, err
}
