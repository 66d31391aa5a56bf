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

// lines limit how many attempts look up an account and read the counters at
// once. Otherwise a flood of attempts could take all of a database's
// connections. Attempts wait for their turn. Networks take turns, and so do the
// sources of a network. A network is an IPv4 address, or the IPv6 /48 that one
// customer may own; it has one [line].
//
// If an attempt must wait for pending attempts, it parks: it gives its turn
// back, and gets another turn when a pending attempt is settled.
type lines struct {
	patience time.Duration // how long an attempt waits if no turn ends

	mu        sync.Mutex
	moved     time.Time // when a turn last ended that had taken less than half of patience
	asking    int       // the number of attempts that have a turn, in all lines
	waiting   int       // the number of queued and parked attempts, in all lines
	byNetwork map[throttle.Key]*line
	ready     []*line                    // the lines with an attempt that waits for a turn; the next line first
	parked    map[throttle.Key][]*waiter // the parked attempts, by the key of each counter whose pending attempts they wait for
	held      map[throttle.Key]int       // the number of attempts that are parked for the key, or were until their current turn
	pending   map[throttle.Key]int       // the number of pending attempts of this process with the key
	wakes     int                        // how often a waiter was woken
}

const (
	maxAsking           = 16 // the maximum number of turns at the same time
	maxAskingPerNetwork = 4
	// maxWaiting is the maximum number of waiting attempts in all lines. Each
	// takes no more memory than its request.
	maxWaiting = 4096
	// maxWaitingPerNetwork is the maximum number of waiting attempts in a line
	// while attempts wait in other lines.
	maxWaitingPerNetwork = maxWaiting / 8
	// elsewhere is how often the first parked attempt of a line reads the
	// counters again if it waits only for attempts of other processes. Other
	// processes do not report when they settle an attempt.
	elsewhere = 100 * time.Millisecond
)

var (
	errQueueFull = errors.New("too many sign-ins are waiting for their turn")
	errSlow      = errors.New("other sign-ins take too long to look up their accounts")
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
	known         bool           // as far as this process knows, the limits of its source do not apply
	queued, since time.Time      // when its wait began, and when its turn began
	round         int            // the round in which the source gets this turn, see line.round
	turn          chan error     // receives nil with the turn, or an error if there is none
	on            []throttle.Key // the keys for which the attempt is parked, or was until its current turn
}

// enter waits until the attempt has its turn, and returns its waiter.
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

// settle waits for a turn to settle a pending attempt. Such an attempt goes
// before new attempts, because the new attempts may be waiting for its outcome.
// It needs a turn because many attempts may end at once, when their clients
// disconnect.
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

// line returns the line of the attempt's network. It adds the line if there is
// none.
func (ls *lines) line(k *names) *line {
	l := ls.byNetwork[k.network()]
	if l == nil {
		l = &line{from: make(map[throttle.Key]*lineSource)}
		ls.byNetwork[k.network()] = l
	}
	return l
}

// await waits until the waiter has its turn, and then returns nil. It returns
// an error if ctx ends, if the waiter must make room for an attempt of another
// source, or if no turn ends for too long. It calls look after each pause.
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

// look wakes the waiter if it is the first parked one of its line and waits
// only for attempts of other processes. If the waiter waits for a turn and no
// turn has ended for too long, look ends the wait with errSlow.
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

// leave ends the waiter's turn, so that another attempt can have it.
func (ls *lines) leave(w *waiter) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.release(w)
	ls.giveBack(w)
	ls.dispatch()
}

// park ends the waiter's turn. It waits until a pending attempt with one of the
// keys is settled and the waiter has a turn again.
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
// each key it wakes one parked attempt, from the network that was woken least
// recently.
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
