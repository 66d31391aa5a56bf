package limiter

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// An Attempt is one sign-in. Only one goroutine may use it. The caller calls
// [Attempt.Admit], then [Attempt.CountName] or [Attempt.CountAccount], once or
// several times, and finally [Attempt.Settle]. Admit may be left out. A nil
// Attempt is always admitted and never counted.
type Attempt struct {
	limiter *Limiter
	names   *names
	turn    *waiter // nil while the attempt has no turn
	asks    bool    // whether it may read the counters despite a block; see memory.refuses

	counters throttle.Storage // the storage in which the attempt is pending; nil if it is not pending
	keys     []throttle.Key   // the keys of its counters
	is       counted          // the kind of these counters
	limits   *limits          // the limits that were applied
	repeats  repetition       // for which lists it repeated a wrong password when it was counted
	turnAt   int64            // when it got its turn to repeat a wrong password; 0 if never
	earlier  []earlier
	lost     []lostBegin

	id    string        // the ID of the account; "" if only the user name is known
	codes []countedCode // the one-time codes of this account that were counted as wrong
}

// A countedCode is a one-time code that was counted as wrong.
type countedCode struct {
	parameter     string
	counters      throttle.Storage
	keys          []throttle.Key
	before, after [2]throttle.Counter
	cost          int64 // for how many wrong codes of a year it counts
	lost          bool  // the call returned an error, so the count may not be stored
}

// Attempt returns the [Attempt] for a sign-in. It returns nil for a nil
// [Limiter].
func (l *Limiter) Attempt(userName, password string, from Source) *Attempt {
	if l == nil {
		return nil
	}
	k := l.namer.names(userName, from)
	k.guess = l.wrong.fingerprint(k, password)
	return &Attempt{limiter: l, names: k}
}

// Account returns a keyed hash of the user name, for logs. It returns "" for a
// nil [Attempt].
func (a *Attempt) Account() string {
	if a == nil {
		return ""
	}
	return hex.EncodeToString(a.names.name[8:])
}

// Admit waits until the attempt has its turn to look up the account and to be
// counted. The turn ends with the next call of [Attempt.CountName],
// [Attempt.CountAccount] or [Attempt.Settle]. Admit returns a [BlockedError] if
// this process remembers that a limit blocks the attempt.
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
	if err := a.refused(); err != nil { // a block may have begun during the wait
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

// CountName counts the attempt as pending for its user name and its source, and
// ends its turn. It returns a [BlockedError] if a limit blocks the attempt. If
// pending attempts could reach a limit by failing, CountName waits for their
// outcomes.
func (a *Attempt) CountName(ctx context.Context) error {
	if a == nil {
		return nil
	}
	return a.count(ctx, a.names.byName(), byName)
}

// CountAccount is like [Attempt.CountName], but counts for the account with
// this ID. If found is false, it ignores id, and counts for a user name that no
// account has. It undoes the attempt's earlier count for its name or for
// another account.
func (a *Attempt) CountAccount(ctx context.Context, id string, found bool) error {
	if a == nil {
		return nil
	}
	is := ofNoAccount
	if a.id = ""; found {
		is, a.id = ofAnAccount, id
	}
	keys := a.names.byAccount(id, found)
	if a.counters != nil && a.keys[0] == keys[0] {
		return nil
	}
	return a.count(ctx, keys, is)
}

// counted is the kind of the first two counters in which an [Attempt] is
// pending: those of a name before its account is known, of a name that no
// account has, or of an account.
type counted int

const (
	byName counted = iota
	ofNoAccount
	ofAnAccount
)

// An earlier value holds the counters of an account for which the [Attempt] was
// counted before it was counted for another account. If the attempt fails, the
// failure counts for both accounts.
type earlier struct {
	counters throttle.Storage
	keys     []throttle.Key
}

const maxEarlier = 8

// Counted reports whether the attempt is pending. It returns true for a nil
// [Attempt].
func (a *Attempt) Counted() bool { return a == nil || a.counters != nil }

// repeat checks whether the attempt repeats a wrong password. For one name and
// source, only one attempt a second may do so (see repeatEvery). If it is too
// early, repeat ends the attempt's turn to count, waits, and returns true. The
// attempt then needs a new turn to count.
//
// Instead of waiting, repeat returns a [BlockedError] in two cases: if another
// attempt already waits, or if this process knows that the attempt is blocked.
// In the second case, the response is the same as for any blocked attempt, so
// it does not reveal whether the password was tried before.
func (a *Attempt) repeat(ctx context.Context) (waited bool, err error) {
	l := a.limiter
	now := l.now()
	repeats, wait, next := l.wrong.repeats(a.names, repetition{a.turnAt != 0, a.repeats[1], a.repeats[2]}, now)
	if wait > 0 {
		if left := l.memory.left(a.names, now); left > 0 {
			l.wrong.waited(next, false, now)
			return false, &BlockedError{left}
		}
	}
	switch {
	case wait > 0 && next == nil:
		return false, &BlockedError{wait}
	case wait > 0:
		a.endTurn()
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		now = l.now()
		if l.wrong.waited(next, err == nil, now); err == nil {
			a.turnAt = now
		}
		return true, err
	}
	if a.repeats = repeats; repeats[0] && a.turnAt == 0 {
		a.turnAt = now
	}
	return false, nil
}

func (a *Attempt) count(ctx context.Context, keys []throttle.Key, is counted) error {
	defer a.endTurn() // even if the storage panics
	if a.counters != nil && a.is == ofAnAccount {
		a.codes = nil // they were wrong for that account, and stay counted
		if len(a.earlier) < maxEarlier {
			a.earlier = append(a.earlier, earlier{a.counters, a.keys[:2]})
		}
	}
	a.settle(ctx, Undecided)      // undo the previous count
	defer a.settleLost(ctx, keys) // undo counts that a failed call may have stored
	l := a.limiter
	for {
		if err := a.Admit(ctx); err != nil {
			return err
		}
		waited, err := a.repeat(ctx)
		if err != nil {
			return err
		}
		if waited {
			continue
		}
		v, counters, limits, err := l.reserve(ctx, a, keys)
		if err != nil {
			return err
		}
		l.note(a, keys, &v, counters)
		if longest := v.longest(); longest > 0 {
			l.lines.wakeAll(v.blocks(keys)) // attempts that are parked for these keys are blocked, too
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
