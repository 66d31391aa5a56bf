package limiter

import (
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

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
