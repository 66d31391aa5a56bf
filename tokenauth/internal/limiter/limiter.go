// Package limiter limits how often passwords can be guessed. tokenauth has the
// limits in the words of its hosts (tokenauth.ThrottleOptions).
package limiter

import (
	"context"
	"encoding/hex"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A Limiter counts attempts to sign in and blocks those over a limit. It is
// safe for concurrent use.
type Limiter struct {
	Config // without the key
	names  namer
	local  *localCounters
	queues queues
	down   atomic.Bool // whether the last call of Shared failed
}

// New returns a Limiter.
func New(c Config) *Limiter {
	l := &Limiter{names: newNamer(c.Key), local: newLocalCounters(c.MaxCounters), queues: queues{byKey: make(map[throttle.Key]*queue)}}
	c.Key = nil
	l.Config = c
	return l
}

// A BlockedError says that a limit blocks the attempt, and for how long.
type BlockedError struct{ For time.Duration }

// Error does not print the time: it depends on the account.
func (*BlockedError) Error() string { return "too many failures" }

// An Attempt is one sign-in, for one goroutine. Nil is one that nobody counts: it
// always begins.
type Attempt struct {
	limiter  *Limiter
	counters throttle.Storage // where it is pending
	keys     []throttle.Key
}

// Attempt returns a sign-in as the limiter sees it, nil for a nil Limiter. Begin
// comes next.
func (l *Limiter) Attempt(userName string, from netip.Addr) *Attempt {
	if l == nil {
		return nil
	}
	return &Attempt{limiter: l, keys: l.names.keys(userName, from)}
}

// Begin counts the attempt as pending in each of its counters. It returns a
// BlockedError if a limit blocks the attempt. While only pending attempts are in
// the way, it waits until they are settled. After nil, the caller settles the
// attempt once.
func (a *Attempt) Begin(ctx context.Context) error {
	if a == nil {
		return nil
	}
	l, source := a.limiter, a.keys[accountAndSource]
	hasTurn := true
	defer func() { // also when the storage panics
		if hasTurn {
			l.queues.wake(source, 0) // the next in the queue must not wait for this one
		}
	}()
	for {
		verdict, err := l.reserve(ctx, a)
		switch {
		case err != nil:
			return err
		case verdict.blocked > 0:
			return &BlockedError{verdict.blocked}
		case !verdict.wait:
			hasTurn = false
			l.queues.enter(source)
			return nil
		}
		hasTurn = false
		if err := l.queues.wait(ctx, source); err != nil {
			return err
		}
		hasTurn = true
	}
}

// reserve counts the attempt where replicas count together, or in this process.
// While the shared storage fails, this process has its part of the limits.
func (l *Limiter) reserve(ctx context.Context, a *Attempt) (verdict, error) {
	replicas := 1
	if l.Shared != nil {
		v, err := l.reserveIn(ctx, l.Shared, a, 1)
		if ctx.Err() != nil {
			return v, err
		}
		l.noteShared(err)
		if err == nil {
			return v, nil
		}
		replicas = l.Replicas
	}
	return l.reserveIn(ctx, l.local, a, replicas)
}

func (l *Limiter) reserveIn(ctx context.Context, counters throttle.Storage, a *Attempt, replicas int) (v verdict, err error) {
	a.counters = counters
	now := l.Now().UnixMilli()
	limits := l.Config.limits(replicas)
	bounded, cancel, err := l.Timeout.Call(ctx)
	if err != nil {
		return v, err
	}
	defer cancel()
	err = counters.UpdateCounters(bounded, a.keys, func(c []throttle.Counter) {
		v = limits.judge(a.keys, c, now)
		if v.blocked > 0 || v.wait {
			return
		}
		for i := range c {
			c[i].Pending, c[i].PendingAt = c[i].PendingNow(now)+1, now
		}
	})
	return v, err
}

// noteShared reports an outage of the shared storage once.
func (l *Limiter) noteShared(err error) {
	if wasDown := l.down.Swap(err != nil); err != nil && !wasDown {
		l.SharedFailed(err)
	}
}

// An Outcome is the result of an attempt.
type Outcome int

// The outcomes. Undecided, the zero value, counts nothing: the attempt neither
// failed nor succeeded.
const (
	Undecided Outcome = iota
	Failed
	Succeeded
)

// Account returns a keyed hash of the user name, for logs; "" for nil.
func (a *Attempt) Account() string {
	if a == nil {
		return ""
	}
	return hex.EncodeToString(a.keys[account][8:])
}

// Settle counts the outcome. If the storage fails, the attempt stays pending
// for a minute. The end of ctx does not interrupt it.
func (a *Attempt) Settle(ctx context.Context, o Outcome) {
	if a == nil {
		return
	}
	l := a.limiter
	defer l.queues.wake(a.keys[accountAndSource], 1) // also when the storage panics
	now := l.Now().UnixMilli()
	bounded, cancel, _ := l.Timeout.Call(context.WithoutCancel(ctx)) // which never ends
	defer cancel()
	err := a.counters.UpdateCounters(bounded, a.keys, func(c []throttle.Counter) {
		for i := range c {
			c[i] = settled(c[i], a.keys[i], o, now)
		}
	})
	if err != nil {
		l.noteShared(err)
	}
}

// settled is the counter after one of its pending attempts had the outcome.
func settled(c throttle.Counter, key throttle.Key, o Outcome, now int64) throttle.Counter {
	if c.Pending = max(0, c.PendingNow(now)-1); c.Pending == 0 {
		c.PendingAt = 0
	}
	switch {
	case o == Failed:
		c.Failures = c.FailuresNow(key, now) + 1
		c.FailedAt = max(c.FailedAt, now)
	case o == Succeeded && key[0] == accountAndSource:
		c.Failures, c.FailedAt, c.SucceededAt = 0, 0, max(c.SucceededAt, now)
	case o == Succeeded && key[0] == account:
		c.Failures, c.FailedAt, c.SucceededAt = 0, 0, 0
	}
	return c
}

// Forget resets the counter of an account over all sources.
func (l *Limiter) Forget(ctx context.Context, userName string) error {
	keys := []throttle.Key{l.names.accountKey(userName)}
	reset := func(c []throttle.Counter) { c[0] = throttle.Counter{} }
	if err := l.local.UpdateCounters(ctx, keys, reset); err != nil || l.Shared == nil {
		return err
	}
	bounded, cancel, err := l.Timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return l.Shared.UpdateCounters(bounded, keys, reset)
}

// Len returns how many counters are in memory.
func (l *Limiter) Len() int { return l.local.len() }
