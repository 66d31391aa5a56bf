package tokenauth

import (
	"context"
	"time"
)

// A CounterKey names a counter of attempts: the kind of what it counts for in
// the first byte, and a keyed hash of it.
type CounterKey [16]byte

// A Counter counts the attempts to sign in of an account, of a source, or of
// one at the other. The zero value is one that has counted nothing. Times are
// Unix milliseconds.
type Counter struct {
	Failures    int64 // since the last success, or since they were forgotten
	FailedAt    int64 // the last of them
	Pending     int64 // under way
	PendingAt   int64 // when the last of them began
	SucceededAt int64 // the last success
}

// ForgetAt returns the time, in Unix milliseconds, from which on the counter
// with that key says as much as the zero value, so that a storage may drop it.
func (c Counter) ForgetAt(key CounterKey) int64 {
	remembered := longMemory
	if int(key[0]) < len(memory) {
		remembered = memory[key[0]]
	}
	return max(c.FailedAt+milliseconds(remembered), c.PendingAt+milliseconds(pendingMemory), c.SucceededAt+milliseconds(knownMemory))
}

// An AttemptCounter is a Storage in which replicas count attempts together.
type AttemptCounter interface {
	// UpdateCounters reads the counters with the keys, which are distinct,
	// calls change to change them in place, and stores them, in one atomic
	// step: of several calls at once each sees what the one before it stored.
	// A counter that is not there is zero. There is at least one key. Change may
	// be called again if the step has to be. It may leave all as it was. A counter may be dropped once
	// its ForgetAt is past.
	UpdateCounters(ctx context.Context, keys []CounterKey, change func([]Counter)) error
}

// A layer is one of the limits, all of which an attempt has to pass.
type layer int

const (
	sourceLayer  layer = iota // an account from a source
	accountLayer              // an account from anywhere
	prefixLayer               // a source, for any account
	wideLayer                 // a wider source, where there is one
)

const (
	longMemory    = 100 * 24 * time.Hour // of failures in a row of an account
	knownMemory   = 30 * 24 * time.Hour  // of a success from a source
	pendingMemory = time.Minute          // of what a process began that has ended since
)

func milliseconds(d time.Duration) int64 { return d.Milliseconds() }

// memory is how long the failures of a layer are remembered from the last on.
var memory = [...]time.Duration{
	sourceLayer:  24 * time.Hour,
	accountLayer: longMemory,
	prefixLayer:  time.Hour,
	wideLayer:    time.Hour,
}

// A limit is that of a layer.
type limit struct {
	free    int64         // failures
	longest time.Duration // wait
	ceiling int64         // failures after which there is no waiting it out; 0 for none
}

type limits [4]limit

// limits returns those of one of so many processes that count for themselves.
func (t *throttle) limits(replicas int) limits {
	o := &t.options
	part := func(n int) int64 { return int64(max(1, n/replicas)) }
	return limits{
		sourceLayer:  {free: part(o.SourceFailures), longest: 15 * time.Minute},
		accountLayer: {free: part(o.AccountFailures), longest: time.Hour, ceiling: part(o.AccountCeiling)},
		prefixLayer:  {free: part(o.PrefixFailures), longest: 15 * time.Minute},
		wideLayer:    {free: part(10 * o.PrefixFailures), longest: 15 * time.Minute},
	}
}

// A verdict on an attempt: it is blocked for that long, or has to wait until
// others have come out, or may go on.
type verdict struct {
	blocked time.Duration
	busy    bool
}

// judge looks at the counters of an attempt.
func (l *limits) judge(counters []Counter, now int64) (v verdict) {
	// A source from which the user signed in lately is held up by what it did
	// itself, not by what others do to the account, or beside it.
	known := counters[sourceLayer].known(now)
	for i, c := range counters {
		if known && layer(i) != sourceLayer {
			continue
		}
		of := l[i].judge(c, layer(i), now)
		v.blocked = max(v.blocked, of.blocked)
		v.busy = v.busy || of.busy
	}
	return v
}

// maxRetryAfter is what a client is told to wait at most.
const maxRetryAfter = time.Hour

func (l *limit) judge(c Counter, of layer, now int64) verdict {
	failures, pending := c.failures(of, now), c.pending(now)
	switch {
	case l.ceiling > 0 && failures >= l.ceiling:
		return verdict{blocked: maxRetryAfter}
	case failures < l.free:
		return verdict{busy: failures+pending >= l.free}
	}
	wait := l.longest
	if doublings := failures - l.free; doublings < 12 {
		wait = min(wait, time.Second<<doublings)
	}
	// A clock that was set back must not make the wait longer.
	since := max(0, now-c.FailedAt)
	if left := wait - time.Duration(since)*time.Millisecond; left > 0 {
		return verdict{blocked: left}
	}
	return verdict{busy: pending > 0}
}

// failures is how many are remembered.
func (c Counter) failures(of layer, now int64) int64 {
	if c.FailedAt+milliseconds(memory[of]) <= now {
		return 0
	}
	return c.Failures
}

// known reports whether the user signed in from the source lately.
func (c Counter) known(now int64) bool {
	return c.SucceededAt > 0 && c.SucceededAt+milliseconds(knownMemory) > now
}

// pending is how many attempts are under way: those of a process that ended in
// the middle are not for ever.
func (c Counter) pending(now int64) int64 {
	if c.PendingAt+milliseconds(pendingMemory) <= now {
		return 0
	}
	return c.Pending
}

func (c *Counter) begin(now int64) {
	c.Pending, c.PendingAt = c.pending(now)+1, now
}

func (c *Counter) end(o outcome, of layer, now int64) {
	if c.Pending = max(0, c.pending(now)-1); c.Pending == 0 {
		c.PendingAt = 0
	}
	switch {
	case o == failed:
		c.Failures = c.failures(of, now) + 1
		c.FailedAt = max(c.FailedAt, now)
	case o == succeeded && of == sourceLayer:
		*c = Counter{Pending: c.Pending, PendingAt: c.PendingAt, SucceededAt: max(c.SucceededAt, now)}
	case o == succeeded && of == accountLayer:
		*c = Counter{Pending: c.Pending, PendingAt: c.PendingAt}
	}
}
