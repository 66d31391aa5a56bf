// Package limiter limits how often passwords can be guessed. tokenauth has the
// limits in the words of its hosts (tokenauth.ThrottleOptions).
package limiter

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/fold"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A Limiter counts attempts to sign in and blocks those over a limit. It is
// safe for concurrent use.
type Limiter struct {
	Config // without the key
	namer  namer
	local  *localCounters
	memory *memory
	lines  *lines
	outage outage
}

// New returns a Limiter.
func New(c Config) *Limiter {
	l := &Limiter{namer: newNamer(c.Key), local: newLocalCounters(c.MaxCounters), memory: newMemory(c.MaxCounters), lines: newLines(c.Timeout.Duration)}
	c.Key = nil
	l.Config = c
	return l
}

func (l *Limiter) now() int64 { return l.Now().UnixMilli() }

// A BlockedError says that a limit blocks the attempt, and for how long.
type BlockedError struct{ For time.Duration }

// Error does not print the time: it depends on the account.
func (*BlockedError) Error() string { return "too many failures" }

// An Attempt is one sign-in, for one goroutine. Its methods are called in this
// order: Admit, one of the Count methods or several, Settle. Nil is one that
// nobody counts: it is always admitted.
type Attempt struct {
	limiter *Limiter
	names   *names
	turn    *waiter // while it has one
	asks    bool    // it is the one that asks whether its source is known

	counters throttle.Storage // where it is pending; nil if it is not
	keys     []throttle.Key   // of those counters
	is       counted          // what it is pending for
	limits   *limits          // that let it pass
	earlier  []earlier
	lost     []lostBegin
}

// Attempt returns a sign-in as the limiter sees it, nil for a nil Limiter.
func (l *Limiter) Attempt(userName string, from Source) *Attempt {
	if l == nil {
		return nil
	}
	return &Attempt{limiter: l, names: l.namer.names(userName, from)}
}

// Account returns a keyed hash of the user name, for logs; "" for nil.
func (a *Attempt) Account() string {
	if a == nil {
		return ""
	}
	return hex.EncodeToString(a.names.name[8:])
}

// Admit returns when the attempt has its turn to look up the account and to count,
// which one of the Count methods or Settle ends. It returns a BlockedError if this
// process knows that a limit blocks the attempt.
func (a *Attempt) Admit(ctx context.Context) error {
	if a == nil || a.turn != nil {
		return nil
	}
	if err := a.refused(); err != nil {
		return err
	}
	w, err := a.limiter.lines.enter(ctx, a.names, a.limiter.memory.knows(a.names))
	if err != nil {
		return err
	}
	a.turn = w
	if err := a.refused(); err != nil { // meanwhile
		a.endTurn()
		return err
	}
	return nil
}

func (a *Attempt) refused() error {
	var left time.Duration
	if left, a.asks = a.limiter.memory.refuses(a.names, a.asks, a.limiter.now()); left > 0 {
		return &BlockedError{left}
	}
	return nil
}

func (a *Attempt) endTurn() {
	if a.turn != nil {
		a.limiter.lines.leave(a.turn)
		a.turn = nil
	}
}

// CountName counts the attempt, as pending, for its user name and its source. It
// returns a BlockedError if a limit blocks it. While only pending attempts are in
// the way, it waits until they are settled. The turn ends.
func (a *Attempt) CountName(ctx context.Context) error {
	if a == nil {
		return nil
	}
	return a.count(ctx, a.names.byName(), byName)
}

// CountAccount is CountName for the account with that ID, or for a user name that
// no account has. It takes the place of what was counted before.
func (a *Attempt) CountAccount(ctx context.Context, id string, found bool) error {
	if a == nil {
		return nil
	}
	is := ofNoAccount
	if found {
		is = ofAnAccount
	}
	keys := a.names.byAccount(id, found)
	if a.counters != nil && a.keys[0] == keys[0] {
		return nil
	}
	return a.count(ctx, keys, is)
}

// counted is what an attempt is pending for.
type counted int

const (
	byName counted = iota
	ofNoAccount
	ofAnAccount
)

// An earlier account of an attempt is one that another took the place of: the
// password was not right there. It counts if it was right nowhere.
type earlier struct {
	counters throttle.Storage
	keys     []throttle.Key
}

const maxEarlier = 8

// Counted reports whether the attempt is pending.
func (a *Attempt) Counted() bool { return a == nil || a.counters != nil }

func (a *Attempt) count(ctx context.Context, keys []throttle.Key, is counted) error {
	defer a.endTurn() // also when the storage panics
	if a.counters != nil && a.is == ofAnAccount && len(a.earlier) < maxEarlier {
		a.earlier = append(a.earlier, earlier{a.counters, a.keys[:2]})
	}
	a.settle(ctx, Undecided)      // what was counted before
	defer a.settleLost(ctx, keys) // and blocked, or counted in this process
	if err := a.Admit(ctx); err != nil {
		return err
	}
	l := a.limiter
	for {
		v, counters, limits, err := l.reserve(ctx, a, keys)
		if err != nil {
			return err
		}
		l.note(a, keys, &v, counters)
		if longest := v.longest(); longest > 0 {
			l.lines.wakeAll(v.blocks(keys)) // those that wait there are blocked, too
			return &BlockedError{longest}
		}
		if len(v.waitOn) == 0 {
			a.counters, a.keys, a.is, a.limits = counters, keys, is, limits
			l.lines.counted(keys)
			return nil
		}
		turn := a.turn
		a.turn, a.asks = nil, false
		if err := l.lines.park(ctx, turn, v.waitOn); err != nil {
			return err
		}
		a.turn = turn
		if err := a.refused(); err != nil {
			return err
		}
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

// Settle counts the outcome, and ends the turn. If the storage fails, the attempt
// stays pending for a minute. The end of ctx does not interrupt it.
func (a *Attempt) Settle(ctx context.Context, o Outcome) {
	if a == nil {
		return
	}
	defer a.endTurn()
	a.settle(ctx, o)
	for _, e := range a.earlier {
		if o != Failed {
			break
		}
		err := a.update(ctx, e.counters, e.keys, func(c []throttle.Counter) {
			for i := range c {
				c[i] = failed(c[i], e.keys[i], a.limiter.now())
			}
		})
		if err != nil {
			a.limiter.outage.note(err, a.limiter)
		}
	}
	a.earlier = nil
}

func (a *Attempt) settle(ctx context.Context, o Outcome) {
	if a.counters == nil {
		return
	}
	l := a.limiter
	if o == Succeeded {
		l.memory.succeeded(a.names)
	}
	defer l.lines.settled(a.keys) // also when the storage panics
	defer func() { a.counters = nil }()
	if a.counters == l.Shared {
		turn, err := l.lines.settle(a.names)
		if err != nil {
			l.outage.note(err, l)
			return
		}
		defer l.lines.leave(turn)
	}
	now := l.now()
	var next verdict // on the next attempt
	err := a.update(ctx, a.counters, a.keys, func(c []throttle.Counter) {
		a.settleAll(c, o, now)
		next = a.limits.judge(a.keys, c, now)
	})
	if err == nil {
		l.note(a, a.keys, &next, a.counters)
		return
	}
	l.outage.note(err, l)
	if errors.Is(err, context.DeadlineExceeded) {
		return // a second call would take as long
	}
	// The connection broke, and the outcome may be counted or not.
	a.update(ctx, a.counters, a.keys, func(c []throttle.Counter) {
		if !a.isSettled(c, o, now) {
			a.settleAll(c, o, now)
		}
	})
}

func (a *Attempt) update(ctx context.Context, counters throttle.Storage, keys []throttle.Key, change func([]throttle.Counter)) error {
	call, cancel, _ := a.limiter.Timeout.Call(context.WithoutCancel(ctx)) // which never ends
	defer cancel()
	return counters.UpdateCounters(call, keys, change)
}

// settleAll settles each counter. Behind those of the account, or of the name as
// typed, are those of the folded name. A success resets the account's own, and of
// the folded name's what other spellings did not add: an account with a similar name
// must not reset the failures of this one.
func (a *Attempt) settleAll(c []throttle.Counter, o Outcome, now int64) {
	own := [2]int64{c[0].FailuresNow(a.keys[0], now), c[1].FailuresNow(a.keys[1], now)}
	for i := range c {
		c[i] = settled(c[i], now)
		switch {
		case o == Failed:
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

// isSettled reports whether each counter says that it had the outcome at that
// moment. Undecided leaves no trace.
func (a *Attempt) isSettled(c []throttle.Counter, o Outcome, now int64) bool {
	for i := range c {
		if o == Failed && c[i].FailedAt != now {
			return false
		}
	}
	return o == Failed || o == Succeeded && c[0].SucceededAt == now
}

// settled is the counter after one of its pending attempts ended.
func settled(c throttle.Counter, now int64) throttle.Counter {
	if c.Pending = max(0, c.PendingNow(now)-1); c.Pending == 0 {
		c.PendingAt = 0
	}
	return c
}

// failed is the counter after one more failure.
func failed(c throttle.Counter, key throttle.Key, now int64) throttle.Counter {
	c.Failures = c.FailuresNow(key, now) + 1
	c.FailedAt = max(c.FailedAt, now)
	return c
}

// Forget resets the counters over all sources of an account and of user names.
func (l *Limiter) Forget(ctx context.Context, id string, userNames ...string) error {
	keys := []throttle.Key{l.namer.accountKey(ofAccount, id)}
	for _, name := range userNames {
		keys = append(keys, l.namer.accountKey(ofName, fold.Name(name)), l.namer.accountKey(asTyped, name))
	}
	defer l.memory.forget()
	for _, key := range keys {
		if err := l.forget(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (l *Limiter) forget(ctx context.Context, key throttle.Key) error {
	reset := func(c []throttle.Counter) { c[0] = throttle.Counter{} }
	if err := l.local.UpdateCounters(ctx, []throttle.Key{key}, reset); err != nil || l.Shared == nil {
		return err
	}
	call, cancel, err := l.Timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return l.Shared.UpdateCounters(call, []throttle.Key{key}, reset)
}

// Len returns how many counters are in memory.
func (l *Limiter) Len() int { return l.local.len() }
