package limiter

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// localCounters has counters in memory, up to a maximum. Each layer has its own
// map, so that failures from very many sources do not evict the counters of
// accounts.
type localCounters struct {
	mu  sync.Mutex
	max int // the maximum size of each map
	// counters has the failures and the pending attempts for each key. The
	// index is the layer.
	counters [layers]map[throttle.Key]throttle.Counter
	// successes has [throttle.Counter.SucceededAt] for each key. It has its own
	// maximum, so that clients that only fail cannot evict the sources from
	// which an account's owner signs in.
	successes map[throttle.Key]success
	sources   map[throttle.Key][]throttle.Key // the keys in successes, by the key of their account
}

// A success is the last sign-in to an account from a [Source], or the last
// reset of the account.
type success struct {
	at      int64 // Unix milliseconds
	account throttle.Key
}

// maxSources is the maximum number of known sources of an account. Otherwise an
// account that signs in from very many sources would evict the known sources of
// other accounts.
const maxSources = 64

func newLocalCounters(max int) *localCounters {
	l := &localCounters{max: max / len(limits{}), successes: make(map[throttle.Key]success), sources: make(map[throttle.Key][]throttle.Key)}
	for i := range l.counters {
		l.counters[i] = make(map[throttle.Key]throttle.Counter)
	}
	return l
}

func (l *localCounters) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.successes)
	for _, counters := range l.counters {
		n += len(counters)
	}
	return n
}

// UpdateCounters implements [throttle.Storage].
func (l *localCounters) UpdateCounters(_ context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var room [maxKeys]throttle.Counter
	counters := room[:len(keys)]
	for i, key := range keys {
		counters[i] = l.get(key)
	}
	before := room
	change(counters)
	for i, key := range keys {
		if counters[i] != before[i] {
			l.put(key, counters[i], keys[min(1, len(keys)-1)], latest(counters))
		}
	}
	return nil
}

// latest returns the newest time in the counters. Right after a change, that is
// about the current time.
func latest(counters []throttle.Counter) (at int64) {
	for _, c := range counters {
		at = max(at, c.FailedAt, c.PendingAt, c.SucceededAt)
	}
	return at
}

func (l *localCounters) get(key throttle.Key) throttle.Counter {
	c := l.counters[key[0]][key]
	c.SucceededAt = l.successes[key].at
	return c
}

func (l *localCounters) put(key throttle.Key, c throttle.Counter, account throttle.Key, now int64) {
	if c.SucceededAt != 0 {
		l.putSuccess(key, success{c.SucceededAt, account})
		c.SucceededAt = 0
	}
	counters := l.counters[key[0]]
	if c == (throttle.Counter{}) {
		delete(counters, key)
		return
	}
	if _, ok := counters[key]; !ok && len(counters) >= l.max {
		dropLeast(counters, now)
	}
	counters[key] = c
}

func (l *localCounters) putSuccess(key throttle.Key, s success) {
	if _, known := l.successes[key]; !known {
		if of := l.sources[s.account]; len(of) >= maxSources {
			l.dropSuccess(slices.MinFunc(of, func(a, b throttle.Key) int {
				return cmp.Compare(l.successes[a].at, l.successes[b].at)
			}))
		}
		if len(l.successes) >= l.max*len(limits{}) {
			l.dropOldestSuccess()
		}
		l.sources[s.account] = append(l.sources[s.account], key)
	}
	l.successes[key] = s
}

func (l *localCounters) dropSuccess(key throttle.Key) {
	account := l.successes[key].account
	delete(l.successes, key)
	l.sources[account] = slices.DeleteFunc(l.sources[account], func(other throttle.Key) bool { return other == key })
	if len(l.sources[account]) == 0 {
		delete(l.sources, account)
	}
}

// sample is the number of map entries that are compared to choose one to drop.
// Iteration over a map begins at a random entry, so every entry can be in the
// sample.
const sample = 32

// dropLeast drops one counter of a sample: the one with the fewest failures. If
// several have equally few, it drops the one whose last failure is the oldest.
// So counters that block nothing go first. To evict a counter, an attacker must
// fill the map with counters that have as many failures.
//
// It never drops a counter with pending attempts. The number of sign-ins in
// progress limits how many such counters there are.
func dropLeast(counters map[throttle.Key]throttle.Counter, now int64) {
	var least throttle.Key
	var of throttle.Counter
	found, looked := false, 0
	for key, c := range counters {
		if looked++; looked > sample {
			break
		}
		c.Failures = c.FailuresNow(key, now)
		c.Failures = max(c.Failures, -c.Failures) // the tries left after a reset count like failures
		switch {
		case c.PendingNow(now) > 0:
		case !found, c.Failures < of.Failures, c.Failures == of.Failures && c.FailedAt < of.FailedAt:
			least, of, found = key, c, true
		}
	}
	if found {
		delete(counters, least)
	}
}

// dropOldestSuccess looks at a random sample of l.successes and drops the oldest
// one in it.
func (l *localCounters) dropOldestSuccess() {
	var oldest throttle.Key
	at, looked := int64(-1), 0
	for key, s := range l.successes {
		if at < 0 || s.at < at {
			oldest, at = key, s.at
		}
		if looked++; looked == sample {
			break
		}
	}
	l.dropSuccess(oldest)
}
