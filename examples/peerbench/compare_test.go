package main

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// These tests run in a synctest bubble, where time is exact.

func TestCompareTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns []string
		sleep := func(name string, d time.Duration) operation {
			return operation{name: name, run: func(a amount) error {
				turns = append(turns, name)
				time.Sleep(time.Duration(a.total) * d)
				return nil
			}}
		}
		figures, err := plan{rounds: 3, cycles: 2, slice: 10 * time.Millisecond}.compare(sleep("a", 100*time.Microsecond), sleep("b", 400*time.Microsecond))
		if err != nil {
			t.Fatal(err)
		}
		// After the calibration, each operation is sometimes first.
		if got, want := strings.Join(turns, ""), "abba"+"baab"+"abba"; !strings.HasSuffix(got, want) {
			t.Errorf("got turns %s, want …%s", got, want)
		}
		if ratio := figures[1].over(figures[0]); ratio != 4 {
			t.Errorf("b over a is %v, want 4", ratio)
		}
	})
}

// The first calls of each goroutine are slow: they open a connection and prepare
// a statement. compare must not time them or calibrate with them.
func TestCompareWarmsUpEveryGoroutine(t *testing.T) {
	const (
		goroutines = 256
		first      = 5 // calls that are slow
		fast       = 10 * time.Millisecond
		slice      = 200 * time.Millisecond
	)
	for name, slow := range map[string]func(goroutine int) time.Duration{
		"all goroutines": func(int) time.Duration { return 500 * time.Millisecond },
		// Without amount.each, the others would finish the warm-up first.
		"one goroutine": func(g int) time.Duration {
			if g == goroutines-1 {
				return 2 * time.Second
			}
			return fast
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls [goroutines]int
				var timed bool
				var slowCalls, timedCalls atomic.Int64
				p := plan{rounds: 3, cycles: 2, slice: slice, before: func() { timed = true }}
				figures, err := p.compare(operation{name: "connects first", run: func(a amount) error {
					return spread(goroutines, a, 1, func(g int) func(int) error {
						return func(int) error {
							if timed {
								timedCalls.Add(1)
							}
							if calls[g]++; calls[g] > first {
								time.Sleep(fast)
								return nil
							}
							if timed {
								slowCalls.Add(1)
							}
							time.Sleep(slow(g))
							return nil
						}
					})
				}})
				if err != nil {
					t.Fatal(err)
				}
				if n := slowCalls.Load(); n > 0 {
					t.Errorf("%d slow first calls were timed, want 0", n)
				}
				const inSlice = goroutines * int64(slice/fast)
				if n := timedCalls.Load() / 6; n < inSlice/2 || n > 2*inSlice {
					t.Errorf("a slice had %d calls, want about %d", n, inSlice)
				}
				const want = float64(fast) / goroutines
				if got := figures[0].median(); got < 0.9*want || got > 1.1*want {
					t.Errorf("an operation took %v ns, want about %v", got, want)
				}
			})
		})
	}
}

// A pause of the machine in the first run does not shorten the slices.
func TestCalibrateIgnoresOnePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		paused := false
		n, err := plan{slice: 100 * time.Millisecond}.calibrate(operation{name: "paused once", run: func(a amount) error {
			if !paused {
				paused = true
				time.Sleep(60 * time.Millisecond)
			}
			time.Sleep(time.Duration(a.total) * 10 * time.Microsecond)
			return nil
		}})
		if err != nil || n < 9_000 || n > 11_000 {
			t.Errorf("calibrate returned %d calls, error %v, want about 10,000", n, err)
		}
	})
}

// A slice has calls for all goroutines, even if the calls take longer than it.
func TestSlicesHaveWorkForEveryGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const goroutines = 64
		slow := concurrently("slow", goroutines, func(int) error {
			time.Sleep(time.Second)
			return nil
		})
		figures, err := plan{rounds: 1, cycles: 1, slice: 100 * time.Millisecond}.compare(slow)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := figures[0].median(), float64(time.Second)/goroutines; got != want {
			t.Errorf("an operation took %v ns, want %v", got, want)
		}
	})
}

func TestSpread(t *testing.T) {
	for _, a := range []amount{{total: 1}, {total: 1000}, {total: 1000, each: 30}, {total: 1, each: 30}} {
		var all atomic.Int64
		var calls [20]int
		if err := spread(len(calls), a, 8, func(g int) func(int) error {
			return func(int) error {
				all.Add(1)
				calls[g]++
				return nil
			}
		}); err != nil {
			t.Fatal(err)
		}
		if n := all.Load(); n < int64(a.total) || a.each == 0 && n != int64(a.total) {
			t.Errorf("%+v: spread made %d calls", a, n)
		}
		for g, n := range calls {
			if n < a.each {
				t.Errorf("%+v: goroutine %d made %d calls, want at least %d", a, g, n, a.each)
			}
		}
	}
}

// If a goroutine fails, the others do not wait for its share of calls.
func TestSpreadEndsWithFirstError(t *testing.T) {
	failure := errors.New("no connection")
	err := spread(4, amount{total: 1000, each: 100}, 1, func(g int) func(int) error {
		return func(int) error {
			if g == 3 {
				return failure
			}
			return nil
		}
	})
	if err != failure {
		t.Errorf("got %v, want %v", err, failure)
	}
}
