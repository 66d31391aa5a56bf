package limiter

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// localCounters count in memory, of which they take a bounded part.
type localCounters struct {
	mu  sync.Mutex
	max int
	// counters are those of failures and of what is under way.
	counters map[throttle.Key]throttle.Counter
	// successes, in Unix milliseconds, are apart: those who only fail must not
	// be able to crowd out the sources from which an owner signs in.
	successes map[throttle.Key]int64
	// shared are used when all others are in use: coarse, but never nothing.
	shared [1024]throttle.Counter
}

func newLocalCounters(max int) *localCounters {
	return &localCounters{max: max, counters: make(map[throttle.Key]throttle.Counter), successes: make(map[throttle.Key]int64)}
}

func (l *localCounters) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.counters) + len(l.successes)
}

// UpdateCounters implements throttle.Storage.
func (l *localCounters) UpdateCounters(_ context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var room [4]throttle.Counter
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
func latest(counters []throttle.Counter) (at int64) {
	for _, c := range counters {
		at = max(at, c.FailedAt, c.PendingAt, c.SucceededAt)
	}
	return at
}

func (l *localCounters) get(key throttle.Key) throttle.Counter {
	c, ok := l.counters[key]
	succeeded, known := l.successes[key]
	if !ok && !known && len(l.counters) >= l.max {
		return *l.coarse(key)
	}
	c.SucceededAt = succeeded
	return c
}

func (l *localCounters) coarse(key throttle.Key) *throttle.Counter {
	return &l.shared[binary.BigEndian.Uint16(key[1:])%uint16(len(l.shared))]
}

func (l *localCounters) put(key throttle.Key, c throttle.Counter, now int64) {
	if c.SucceededAt != 0 {
		l.putSuccess(key, c.SucceededAt)
		c.SucceededAt = 0
	}
	_, ok := l.counters[key]
	_, known := l.successes[key]
	switch {
	case c == (throttle.Counter{}):
		delete(l.counters, key)
	case ok, known, len(l.counters) < l.max, l.makeRoom(now):
		l.counters[key] = c
	default:
		*l.coarse(key) = c
	}
}

func (l *localCounters) putSuccess(key throttle.Key, at int64) {
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
		if !active(c, now) {
			delete(l.counters, key)
			made = true
		}
		if looked++; looked == sample {
			break
		}
	}
	return made
}

// active reports whether the counter must stay: an attempt is pending, the last
// failure is less than a day old, or there are so many failures that they count
// for longer.
func active(c throttle.Counter, now int64) bool {
	const day, long = 24 * time.Hour, 100 * 24 * time.Hour
	return c.PendingNow(now) > 0 || c.FailedAt+day.Milliseconds() > now ||
		c.Failures >= 20 && c.FailedAt+long.Milliseconds() > now
}

// dropOldestSuccess drops the oldest of a sample.
func (l *localCounters) dropOldestSuccess() {
	var oldest throttle.Key
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
