package limiter

import (
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A line is the queue of the sign-ins from one network. They wait for a turn to
// look up their account and to be counted.
type line struct {
	asking   int       // the number of attempts that have a turn
	settling []*waiter // to settle a pending attempt, on which others may wait
	queue    []*waiter // for a turn to look up and count
	parked   []*waiter // for pending attempts to be settled
	round    int       // of the last turn
	from     map[throttle.Key]*lineSource
	woken    int // the value of lines.wakes when one of its waiters was last woken
}

// A lineSource is what a line knows about a [Source] with waiting attempts.
type lineSource struct {
	waiting int // the number of attempts
	round   int // of its newest attempt
}

// waiting returns the number of attempts that wait to begin. It does not
// include those that wait to settle.
func (l *line) waiting() int { return len(l.queue) + len(l.parked) }

// ready reports whether a waiter waits for a turn.
func (l *line) ready() bool { return len(l.settling)+len(l.queue) > 0 }

// most returns the source with the most waiting attempts, and their number.
func (l *line) most() (source throttle.Key, n int) {
	for key, s := range l.from {
		if s.waiting > n {
			source, n = key, s.waiting
		}
	}
	return source, n
}

// newest returns the newest waiter of the source, preferably one that waits for
// its turn.
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

// makeRoom reports whether there is room for one more attempt of the source in
// the line. If all places are taken, the network with the most waiting attempts
// gives one up: the newest attempt of its source with the most.
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
		return false // each source has just one
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

// longest returns the line with the most waiting attempts.
func (ls *lines) longest() (longest *line) {
	for _, l := range ls.byNetwork {
		if longest == nil || l.waiting() > longest.waiting() {
			longest = l
		}
	}
	return longest
}
