package limiter

import (
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// The caller of each method in this file must hold lines.mu.

// dispatch gives free turns to waiters, from each network in rotation.
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

// next returns the waiter that gets the next turn of the line. It returns nil
// if no waiter may have a turn now.
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

// holds reports whether the waiter gets no turn yet, because attempts with the
// same name or source are parked. With a turn, the waiter would only read the
// same counters and park, too.
func (ls *lines) holds(w *waiter) bool {
	return w.on == nil && (ls.held[w.names.pair] > 0 ||
		!w.known && (ls.held[w.names.name] > 0 || ls.held[w.names.source] > 0 || ls.held[w.names.wideSource] > 0))
}

// release removes the waiter's keys from ls.held, so that it no longer holds
// other waiters back.
func (ls *lines) release(w *waiter) {
	for _, key := range w.on {
		if ls.held[key]--; ls.held[key] == 0 {
			delete(ls.held, key)
		}
	}
	w.on = nil
}

// enqueue adds the waiter to the queue of its line: at the front if front is
// true, otherwise at the position of its source's next turn.
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

// count adds n to the number of waiting attempts from the waiter's source, and
// to the total of all lines. It returns the lineSource of that source.
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

// willWake reports whether a pending attempt of this process will wake the
// waiter when it is settled.
func (ls *lines) willWake(w *waiter) bool {
	return slices.ContainsFunc(w.on, func(key throttle.Key) bool { return ls.pending[key] > 0 })
}

func (ls *lines) wake(w *waiter) {
	ls.remove(w)
	ls.enqueue(w, true)
}

// remove takes the waiter out of its line.
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

// drop removes the network's line if the line is empty.
func (ls *lines) drop(l *line, k *names) {
	if l.asking == 0 && l.waiting() == 0 && !l.ready() {
		delete(ls.byNetwork, k.network())
	}
}
