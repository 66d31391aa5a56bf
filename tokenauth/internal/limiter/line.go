package limiter

import (
	"slices"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A line has the attempts of one network that wait for a turn to look up their
// account and to be counted.
type line struct {
	asking   int       // the number of its attempts that have a turn
	settling []*waiter // pending attempts that wait for a turn to be settled; they go first
	queue    []*waiter // attempts that wait for a turn to look up and be counted
	parked   []*waiter // attempts that wait until pending attempts are settled
	round    int       // the round of the last turn; in a round, each source gets at most one turn
	from     map[throttle.Key]*lineSource
	woken    int // the value of lines.wakes when a waiter of the line was last woken
}

// A lineSource is a line's record of a [Source] that has attempts waiting in
// the line.
type lineSource struct {
	waiting int // the number of waiting attempts
	round   int // the round of the newest attempt
}

// waiting returns the number of attempts that are queued or parked. It leaves
// out attempts that wait to be settled.
func (l *line) waiting() int { return len(l.queue) + len(l.parked) }

// ready reports whether an attempt waits for a turn.
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

// newest returns the newest queued waiter of the source. If none is queued, it
// returns the newest parked one.
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

// makeRoom makes room in the line for one more attempt of the source. If a
// maximum is reached, it ends the wait of another attempt with errQueueFull:
// the newest attempt from the source with the most attempts. If maxWaiting is
// reached and the longest line has at least two attempts more than this line,
// that attempt is in the longest line. Otherwise it is in this line.
//
// makeRoom returns false, and ends no wait, if the source itself has about as
// many attempts as any other source in this line.
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
		return false // each source has only one attempt
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
