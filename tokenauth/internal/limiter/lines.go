package limiter

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// lines give attempts their turns to look up an account and to read the
// counters, so that a flood of attempts cannot take all connections of a
// database. Networks take turns: an IPv4 address, or the IPv6 /48 that one
// customer may own. Each has a line, in which its sources, the /64, take turns.
//
// An attempt that must wait for pending ones parks: it gives back its turn, and
// gets another when a pending one is settled.
type lines struct {
	patience time.Duration // how long an attempt waits if no turn ends

	mu        sync.Mutex
	moved     time.Time // when a turn last ended within half of patience
	asking    int       // the number of turns in all lines
	waiting   int       // the number of attempts in all lines, for a turn or parked
	byNetwork map[throttle.Key]*line
	ready     []*line // the lines with a waiter for a turn, the next one first
	parked    map[throttle.Key][]*waiter
	held      map[throttle.Key]int // the number of attempts that are parked for the key, or retry after that
	pending   map[throttle.Key]int // the number of pending attempts of this process
	wakes     int                  // how often a waiter was woken
}

const (
	maxAsking           = 16 // turns at the same time
	maxAskingPerNetwork = 4
	// maxWaiting limits the attempts that wait in all lines together. Each holds
	// only its request.
	maxWaiting = 4096
	// maxWaitingPerNetwork limits a line while attempts wait in other lines.
	maxWaitingPerNetwork = maxWaiting / 8
	// elsewhere is how often the first parked attempt reads the counters again
	// if it waits for no attempt of this process. Another process does not report
	// when it settles one.
	elsewhere = 100 * time.Millisecond
)

var (
	errQueueFull = errors.New("too many sign-ins wait for their turn")
	errSlow      = errors.New("the look-ups of other sign-ins take too long")
)

func newLines(patience time.Duration) *lines {
	return &lines{
		patience: patience, moved: time.Now(),
		byNetwork: make(map[throttle.Key]*line), parked: make(map[throttle.Key][]*waiter), held: make(map[throttle.Key]int), pending: make(map[throttle.Key]int),
	}
}

// A waiter is an [Attempt] that waits in a line or has its turn.
type waiter struct {
	*line
	names         *names
	known         bool           // the limits of its source do not block it, as far as this process knows
	queued, since time.Time      // when its wait began, and when its turn began
	round         int            // the round in which its source has this turn
	turn          chan error     // receives nil with the turn, or an error if there is none
	on            []throttle.Key // the keys for which it is parked, or was until its current turn
}

// enter waits until the attempt has its turn, and returns the waiter that has
// it.
func (ls *lines) enter(ctx context.Context, k *names, known bool) (*waiter, error) {
	ls.mu.Lock()
	l := ls.line(k)
	if !ls.makeRoom(l, k.source) {
		ls.drop(l, k)
		ls.mu.Unlock()
		return nil, errQueueFull
	}
	w := &waiter{line: l, names: k, known: known}
	ls.enqueue(w, false)
	ls.dispatch()
	ls.mu.Unlock()
	return w, ls.await(ctx, w, ls.patience)
}

// settle waits until a pending attempt has a turn to be settled. Such attempts
// go before new ones: many may end at once, when their clients disconnect.
func (ls *lines) settle(k *names) (*waiter, error) {
	ls.mu.Lock()
	w := &waiter{line: ls.line(k), names: k, queued: time.Now(), turn: make(chan error, 1)}
	if !w.line.ready() {
		ls.ready = append(ls.ready, w.line)
	}
	w.line.settling = append(w.line.settling, w)
	ls.dispatch()
	ls.mu.Unlock()
	return w, ls.await(context.Background(), w, ls.patience)
}

// line returns the line of the attempt's network. It adds one if there is none.
func (ls *lines) line(k *names) *line {
	l := ls.byNetwork[k.network()]
	if l == nil {
		l = &line{from: make(map[throttle.Key]*lineSource)}
		ls.byNetwork[k.network()] = l
	}
	return l
}

// await returns nil when the waiter has its turn. It returns an error if ctx
// ended, if the waiter made room for another source, or if the database hangs.
// It calls look after each pause.
func (ls *lines) await(ctx context.Context, w *waiter, pause time.Duration) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case err := <-w.turn:
			return err
		case <-ticker.C:
			ls.look(w)
		case <-ctx.Done():
			ls.mu.Lock()
			defer ls.mu.Unlock()
			select {
			case err := <-w.turn: // the turn came at the same time
				if err == nil {
					ls.release(w)
					ls.giveBack(w)
				}
			default:
				ls.remove(w)
				ls.release(w)
				ls.drop(w.line, w.names)
			}
			ls.dispatch()
			return ctx.Err()
		}
	}
}

// look gives the first parked waiter a turn to read the counters again. It ends
// the wait with errSlow if no turn has ended for too long.
func (ls *lines) look(w *waiter) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	now := time.Now()
	switch {
	case len(w.line.parked) > 0 && w.line.parked[0] == w && !ls.willWake(w):
		ls.wake(w)
		ls.dispatch()
	case (slices.Contains(w.line.settling, w) || slices.Contains(w.line.queue, w) && !ls.holds(w)) && now.Sub(w.queued) >= ls.patience && now.Sub(ls.moved) >= ls.patience:
		ls.remove(w)
		ls.release(w)
		ls.drop(w.line, w.names)
		w.turn <- errSlow
	}
}

// leave ends the turn, so that another attempt can have it.
func (ls *lines) leave(w *waiter) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.release(w)
	ls.giveBack(w)
	ls.dispatch()
}

// park gives the turn of the attempt to another one. It waits until pending
// attempts in its way are settled and it has a turn again.
func (ls *lines) park(ctx context.Context, w *waiter, on []throttle.Key) error {
	ls.mu.Lock()
	ls.release(w)
	w.on, w.turn = on, make(chan error, 1)
	ls.count(w, 1)
	w.line.parked = append(w.line.parked, w)
	for _, key := range on {
		ls.parked[key] = append(ls.parked[key], w)
		ls.held[key]++
	}
	ls.giveBack(w)
	ls.dispatch()
	ls.mu.Unlock()
	return ls.await(ctx, w, elsewhere)
}

// counted records that an [Attempt] with these keys is pending.
func (ls *lines) counted(keys []throttle.Key) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, key := range keys {
		ls.pending[key]++
	}
}

// settled records that an [Attempt] with these keys is no longer pending. For
// each key it wakes one of the waiters; their networks take turns.
func (ls *lines) settled(keys []throttle.Key) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, key := range keys {
		if ls.pending[key]--; ls.pending[key] == 0 {
			delete(ls.pending, key)
		}
		if parked := ls.parked[key]; len(parked) > 0 {
			ls.wakes++
			next := slices.MinFunc(parked, func(a, b *waiter) int { return cmp.Compare(a.line.woken, b.line.woken) })
			next.line.woken = ls.wakes
			ls.wake(next)
		}
	}
	ls.dispatch()
}

// wakeAll wakes all waiters that are parked for these keys.
func (ls *lines) wakeAll(keys []throttle.Key) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, key := range keys {
		for len(ls.parked[key]) > 0 {
			ls.wake(ls.parked[key][0])
		}
	}
	ls.dispatch()
}
