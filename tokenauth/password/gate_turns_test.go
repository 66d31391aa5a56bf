package password

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	noAddr = netip.Addr{}
	home   = netip.MustParseAddr("192.0.2.1")
	office = netip.MustParseAddr("198.51.100.1")
	hotel  = netip.MustParseAddr("203.0.113.1")
)

// in48 returns an address in the i-th /64 of a customer's /48.
func in48(i int) netip.Addr {
	b := netip.MustParseAddr("2001:db8:1::1").As16()
	b[6], b[7] = byte(i>>8), byte(i)
	return netip.AddrFrom16(b)
}

// A turnLog records the turns and errors of the sign-ins at a gate.
type turnLog struct {
	*gate
	wg    sync.WaitGroup
	mu    sync.Mutex
	turns []string         // names, in the order of their turns
	errs  map[string]error // by name
}

func newTurnLog(hashing, waiting int) *turnLog {
	return &turnLog{gate: newGate(hashing, waiting), errs: make(map[string]error)}
}

// come starts a sign-in whose hash takes the duration d. When come returns, the
// sign-in hashes, waits or was refused.
func (l *turnLog) come(ctx context.Context, from netip.Addr, name string, d time.Duration) {
	l.wg.Go(func() {
		err := error(errBusy)
		if t := l.enter(from); t != nil {
			defer l.leave(t)
			err = l.hash(ctx, t, func() {
				l.mu.Lock()
				l.turns = append(l.turns, name)
				l.mu.Unlock()
				time.Sleep(d)
			})
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.errs[name] = err
	})
	synctest.Wait()
}

// refused returns the sorted names of the sign-ins that got errBusy.
func (l *turnLog) refused() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var names []string
	for name, err := range l.errs {
		if errors.Is(err, errBusy) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// empty checks that no sign-in is left, and that the gate keeps nothing about
// past ones.
func (l *turnLog) empty(t *testing.T, hashing int) {
	t.Helper()
	q := &l.queue
	if l.inside != 0 || l.idle != hashing || q.n != 0 || len(q.parts) != 0 || len(q.largest) != 0 || q.turns.Len() != 0 {
		t.Errorf("%d sign-ins are in progress, %d of %d places are free, and the queue has %d sign-ins, %d and %d parts and %d turns",
			l.inside, l.idle, hashing, q.n, len(q.parts), len(q.largest), q.turns.Len())
	}
}

// names returns the names prefix plus from to prefix plus (to-1), sorted.
func names(prefix string, from, to int) []string {
	var all []string
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprintf("%s%03d", prefix, i))
	}
	return all
}

// Sign-ins of one source have their turns in the order of arrival, for each
// kind of address.
func TestTurnsOfOneSourceAreInOrder(t *testing.T) {
	t.Parallel()
	for _, from := range []netip.Addr{noAddr, home, in48(7)} {
		for _, places := range []int{1, 2} {
			synctest.Test(t, func(t *testing.T) {
				const n = 50
				l := newTurnLog(places, n)
				for i := range places {
					l.come(t.Context(), from, fmt.Sprint("first", i), time.Hour)
				}
				gone, leave := context.WithCancel(t.Context())
				var want []string
				for i, name := range names("", 0, n) {
					ctx := t.Context()
					if i%5 == 0 {
						ctx = gone // so that sign-ins leave from each part of the queue
					} else {
						want = append(want, name)
					}
					l.come(ctx, from, name, time.Second)
				}
				leave()
				l.wg.Wait()
				if got := l.turns[places:]; !slices.Equal(got, want) && (places == 1 || !slices.Equal(slices.Sorted(slices.Values(got)), want)) {
					t.Errorf("got turns %v", got)
				}
				for name, err := range l.errs {
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("%s: got error %v", name, err)
					}
				}
				l.empty(t, places)
			})
		}
	}
}

// Each waiting source has one turn before any source has a second.
func TestSourcesTakeTurns(t *testing.T) {
	t.Parallel()
	type arrival struct {
		from netip.Addr
		name string
	}
	crowd := func(prefix string, n int, from func(i int) netip.Addr) (all []arrival) {
		for i, name := range names(prefix, 0, n) {
			all = append(all, arrival{from(i), name})
		}
		return all
	}
	at := func(from netip.Addr) func(int) netip.Addr { return func(int) netip.Addr { return from } }
	for _, test := range []struct {
		name     string
		arrivals []arrival
		want     []string
	}{
		{
			"two sources", slices.Concat(crowd("a", 4, at(home)), crowd("b", 2, at(office))),
			[]string{"a000", "b000", "a001", "b001", "a002", "a003"},
		},
		{
			"a source that arrives later", slices.Concat(crowd("a", 4, at(home)), crowd("b", 2, at(office)), crowd("c", 1, at(hotel))),
			[]string{"a000", "b000", "c000", "a001", "b001", "a002", "a003"},
		},
		{
			"IPv4 in IPv6 is IPv4", slices.Concat(crowd("a", 2, at(home)), crowd("b", 2, at(netip.MustParseAddr("::ffff:192.0.2.1"))), crowd("c", 1, at(office))),
			[]string{"a000", "c000", "a001", "b000", "b001"},
		},
		{
			"a /64 is one source", slices.Concat(crowd("a", 4, func(i int) netip.Addr { return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 15: byte(i)}) }), crowd("b", 1, at(home))),
			[]string{"a000", "b000", "a001", "a002", "a003"},
		},
		{
			"a zone does not make another source", slices.Concat(
				crowd("a", 3, func(i int) netip.Addr { return netip.MustParseAddr("fe80::1").WithZone(fmt.Sprint("eth", i)) }), crowd("b", 1, at(home))),
			[]string{"a000", "b000", "a001", "a002"},
		},
		{
			"unknown addresses are one source", slices.Concat(crowd("a", 3, at(noAddr)), crowd("b", 1, at(home))),
			[]string{"a000", "b000", "a001", "a002"},
		},
		{
			"a /48 has the turns of one address", slices.Concat(crowd("a", 6, in48), crowd("b", 2, at(home))),
			[]string{"a000", "b000", "a001", "b001", "a002", "a003", "a004", "a005"},
		},
		{
			"the /64 of a /48 share its turns", slices.Concat(crowd("a", 4, at(in48(1))), crowd("b", 2, at(home)), crowd("c", 2, at(in48(2)))),
			[]string{"a000", "b000", "c000", "b001", "a001", "c001", "a002", "a003"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newTurnLog(1, 100)
				l.come(t.Context(), hotel, "first", time.Hour)
				for _, a := range test.arrivals {
					l.come(t.Context(), a.from, a.name, time.Second)
				}
				l.wg.Wait()
				if got := l.turns[1:]; !slices.Equal(got, test.want) {
					t.Errorf("got turns\n%v, want\n%v", got, test.want)
				}
				l.empty(t, 1)
			})
		})
	}
}

// A sign-in that leaves passes its turn on, even if it leaves at the moment of
// its turn.
func TestSignInThatLeavesPassesItsTurnOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 200 { // select chooses randomly if both channels are ready
			l := newTurnLog(1, 100)
			l.come(t.Context(), hotel, "first", time.Second)
			timed, cancel := context.WithTimeout(t.Context(), time.Second) // ends just when the next turn begins
			l.come(timed, home, "a", time.Second)
			l.come(timed, home, "b", time.Second)
			l.come(t.Context(), home, "c", time.Second)
			l.come(timed, in48(1), "d", time.Second)
			l.come(t.Context(), office, "e", time.Second)
			l.wg.Wait()
			cancel()
			if l.errs["c"] != nil || l.errs["e"] != nil {
				t.Fatalf("the remaining sign-ins got errors %v and %v", l.errs["c"], l.errs["e"])
			}
			l.empty(t, 1)
		}
	})
}

// A sign-in whose context ends just before its turn passes the turn on.
func TestSignInWithEndedContextPassesItsTurnOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTurnLog(1, 100)
		gone, leave := context.WithCancel(t.Context())
		l.wg.Go(func() {
			ticket := l.enter(hotel)
			defer l.leave(ticket)
			l.hash(t.Context(), ticket, func() {
				time.Sleep(time.Second)
				leave()
			})
		})
		synctest.Wait()
		l.come(gone, home, "gone", time.Second)
		l.come(t.Context(), home, "stays", time.Second)
		l.wg.Wait()
		if !slices.Equal(l.turns, []string{"stays"}) || !errors.Is(l.errs["gone"], context.Canceled) {
			t.Errorf("got turns %v, and error %v for the one that left", l.turns, l.errs["gone"])
		}
		l.empty(t, 1)
	})
}

// While no other source waits, one source may use the whole queue.
func TestOneSourceMayFillTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTurnLog(1, 255)
		for _, name := range names("a", 0, 257) {
			l.come(t.Context(), office, name, time.Second)
		}
		if got := l.refused(); !slices.Equal(got, []string{"a256"}) {
			t.Errorf("refused: %v", got)
		}
		l.wg.Wait()
		if !slices.Equal(l.turns, names("a", 0, 256)) {
			t.Errorf("got turns %v", l.turns)
		}
		l.empty(t, 1)
	})
}

// In a full queue, a sign-in of a source with fewer sign-ins replaces one of
// the largest source. A source that would get as many is refused. Sign-ins that
// hash keep their place.
func TestFullQueueMakesRoomForOtherSources(t *testing.T) {
	t.Parallel()
	for name, crowd := range map[string]func(i int) netip.Addr{
		"an address":      func(int) netip.Addr { return office },
		"unknown":         func(int) netip.Addr { return noAddr },
		"a /64":           func(int) netip.Addr { return in48(1) },
		"a hostile /48":   in48,
		"IPv4 in IPv6":    func(int) netip.Addr { return netip.AddrFrom16(office.As16()) },
		"a /48 and a /64": func(i int) netip.Addr { return in48(i % 2 * i) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newTurnLog(2, 64)
				for i, name := range names("a", 0, 66) {
					l.come(t.Context(), crowd(i), name, time.Hour)
				}
				if got := l.refused(); len(got) != 0 {
					t.Fatalf("refused while no other source waits: %v", got)
				}
				// Each new sign-in replaces one of the first source.
				for i := range 8 {
					l.come(t.Context(), home, fmt.Sprintf("b%03d", i), time.Second)
					if got := l.refused(); len(got) != i+1 || got[i][0] != 'a' {
						t.Fatalf("after %d new sign-ins, refused: %v", i+1, got)
					}
				}
				if name != "a hostile /48" && name != "a /48 and a /64" && !slices.Equal(l.refused(), names("a", 58, 66)) {
					t.Errorf("refused: %v, want the newest", l.refused())
				}
				// While both sources wait, each may have an eighth of the queue.
				l.come(t.Context(), home, "b008", time.Second)
				l.come(t.Context(), crowd(0), "a066", time.Second)
				if got := l.refused(); !slices.Contains(got, "b008") || !slices.Contains(got, "a066") {
					t.Errorf("with a full share, refused: %v", got)
				}
				l.come(t.Context(), hotel, "c000", time.Second)
				l.wg.Wait()
				if got := len(l.refused()); got != 11 || l.errs["c000"] != nil || l.errs["b007"] != nil || len(l.turns) != 66 {
					t.Errorf("%d sign-ins were refused, %d hashed, and the new ones got errors %v and %v", got, len(l.turns), l.errs["b007"], l.errs["c000"])
				}
				l.empty(t, 2)
			})
		})
	}
}

// The limit for one source applies only while another source waits.
func TestShareOfASourceAppliesWhileAnotherWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTurnLog(1, 80)
		l.come(t.Context(), home, "first", time.Hour)
		leaving, leave := context.WithCancel(t.Context())
		l.come(leaving, home, "waits", time.Second)
		for _, name := range names("a", 0, 12) {
			l.come(t.Context(), office, name, time.Second)
		}
		if got := l.refused(); !slices.Equal(got, names("a", 10, 12)) {
			t.Errorf("while another source waits, refused: %v, want those beyond 10", got)
		}
		leave()
		synctest.Wait()
		for _, name := range names("b", 0, 40) {
			l.come(t.Context(), office, name, time.Second)
		}
		if got := l.refused(); len(got) != 2 {
			t.Errorf("while no other source waits, refused: %v", got[2:])
		}
		l.wg.Wait()
		l.empty(t, 1)
	})
}

// If a /48 has its full share, a sign-in of another of its /64 replaces one of
// its largest /64.
func TestShareIsDividedWithinANetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newTurnLog(1, 80)
		l.come(t.Context(), home, "first", time.Hour)
		l.come(t.Context(), home, "waits", time.Second)
		for _, name := range names("a", 0, 10) {
			l.come(t.Context(), in48(1), name, time.Second)
		}
		for _, name := range names("b", 0, 10) {
			l.come(t.Context(), in48(2), name, time.Second)
		}
		want := append(names("a", 5, 10), names("b", 5, 10)...)
		if got := l.refused(); !slices.Equal(got, want) {
			t.Errorf("refused: %v, want %v", got, want)
		}
		l.wg.Wait()
		l.empty(t, 1)
	})
}

// Sign-ins that are still in their look-up count like those that wait. One that
// loses its place gets errBusy after its look-up.
func TestFullGateReplacesSignInsDuringTheirLookup(t *testing.T) {
	t.Parallel()
	g := newGate(1, 7)
	var crowd []*ticket
	for range 8 {
		crowd = append(crowd, g.enter(office))
	}
	if g.enter(office) != nil {
		t.Fatal("a further sign-in of the same source was let in")
	}
	other := g.enter(home)
	if other == nil {
		t.Fatal("another source is refused")
	}
	hashed := 0
	for i, ticket := range append(crowd, other) {
		err := g.hash(t.Context(), ticket, func() { hashed++ })
		if (i == 7) != errors.Is(err, errBusy) || i != 7 && err != nil {
			t.Errorf("sign-in %d: got error %v", i, err)
		}
		g.leave(ticket)
	}
	if hashed != 8 || g.inside != 0 || g.idle != 1 || g.queue.n != 0 {
		t.Errorf("%d sign-ins were hashed, %d are in progress, %d in the queue", hashed, g.inside, g.queue.n)
	}
}

// A sign-in whose context has ended gets no place, even if one is free.
func TestGateHashesNothingAfterTheContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g := newGate(1, 1)
	for range 100 {
		ticket := g.enter(home)
		if err := g.hash(ctx, ticket, func() { t.Error("the password was hashed although the context had ended") }); !errors.Is(err, context.Canceled) {
			t.Fatalf("got error %v", err)
		}
		g.leave(ticket)
	}
	if !g.hashIfFree(func() {}) {
		t.Error("the place is not free again")
	}
}

// Sign-ins arrive and leave in random order. None may wait while a place is
// free, no limit may be exceeded, and in the end the gate must be empty.
func TestGateKeepsItsBoundsUnderRandomLoad(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 13))
			hashing, waiting := 1+r.IntN(3), 1+r.IntN(40)
			g := newGate(hashing, waiting)
			var mu sync.Mutex
			running, outcomes := 0, make(map[string]int)
			hash := func(d time.Duration) {
				mu.Lock()
				running++
				if running > hashing {
					t.Errorf("%d sign-ins hash at once, want at most %d", running, hashing)
				}
				mu.Unlock()
				time.Sleep(d)
				mu.Lock()
				running--
				mu.Unlock()
			}
			var wg sync.WaitGroup
			for range 500 {
				var from netip.Addr
				switch r.IntN(4) {
				case 0:
					from = in48(r.IntN(5))
				case 1:
					from = netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(60))})
				case 2:
					from = office
				}
				call, patience := time.Duration(r.IntN(20))*time.Millisecond, time.Duration(r.IntN(400))*time.Millisecond
				work := time.Duration(1+r.IntN(50)) * time.Millisecond
				f := func() { hash(work) }
				fails, upgrades := r.IntN(10) == 0, r.IntN(3) == 0
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					outcome := "refused"
					if ticket := g.enter(from); ticket != nil {
						defer g.leave(ticket)
						if time.Sleep(call); fails {
							return
						}
						outcome = fmt.Sprint(g.hash(ctx, ticket, f))
						if upgrades {
							g.hashIfFree(f)
						}
					}
					mu.Lock()
					defer mu.Unlock()
					outcomes[outcome]++
				})
				if r.IntN(3) == 0 {
					time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
				}
				synctest.Wait()
				g.mu.Lock()
				if g.inside > hashing+waiting || g.idle > 0 && g.queue.turns.Len() > 0 || g.queue.n > g.inside {
					t.Errorf("%d sign-ins are in progress, %d in the queue, and %d places are free while %d sources wait", g.inside, g.queue.n, g.idle, g.queue.turns.Len())
				}
				g.mu.Unlock()
			}
			wg.Wait()
			l := turnLog{gate: g}
			l.empty(t, hashing)
			if len(outcomes) < 2 {
				t.Errorf("got only the outcomes %v", slices.Sorted(maps.Keys(outcomes)))
			}
		})
	}
}
