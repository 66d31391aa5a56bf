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

// A line has the attempts of one network.
type line struct {
	asking   int
	settling []*waiter // that end pending attempts, for which others may wait
	queue    []*waiter // for a turn
	parked   []*waiter
	round    int // of the last that had its turn
	from     map[throttle.Key]*lineSource
	woken    int // when one of it was woken last, in the count of lines.wakes
}

// A lineSource has what a line needs to know of a source of which somebody waits.
type lineSource struct {
	waiting int
	round   int // of the last that came
}

// waiting is how many wait that began to.
func (l *line) waiting() int { return len(l.queue) + len(l.parked) }

// ready reports whether somebody waits for a turn.
func (l *line) ready() bool { return len(l.settling)+len(l.queue) > 0 }

// most returns the source of which most wait, and how many.
func (l *line) most() (source throttle.Key, n int) {
	for key, s := range l.from {
		if s.waiting > n {
			source, n = key, s.waiting
		}
	}
	return source, n
}

// newest returns the last waiter of the source: one that waits for its turn, if any
// does.
func (l *line) newest(source throttle.Key) *waiter {
	for _, waiters := range [][]*waiter{l.queue, l.parked} {
		for _, w := range slices.Backward(waiters) {
			if w.names.source == source {
				return w
			}
		}
	}
	return nil
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

// makeRoom reports whether there is room for one more of the source in the line. If
// all wait that may, the network of which most wait gives up its newest, and of its
// sources again the one of which most wait.
func (ls *lines) makeRoom(l *line, source throttle.Key) bool {
	from := l
	switch {
	case ls.waiting >= maxWaiting:
		if longest := ls.longest(); longest.waiting() > l.waiting()+1 {
			from = longest
		}
	case l.waiting() < maxWaitingPerNetwork || ls.waiting == l.waiting():
		return true
	}
	if from == l && len(l.from) == l.waiting() {
		return false // one of each source
	}
	most, n := from.most()
	if s := l.from[source]; from == l && s != nil && n <= s.waiting+1 {
		return false
	}
	last := from.newest(most)
	ls.remove(last)
	ls.release(last)
	last.turn <- errQueueFull
	return true
}

// longest returns the line in which most wait.
func (ls *lines) longest() (longest *line) {
	for _, l := range ls.byNetwork {
		if longest == nil || l.waiting() > longest.waiting() {
			longest = l
		}
	}
	return longest
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

// The methods below are for callers that hold the lock.

// dispatch gives turns to those who wait for them, by network.
func (ls *lines) dispatch() {
	for held := 0; ls.asking < maxAsking && held < len(ls.ready); {
		l := ls.ready[0]
		ls.ready = append(ls.ready[1:], l)
		w := ls.next(l)
		if w == nil {
			held++
			continue
		}
		held = 0
		l.round = max(l.round, w.round)
		ls.remove(w)
		l.asking++
		ls.asking++
		w.since = time.Now()
		w.turn <- nil
	}
}

// next returns the waiter that has the next turn in the line, or nil.
func (ls *lines) next(l *line) *waiter {
	if l.asking >= maxAskingPerNetwork {
		return nil
	}
	if len(l.settling) > 0 {
		return l.settling[0]
	}
	if i := slices.IndexFunc(l.queue, func(w *waiter) bool { return !ls.holds(w) }); i >= 0 {
		return l.queue[i]
	}
	return nil
}

// holds reports whether a newcomer would wait for the same pending attempts as
// those that came before it. It need not ask to find out.
func (ls *lines) holds(w *waiter) bool {
	return w.on == nil && (ls.held[w.names.pair] > 0 ||
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

// enqueue puts the waiter into its line: in front if it was parked, else where its
// source has its next turn.
func (ls *lines) enqueue(w *waiter, front bool) {
	if w.turn == nil {
		w.turn = make(chan error, 1)
	}
	if !w.line.ready() {
		ls.ready = append(ls.ready, w.line)
	}
	s := ls.count(w, 1)
	w.queued = time.Now()
	at := 0
	if !front {
		s.round = max(s.round, w.line.round) + 1
		w.round = s.round
		at = len(w.line.queue)
		for at > 0 && w.line.queue[at-1].round > w.round {
			at--
		}
	}
	w.line.queue = slices.Insert(w.line.queue, at, w)
}

// count counts one more that waits, or one less.
func (ls *lines) count(w *waiter, n int) *lineSource {
	s := w.line.from[w.names.source]
	if s == nil {
		s = new(lineSource)
		w.line.from[w.names.source] = s
	}
	if s.waiting += n; s.waiting == 0 {
		delete(w.line.from, w.names.source)
	}
	ls.waiting += n
	return s
}

// willWake reports whether an attempt of this process wakes the waiter.
func (ls *lines) willWake(w *waiter) bool {
	return slices.ContainsFunc(w.on, func(key throttle.Key) bool { return ls.pending[key] > 0 })
}

func (ls *lines) wake(w *waiter) {
	ls.remove(w)
	ls.enqueue(w, true)
}

// remove takes the waiter out of where it waits.
func (ls *lines) remove(w *waiter) {
	l := w.line
	defer func() {
		if !l.ready() {
			ls.ready = slices.DeleteFunc(ls.ready, func(other *line) bool { return other == l })
		}
	}()
	if i := slices.Index(l.settling, w); i >= 0 {
		l.settling = slices.Delete(l.settling, i, i+1)
		return
	}
	if i := slices.Index(l.queue, w); i >= 0 {
		l.queue = slices.Delete(l.queue, i, i+1)
		ls.count(w, -1)
		return
	}
	i := slices.Index(l.parked, w)
	if i < 0 {
		return
	}
	l.parked = slices.Delete(l.parked, i, i+1)
	ls.count(w, -1)
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
	ls.drop(w.line, w.names)
}

// drop removes an empty line.
func (ls *lines) drop(l *line, k *names) {
	if l.asking == 0 && l.waiting() == 0 && !l.ready() {
		delete(ls.byNetwork, k.network())
	}
}
