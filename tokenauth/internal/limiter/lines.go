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

// lines give the attempts of this process their turns to look up an account and to
// ask for the counters, so that no number of attempts takes all connections of a
// database. Networks take turns: an IPv4 address, or the IPv6 /48 that one customer
// may have. Each has a line in which attempts wait, and there its sources take
// turns, the /64.
//
// An attempt that has to wait for pending ones parks: it gives its turn back, and
// has one again when a pending one was settled.
type lines struct {
	patience time.Duration

	mu        sync.Mutex
	moved     time.Time // when a turn ended in less than half of the patience
	asking    int       // in all lines
	waiting   int       // in all lines, for a turn or parked
	byNetwork map[throttle.Key]*line
	ready     []*line // those in which somebody waits for a turn, the next one first
	parked    map[throttle.Key][]*waiter
	held      map[throttle.Key]int // by how many that are parked, or ask again after that
	pending   map[throttle.Key]int // attempts of this process
	wakes     int
}

const (
	maxAsking           = 16 // at once
	maxAskingPerNetwork = 4
	// maxWaiting is how many wait in all lines together. Each holds its request
	// and nothing more.
	maxWaiting = 4096
	// maxWaitingPerNetwork bounds a line while others wait in other lines.
	maxWaitingPerNetwork = maxWaiting / 8
	// elsewhere is how often the first that is parked asks again if no attempt of
	// this process is in its way: one of another process may have been settled.
	elsewhere = 100 * time.Millisecond
)

var (
	errQueueFull = errors.New("too many sign-ins wait for pending ones")
	errSlow      = errors.New("the look-ups of other sign-ins take too long")
)

func newLines(patience time.Duration) *lines {
	return &lines{
		patience: patience, moved: time.Now(),
		byNetwork: make(map[throttle.Key]*line), parked: make(map[throttle.Key][]*waiter), held: make(map[throttle.Key]int), pending: make(map[throttle.Key]int),
	}
}

// A waiter is an attempt in its line.
type waiter struct {
	*line
	names         *names
	known         bool           // to this process, as one that the limits of its source do not block
	queued, since time.Time      // when its waiting began, and its turn
	round         int            // in which its source has this turn
	turn          chan error     // gets nil with the turn, or why there is none
	on            []throttle.Key // what it waits for, or waited for until it had its turn again
}

// enter returns when the attempt has its turn, with the waiter that has it.
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

// settle returns when a pending attempt has a turn to be settled. Many may end at
// once, when their clients leave. They go before those that begin.
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

// line returns the line of the attempt's network.
func (ls *lines) line(k *names) *line {
	l := ls.byNetwork[k.network()]
	if l == nil {
		l = &line{from: make(map[throttle.Key]*lineSource)}
		ls.byNetwork[k.network()] = l
	}
	return l
}

// await returns nil when the waiter has its turn, or an error that says why it has
// none: its context ended, it made room for another source, or the database hangs.
// It looks after each pause.
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
			case err := <-w.turn: // it came at the same time
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

// look has the first that is parked ask again, and gives up if no look-up ends any
// more.
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

// leave gives the turn back.
func (ls *lines) leave(w *waiter) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.release(w)
	ls.giveBack(w)
	ls.dispatch()
}

// park gives the turn back and returns when the attempt has one again.
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

// counted says that an attempt with these keys is pending.
func (ls *lines) counted(keys []throttle.Key) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, key := range keys {
		ls.pending[key]++
	}
}

// settled says that an attempt with these keys is not pending any more, and wakes
// those that waited for it: one for each key, of the networks in turn.
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

// wakeAll wakes all that wait for attempts with these keys.
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
