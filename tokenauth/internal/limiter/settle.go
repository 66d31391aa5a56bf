package limiter

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// An Outcome is the result of an [Attempt], for [Attempt.Settle].
type Outcome int

// The outcomes. Undecided, the zero value, means that the attempt neither
// failed nor succeeded. Such an attempt is not counted.
const (
	Undecided Outcome = iota
	Failed
	// FailedOtherwise means that the attempt failed although the password was
	// right. It always counts as a failure, unlike Failed, which does not count
	// if the attempt repeats a wrong password.
	FailedOtherwise
	Succeeded
	// Verified means that the password was right, but that the attempt counts
	// neither as a failure nor as a success. The password is no longer a wrong
	// one that the attempt repeats.
	Verified
)

// Settle counts the outcome, and ends the turn if the attempt still has one. It
// continues even if ctx ends. If the storage fails, the attempt stays pending
// for a minute.
func (a *Attempt) Settle(ctx context.Context, o Outcome) {
	if a == nil {
		return
	}
	defer a.endTurn()
	if (o == Undecided || o == Verified) && a.turnAt != 0 {
		a.limiter.wrong.giveBack(a.names, a.turnAt)
	}
	a.settle(ctx, o)
	if o == Failed || o == FailedOtherwise {
		a.failEarlier(ctx, o)
	}
	a.earlier = nil
}

// failEarlier also counts the failure for the accounts in a.earlier. The
// attempt was counted for them before it was counted for its last account.
func (a *Attempt) failEarlier(ctx context.Context, o Outcome) {
	for _, e := range a.earlier {
		counts := a.counts(o, e.keys)
		err := a.update(ctx, e.counters, e.keys, func(c []throttle.Counter) {
			dropVoid(c)
			for i := range c {
				if counts[i] {
					c[i] = failed(c[i], e.keys[i], a.limiter.now())
				}
			}
		})
		if err != nil {
			a.limiter.report(err)
		}
	}
}

// counts reports for each key whether the outcome counts as a failure in that
// key's counter. If the outcome is Failed, counts also remembers the wrong
// password.
func (a *Attempt) counts(o Outcome, keys []throttle.Key) (counts [maxKeys]bool) {
	switch o {
	case Failed:
		return a.limiter.wrong.failed(a.names, keys, a.repeats)
	case FailedOtherwise:
		for i := range counts {
			counts[i] = true
		}
	}
	return counts
}

func (a *Attempt) settle(ctx context.Context, o Outcome) {
	if a.counters == nil {
		return
	}
	l := a.limiter
	counts := a.counts(o, a.keys)
	if o == Succeeded || o == Verified {
		l.wrong.succeeded(a.names)
	}
	if o == Succeeded {
		l.memory.succeeded(a.names)
	}
	defer l.lines.settled(a.keys) // even if the storage panics
	defer func() { a.counters = nil }()
	if l.shares(a.counters) {
		turn, err := l.lines.settle(a.names)
		if err != nil {
			l.report(err)
			return
		}
		defer l.lines.leave(turn)
	}
	now := l.now()
	var next verdict // of the next attempt
	err := a.update(ctx, a.counters, a.keys, func(c []throttle.Counter) {
		a.settleAll(c, o, counts, now)
		next = a.limits.judge(a.keys, c, now)
	})
	if err == nil {
		l.note(a, a.keys, &next, a.counters)
		return
	}
	l.report(err)
	if errors.Is(err, context.DeadlineExceeded) {
		return // a second call would probably take as long
	}
	// The connection broke, so the outcome may or may not be stored.
	a.update(ctx, a.counters, a.keys, func(c []throttle.Counter) {
		if !isSettled(c, o, counts, now) {
			a.settleAll(c, o, counts, now)
		}
	})
}

func (a *Attempt) update(ctx context.Context, counters throttle.Storage, keys []throttle.Key, change func([]throttle.Counter)) error {
	call, cancel, _ := a.limiter.Timeout.Call(context.WithoutCancel(ctx)) // no error, because the parent never ends
	defer cancel()
	return counters.UpdateCounters(call, keys, change)
}

// settleAll settles the attempt in its counters, which are in the order of
// names.with. The first two are those of the account, or of the name as typed.
// The next two are those of the folded name.
//
// A success resets these four counters. If only the name is known, and not the
// account, a success subtracts from the folded name's counters only the
// failures of this spelling, because a sign-in must not reset the failures of
// another account with a similar name.
func (a *Attempt) settleAll(c []throttle.Counter, o Outcome, counts [maxKeys]bool, now int64) {
	dropVoid(c)
	own := [2]int64{max(0, c[0].FailuresNow(a.keys[0], now)), max(0, c[1].FailuresNow(a.keys[1], now))}
	for i := range c {
		if a.repeats.pends(i) {
			c[i] = settled(c[i], now)
		}
		switch {
		case counts[i] && i < 2 && !counts[i+2] && c[i+2].FailuresNow(a.keys[i+2], now) > 0:
			// The password was already wrong under another spelling of the
			// name, and the wait after that failure is over. Keep the time of
			// that failure. A new wait would reveal that the spellings belong
			// to different accounts.
			c[i] = failed(c[i], a.keys[i], c[i+2].FailedAt)
		case counts[i]:
			c[i] = failed(c[i], a.keys[i], now)
		case o == Succeeded && i >= 2 && i < 4 && a.is == byName:
			if c[i].Failures = max(0, c[i].FailuresNow(a.keys[i], now)-own[i-2]); c[i].Failures == 0 {
				c[i].FailedAt = 0
			}
		case o == Succeeded && i < 4:
			c[i].Failures, c[i].FailedAt = 0, 0
		}
	}
	if o == Succeeded {
		c[0].SucceededAt = max(c[0].SucceededAt, now)
	}
}

// isSettled reports whether the counters show that the outcome o was stored at
// the time now. It returns false for an outcome that changes no time in a
// counter.
func isSettled(c []throttle.Counter, o Outcome, counts [maxKeys]bool, now int64) bool {
	trace := o == Succeeded && c[0].SucceededAt == now
	for i := range c {
		if counts[i] && (i >= 2 || counts[i+2]) {
			if c[i].FailedAt != now {
				return false
			}
			trace = true
		}
	}
	return trace
}

// settled returns the [throttle.Counter] after one of its pending attempts has
// ended.
func settled(c throttle.Counter, now int64) throttle.Counter {
	if c.Pending = max(0, c.PendingNow(now)-1); c.Pending == 0 {
		c.PendingAt = 0
	}
	return c
}

// failed returns the [throttle.Counter] after one more failure.
func failed(c throttle.Counter, key throttle.Key, now int64) throttle.Counter {
	c.Failures = c.FailuresNow(key, now) + 1
	c.FailedAt = max(c.FailedAt, now)
	return c
}
