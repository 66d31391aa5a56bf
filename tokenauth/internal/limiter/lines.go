package limiter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// lines give the attempts of this process their turns to look up an account and to
// ask for the counters, so that no number of attempts takes all connections of a
// database. The sources take turns, and each has a line in which attempts wait.
//
// An attempt that has to wait for pending ones parks: it gives its turn back, and
// has one again when a pending one was settled.
type lines struct {
	patience time.Duration

	mu       sync.Mutex
	moved    time.Time // when a turn ended in less than half of the patience
	asking   int       // in all lines
	waiting  int       // in all lines, for a turn or parked
	bySource map[throttle.Key]*line
	ready    []*line // those in which somebody waits for a turn, the next one first
	parked   map[throttle.Key][]*waiter
	held     map[throttle.Key]int // by how many that are parked, or ask again after that
	pending  map[throttle.Key]int // attempts of this process
}

const (
	maxAsking          = 16 // at once
	maxAskingPerSource = 4
	// maxWaiting is how many wait in all lines together. Each holds its request
	// and nothing more.
	maxWaiting = 4096
	// maxWaitingPerSource bounds a line while others wait in other lines.
	maxWaitingPerSource = maxWaiting / 8
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
		bySource: make(map[throttle.Key]*line), parked: make(map[throttle.Key][]*waiter), held: make(map[throttle.Key]int), pending: make(map[throttle.Key]int),
	}
}

// A line has the attempts of one source.
type line struct {
	asking int
	queue  []*waiter // for a turn
	parked []*waiter
}

func (l *line) waiting() int { return len(l.queue) + len(l.parked) }

// A waiter is an attempt in its line.
type waiter struct {
	*line
	names         *names
	known         bool           // to this process, as one that the limits of its source do not block
	settles       bool           // it ends a pending attempt, and goes first
	queued, since time.Time      // when its waiting began, and its turn
	turn          chan error     // gets nil with the turn, or why there is none
	on            []throttle.Key // what it waits for, or waited for until it had its turn again
}

// The order in a line.
const (
	settling = iota
	again    // after it was parked
	newcomer
)

func (w *waiter) rank() int {
	switch {
	case w.settles:
		return settling
	case w.on != nil:
		return again
	}
	return newcomer
}

// enter returns when the attempt has its turn, with the waiter that has it.
func (ls *lines) enter(ctx context.Context, k *names, known bool) (*waiter, error) {
	ls.mu.Lock()
	w := &waiter{line: ls.line(k), names: k, known: known}
	if err := ls.makeRoom(w.line); err != nil {
		ls.drop(w.line, k.source)
		ls.mu.Unlock()
		return nil, err
	}
	ls.enqueue(w)
	ls.dispatch()
	ls.mu.Unlock()
	return w, ls.await(ctx, w)
}

// settle returns when a pending attempt has a turn to be settled. Many may end at
// once, when their clients leave. They go before those that begin, which may wait
// for them.
func (ls *lines) settle(k *names) (*waiter, error) {
	ls.mu.Lock()
	w := &waiter{line: ls.line(k), names: k, settles: true}
	ls.enqueue(w)
	ls.dispatch()
	ls.mu.Unlock()
	return w, ls.await(context.Background(), w)
}

// longest returns the line in which most wait.
func (ls *lines) longest() (longest *line) {
	for _, l := range ls.bySource {
		if longest == nil || l.waiting() > longest.waiting() {
			longest = l
		}
	}
	return longest
}

// await returns nil when the waiter has its turn, or an error that says why it has
// none: its context ended, it made room for another source, or the database hangs.
func (ls *lines) await(ctx context.Context, w *waiter) error {
	pause := ls.patience
	if w.on != nil {
		pause = elsewhere
	}
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
				ls.drop(w.line, w.names.source)
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
	case slices.Contains(w.line.queue, w) && !ls.holds(w) && now.Sub(w.queued) >= ls.patience && now.Sub(ls.moved) >= ls.patience:
		ls.remove(w)
		ls.release(w)
		ls.drop(w.line, w.names.source)
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
	ls.waiting++
	w.line.parked = append(w.line.parked, w)
	for _, key := range on {
		ls.parked[key] = append(ls.parked[key], w)
		ls.held[key]++
	}
	ls.giveBack(w)
	ls.dispatch()
	ls.mu.Unlock()
	return ls.await(ctx, w)
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
// those that waited for it: one for each key.
func (ls *lines) settled(keys []throttle.Key) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, key := range keys {
		if ls.pending[key]--; ls.pending[key] == 0 {
			delete(ls.pending, key)
		}
		if parked := ls.parked[key]; len(parked) > 0 {
			ls.wake(parked[0])
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

// The methods below are for callers that hold the lock.

// line returns the line of the source.
func (ls *lines) line(k *names) *line {
	l := ls.bySource[k.source]
	if l == nil {
		l = new(line)
		ls.bySource[k.source] = l
	}
	return l
}

// makeRoom has the last newcomer of the longest line give way if there is no room,
// or returns errQueueFull.
func (ls *lines) makeRoom(l *line) error {
	if ls.waiting < maxWaiting && (l.waiting() < maxWaitingPerSource || ls.waiting == l.waiting()) {
		return nil
	}
	longest := ls.longest()
	if longest == l || longest.waiting() <= maxWaitingPerSource {
		return errQueueFull
	}
	last := longest.queue[len(longest.queue)-1:]
	if len(last) == 0 || last[0].settles {
		return errQueueFull
	}
	ls.remove(last[0])
	ls.release(last[0])
	last[0].turn <- errQueueFull
	return nil
}

// dispatch gives turns to those who wait for them, by source.
func (ls *lines) dispatch() {
	for held := 0; ls.asking < maxAsking && held < len(ls.ready); {
		l := ls.ready[0]
		ls.ready = append(ls.ready[1:], l)
		i := -1
		if l.asking < maxAskingPerSource {
			i = slices.IndexFunc(l.queue, func(w *waiter) bool { return !ls.holds(w) })
		}
		if i < 0 {
			held++
			continue
		}
		held = 0
		w := l.queue[i]
		ls.remove(w)
		l.asking++
		ls.asking++
		w.since = time.Now()
		w.turn <- nil
	}
}

// holds reports whether a newcomer would wait for the same pending attempts as
// those that came before it. It need not ask to find out.
func (ls *lines) holds(w *waiter) bool {
	return w.rank() == newcomer && (ls.held[w.names.pair] > 0 ||
		!w.known && (ls.held[w.names.name] > 0 || ls.held[w.names.source] > 0 || ls.held[w.names.wideSource] > 0))
}

// release lets newcomers ask for what the waiter waited for.
func (ls *lines) release(w *waiter) {
	for _, key := range w.on {
		if ls.held[key]--; ls.held[key] == 0 {
			delete(ls.held, key)
		}
	}
	w.on = nil
}

// enqueue puts the waiter into its line: what settles goes first, and what was
// parked before newcomers.
func (ls *lines) enqueue(w *waiter) {
	if w.turn == nil {
		w.turn = make(chan error, 1)
	}
	if len(w.line.queue) == 0 {
		ls.ready = append(ls.ready, w.line)
	}
	ls.waiting++
	w.queued = time.Now()
	at := len(w.line.queue)
	if rank := w.rank(); rank < newcomer {
		if i := slices.IndexFunc(w.line.queue, func(other *waiter) bool { return other.rank() > rank }); i >= 0 {
			at = i
		}
	}
	w.line.queue = slices.Insert(w.line.queue, at, w)
}

// willWake reports whether an attempt of this process wakes the waiter.
func (ls *lines) willWake(w *waiter) bool {
	return slices.ContainsFunc(w.on, func(key throttle.Key) bool { return ls.pending[key] > 0 })
}

func (ls *lines) wake(w *waiter) {
	ls.remove(w)
	ls.enqueue(w)
}

// remove takes the waiter out of where it waits.
func (ls *lines) remove(w *waiter) {
	l := w.line
	if i := slices.Index(l.queue, w); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		ls.waiting--
		if len(l.queue) == 0 {
			ls.ready = slices.DeleteFunc(ls.ready, func(other *line) bool { return other == l })
		}
		return
	}
	i := slices.Index(l.parked, w)
	if i < 0 {
		return
	}
	l.parked = slices.Delete(l.parked, i, i+1)
	ls.waiting--
	for _, key := range w.on {
		ls.parked[key] = slices.DeleteFunc(ls.parked[key], func(other *waiter) bool { return other == w })
		if len(ls.parked[key]) == 0 {
			delete(ls.parked, key)
		}
	}
}

func (ls *lines) giveBack(w *waiter) {
	if now := time.Now(); now.Sub(w.since) < ls.patience/2 {
		ls.moved = now
	}
	w.line.asking--
	ls.asking--
	ls.drop(w.line, w.names.source)
}

// drop removes an empty line.
func (ls *lines) drop(l *line, source throttle.Key) {
	if l.asking == 0 && l.waiting() == 0 {
		delete(ls.bySource, source)
	}
}
