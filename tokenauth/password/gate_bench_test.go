package password

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// A loadTest is a service with one user, whose password has the maximum length,
// and a valid token of that user.
type loadTest struct {
	auth        *tokenauth.Service
	stored      *counted
	credentials tokenauth.Credentials
	accessToken string
	idle        int64 // bytes
}

func newLoadTest(b *testing.B, hashing int) *loadTest {
	b.Helper()
	l := &loadTest{credentials: tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(strings.Repeat("x", wire.MaxPassword))}}
	hash, err := Hash(l.credentials.Password.Reveal())
	if err != nil {
		b.Fatal(err)
	}
	v, _ := parse(hash)
	l.stored = &counted{verifier: v}
	users, err := New(table{"alice": {UserID: "1", UserName: "alice"}}.lookup, &Options{
		MaxHashing: hashing,
		Logger:     slog.New(slog.DiscardHandler),
		Formats:    []format{func(string) func(string) bool { return func(p string) bool { return is(l.stored, p) } }},
	})
	if err != nil {
		b.Fatal(err)
	}
	if l.auth, err = tokenauth.New(new(memory.Store), users, nil); err != nil {
		b.Fatal(err)
	}
	grant, err := l.auth.Issue(b.Context(), tokenauth.Principal{UserID: "2"}, nil)
	if err != nil {
		b.Fatal(err)
	}
	l.accessToken = grant.AccessToken.Reveal()
	debug.FreeOSMemory()
	l.idle = inUse()
	return l
}

func (l *loadTest) signIn(b *testing.B) (busy bool) {
	_, err := l.auth.SignIn(b.Context(), l.credentials)
	if err != nil && !errors.Is(err, errBusy) {
		b.Error(err)
	}
	return err != nil
}

// grownMiB returns by how much the memory in use grew, in MiB: the maximum
// after any hash, less the amount at the beginning.
func (l *loadTest) grownMiB() float64 { return float64(l.stored.memory.Load()-l.idle) / (1 << 20) }

// validate first validates a token each millisecond for the duration d, then
// without pause for as long. It returns the latency of each validation of the
// first part, from the time it was due, and the number of validations of the
// second.
func (l *loadTest) validate(b *testing.B, d time.Duration) (late []time.Duration, turns int) {
	end := time.Now().Add(d)
	check := func() {
		if _, err := l.auth.Validate(context.Background(), l.accessToken); err != nil {
			b.Error(err)
		}
	}
	for due := time.Now(); due.Before(end); due = due.Add(time.Millisecond) {
		time.Sleep(time.Until(due))
		check()
		late = append(late, time.Since(due))
	}
	for end := time.Now().Add(d); time.Now().Before(end); turns++ {
		check()
	}
	return late, turns
}

func percentile(all []time.Duration, p int) time.Duration {
	slices.Sort(all)
	return all[(len(all)-1)*p/100]
}

// A comparison measures validations while the service is idle and while it is
// busy, in alternating rounds. Other programs on the machine can only make a
// round slower, so it uses the best quarter of the rounds.
type comparison struct {
	idle, busy []time.Duration // the p99 of each round
	turns      []float64
}

func (c *comparison) add(idle []time.Duration, idleTurns int, busy []time.Duration, busyTurns int) {
	c.idle, c.busy = append(c.idle, percentile(idle, 99)), append(c.busy, percentile(busy, 99))
	c.turns = append(c.turns, float64(busyTurns)/float64(idleTurns))
}

func (c *comparison) report(b *testing.B) {
	idle, busy := percentile(c.idle, 25), percentile(c.busy, 25)
	b.ReportMetric(float64(idle.Microseconds()), "p99-idle-µs")
	b.ReportMetric(float64(busy.Microseconds()), "p99-busy-µs")
	b.ReportMetric(float64(busy)/float64(idle), "p99-busy/idle")
	slices.Sort(c.turns)
	b.ReportMetric(c.turns[len(c.turns)/2], "turns")
}

// BenchmarkGate measures how much concurrent hashing slows down validations.
//
//	go test -run '^$' -bench Gate -benchtime 40x ./tokenauth/password
//
// The p99 is that of one validation each millisecond. "turns" is the throughput
// of a goroutine that only validates, as a share of its throughput when idle.
func BenchmarkGate(b *testing.B) {
	for hashing := 1; hashing <= max(2, runtime.GOMAXPROCS(0)); hashing *= 2 {
		b.Run(fmt.Sprint("hashing=", hashing), func(b *testing.B) {
			l := newLoadTest(b, hashing)
			var c comparison
			var signIns atomic.Int64
			var took time.Duration
			const slice = 250 * time.Millisecond
			for b.Loop() {
				idle, idleTurns := l.validate(b, slice)
				ctx, stop := context.WithCancel(b.Context())
				var wg sync.WaitGroup
				began := time.Now()
				for range 4 * hashing {
					wg.Go(func() {
						for ctx.Err() == nil {
							l.signIn(b)
							signIns.Add(1)
						}
					})
				}
				busy, busyTurns := l.validate(b, slice)
				stop()
				wg.Wait()
				took += time.Since(began)
				c.add(idle, idleTurns, busy, busyTurns)
			}
			c.report(b)
			b.ReportMetric(float64(signIns.Load())/took.Seconds(), "sign-ins/s")
			b.ReportMetric(l.grownMiB(), "MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkOverload starts sign-ins at a fixed rate. It reports how many of them
// succeeded, as a share of the gate's capacity.
//
//	go test -run '^$' -bench Overload -benchtime 1x ./tokenauth/password
func BenchmarkOverload(b *testing.B) {
	const d = 5 * time.Second
	for _, percent := range []int{50, 100, 200, 1000} {
		b.Run(fmt.Sprintf("offered=%d%%", percent), func(b *testing.B) {
			l := newLoadTest(b, 0)
			var good, refused, capacity int64
			var refusals []time.Duration
			var mu sync.Mutex
			for b.Loop() {
				capacity += l.capacity(b, d)
				interval := d / time.Duration(l.capacity(b, d/5)*5) * 100 / time.Duration(percent)
				var wg sync.WaitGroup
				ctx, stop := context.WithTimeout(b.Context(), d)
				began := time.Now()
				for due := began; ctx.Err() == nil; due = due.Add(interval) {
					time.Sleep(time.Until(due))
					wg.Go(func() {
						began := time.Now()
						_, err := l.auth.SignIn(ctx, l.credentials)
						switch took := time.Since(began); {
						case errors.Is(err, errBusy):
							mu.Lock()
							defer mu.Unlock()
							refused++
							refusals = append(refusals, took)
						case err == nil && ctx.Err() == nil:
							atomic.AddInt64(&good, 1)
						}
					})
				}
				wg.Wait()
				stop()
			}
			b.ReportMetric(float64(good)/float64(capacity), "goodput/capacity")
			b.ReportMetric(float64(refused), "refused")
			if refused > 0 {
				b.ReportMetric(float64(percentile(refusals, 99).Microseconds()), "p99-refusal-µs")
			}
			b.ReportMetric(float64(capacity)/d.Seconds()/float64(b.N), "capacity/s")
			b.ReportMetric(l.grownMiB(), "MiB")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// capacity returns the number of sign-ins that succeed within d if one sign-in
// always waits for its turn.
func (l *loadTest) capacity(b *testing.B, d time.Duration) int64 {
	var n atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for range 2 * defaultHashing() {
		wg.Go(func() {
			for time.Now().Before(end) {
				l.signIn(b)
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return n.Load()
}

// BenchmarkConcurrentSignIns runs 500 sign-ins at once, each with a password of
// 1 KB.
//
//	go test -run '^$' -bench ConcurrentSignIns -benchtime 5x ./tokenauth/password
func BenchmarkConcurrentSignIns(b *testing.B) {
	for _, hashing := range []int{1, 2, 4} {
		b.Run(fmt.Sprint("hashing=", hashing), func(b *testing.B) {
			l := newLoadTest(b, hashing)
			var c comparison
			var served, refused atomic.Int64
			for b.Loop() {
				const slice = time.Second // the sign-ins take longer than this
				idle, idleTurns := l.validate(b, slice)
				var wg sync.WaitGroup
				for range 500 {
					wg.Go(func() {
						if l.signIn(b) {
							refused.Add(1)
						} else {
							served.Add(1)
						}
					})
				}
				busy, busyTurns := l.validate(b, slice)
				c.add(idle, idleTurns, busy, busyTurns)
				wg.Wait()
			}
			c.report(b)
			b.ReportMetric(float64(served.Load())/float64(b.N), "served")
			b.ReportMetric(float64(refused.Load())/float64(b.N), "refused")
			b.ReportMetric(float64(l.stored.most.Load()), "at-once")
			b.ReportMetric(l.grownMiB(), "MiB")
		})
	}
}
