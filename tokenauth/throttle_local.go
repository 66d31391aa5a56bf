package tokenauth

import (
	"context"
	"encoding/binary"
	"sync"
)

// localCounters count in memory, of which they take a bounded part.
type localCounters struct {
	mu  sync.Mutex
	max int
	// counters are those of failures and of what is under way.
	counters map[CounterKey]Counter
	// successes, in Unix milliseconds, are apart: those who only fail must not
	// be able to crowd out the sources from which an owner signs in.
	successes map[CounterKey]int64
	// shared are used when all others are in use: coarse, but never nothing.
	shared [1024]Counter
}

func newLocalCounters(max int) *localCounters {
	return &localCounters{max: max, counters: make(map[CounterKey]Counter), successes: make(map[CounterKey]int64)}
}

// UpdateCounters implements AttemptCounter.
func (l *localCounters) UpdateCounters(_ context.Context, keys []CounterKey, change func([]Counter)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var room [4]Counter
	counters := room[:len(keys)]
	for i, key := range keys {
		counters[i] = l.get(key)
	}
	before := room
	change(counters)
	for i, key := range keys {
		if counters[i] != before[i] {
			l.put(key, counters[i], latest(counters))
		}
	}
	return nil
}

// latest is the time of the newest thing that was counted: now, for whoever
// changed a counter.
func latest(counters []Counter) (at int64) {
	for _, c := range counters {
		at = max(at, c.FailedAt, c.PendingAt, c.SucceededAt)
	}
	return at
}

func (l *localCounters) get(key CounterKey) Counter {
	c, ok := l.counters[key]
	succeeded, known := l.successes[key]
	if !ok && !known && len(l.counters) >= l.max {
		return *l.coarse(key)
	}
	c.SucceededAt = succeeded
	return c
}

func (l *localCounters) coarse(key CounterKey) *Counter {
	return &l.shared[binary.BigEndian.Uint16(key[1:])%uint16(len(l.shared))]
}

func (l *localCounters) put(key CounterKey, c Counter, now int64) {
	if c.SucceededAt != 0 {
		l.putSuccess(key, c.SucceededAt)
		c.SucceededAt = 0
	}
	_, ok := l.counters[key]
	_, known := l.successes[key]
	switch {
	case c == (Counter{}):
		delete(l.counters, key)
	case ok, known, len(l.counters) < l.max, l.makeRoom(now):
		l.counters[key] = c
	default:
		*l.coarse(key) = c
	}
}

func (l *localCounters) putSuccess(key CounterKey, at int64) {
	if _, known := l.successes[key]; !known && len(l.successes) >= l.max {
		l.dropOldestSuccess()
	}
	l.successes[key] = at
}

// sample is how many counters are looked at to find one that can go. A map is
// walked from a random place, so all have their turn.
const sample = 32

// makeRoom drops counters that hold nobody up, of a sample, and reports whether
// there were any.
func (l *localCounters) makeRoom(now int64) (made bool) {
	looked := 0
	for key, c := range l.counters {
		if !c.active(now) {
			delete(l.counters, key)
			made = true
		}
		if looked++; looked == sample {
			break
		}
	}
	return made
}

// active reports whether the counter must stay: something is under way, or the
// failures are of the last day, or they are so many that they must be
// remembered for long.
func (c Counter) active(now int64) bool {
	const day = 24 * 60 * 60 * 1000
	return c.pending(now) > 0 || c.FailedAt+day > now || c.Failures >= 20 && c.FailedAt+milliseconds(longMemory) > now
}

// dropOldestSuccess drops the oldest of a sample.
func (l *localCounters) dropOldestSuccess() {
	var oldest CounterKey
	at, looked := int64(-1), 0
	for key, succeeded := range l.successes {
		if at < 0 || succeeded < at {
			oldest, at = key, succeeded
		}
		if looked++; looked == sample {
			break
		}
	}
	delete(l.successes, oldest)
}
