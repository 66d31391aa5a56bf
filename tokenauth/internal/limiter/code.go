package limiter

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

const (
	freeCodes    = 5   // the number of consecutive wrong codes that cause no wait
	codesPerYear = 150 // the maximum of the counter in the layer codesOfYear
	// codeForgiveness is how long it takes until that counter forgives one wrong
	// code. [throttle.Counter.FailuresNow] knows the same interval.
	codeForgiveness = 365 * 24 * time.Hour / codesPerYear
)

// CountCode counts a one-time code of the account as wrong. The caller calls it
// after the password was right and before it verifies the code, so that neither
// concurrent guesses nor a failing storage can exceed a limit. If the code turns
// out to be right, [Attempt.TakeBackCodes] undoes the count. An attempt with
// several codes calls CountCode for each of them. A code that was already
// counted for the account, in the same parameter, is not counted again.
//
// While [Config.Shared] fails, each process counts on its own. A code then counts
// for [Config.Replicas] codes of the year. So all processes together allow 300,
// and their codes are forgiven no faster than those of one process.
//
// It returns a [BlockedError] if one of these limits blocks the code:
//
//   - Five wrong codes in a row cause no wait. Each further one makes the next
//     code wait, at first 1 second, then twice as long each time, up to 15
//     minutes.
//   - 150 wrong codes may be counted at a time, and one is forgiven every 58.4
//     hours. So there are at most 300 in any 365 days. A right code does not
//     reset this count.
func (a *Attempt) CountCode(ctx context.Context, parameter string) error {
	if a == nil || slices.ContainsFunc(a.codes, func(code countedCode) bool { return code.parameter == parameter }) {
		return nil
	}
	l, first := a.limiter, len(a.codes) == 0
	code := countedCode{parameter: parameter, counters: l.local, keys: l.namer.codeKeys(ofName, a.names.folded)}
	if a.id != "" {
		code.keys = l.namer.codeKeys(ofAccount, a.id)
	}
	if l.Shared != nil {
		code.counters = l.Shared
	}
	// The caller's time includes that for verifying the code. If Shared hangs,
	// enough of it must be left.
	half, cancel := deadline.Half(ctx)
	defer cancel()
	wait, err := a.countCode(half, code, first, 1)
	if err != nil && l.shares(code.counters) && !deadline.Ended(ctx) {
		l.report(err)
		code.counters = l.local
		wait, err = a.countCode(ctx, code, first, l.Replicas)
	}
	switch {
	case err != nil:
		return err
	case wait > 0:
		return &BlockedError{wait}
	}
	return nil
}

func (a *Attempt) countCode(ctx context.Context, code countedCode, first bool, replicas int) (wait time.Duration, err error) {
	l := a.limiter
	call, cancel, err := l.Timeout.Call(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	now := l.now()
	code.cost = int64(replicas)
	inARow := limit{free: int64(max(1, freeCodes/replicas)), longest: 15 * time.Minute}
	counted := false
	err = code.counters.UpdateCounters(call, code.keys, func(c []throttle.Counter) {
		wait = fullFor(c[1], code.keys[1], code.cost, now)
		if first { // codes of one attempt do not block each other
			blocked, _ := inARow.judge(code.keys[0], c[0], now)
			wait = max(wait, blocked)
		}
		if counted = wait == 0; counted {
			copy(code.before[:], c)
			c[0], c[1] = failed(c[0], code.keys[0], now), spend(c[1], code.keys[1], code.cost, now)
			copy(code.after[:], c)
		}
	})
	if counted {
		code.lost = err != nil
		a.codes = append(a.codes, code)
	}
	return wait, err
}

// TakeBackCodes undoes what [Attempt.CountCode] counted, because the codes were
// right or were not verified. If right is true, the account's wrong codes in a
// row end. If the storage fails, the codes stay counted.
func (a *Attempt) TakeBackCodes(ctx context.Context, right bool) {
	if a == nil {
		return
	}
	for _, code := range slices.Backward(a.codes) {
		err := a.update(ctx, code.counters, code.keys, func(c []throttle.Counter) {
			for i, cost := range [...]int64{1, code.cost} {
				switch {
				case c[i] == code.after[i]:
					c[i] = code.before[i] // with the time of the failure before, so that no new wait begins
				case !code.lost:
					c[i] = spend(c[i], code.keys[i], -cost, a.limiter.now())
				}
			}
			if right {
				c[0] = throttle.Counter{}
			}
		})
		if err != nil {
			a.limiter.report(err)
		}
	}
	a.codes = nil
}

// codeKeys returns the keys of the counters of an account's codes: those in a
// row, and those of a year.
func (n namer) codeKeys(of, value string) []throttle.Key {
	return []throttle.Key{n.key(codes, of, netip.Prefix{}, false, value), n.key(codesOfYear, of, netip.Prefix{}, false, value)}
}

// fullFor returns how long it takes until the counter of a year has room for a
// code with this cost, but at most [MaxWait]. An empty counter has room for any
// code.
func fullFor(c throttle.Counter, key throttle.Key, cost, now int64) time.Duration {
	left := c.FailuresNow(key, now)
	switch over := min(left, left+cost-codesPerYear); {
	case over <= 0:
		return 0
	case over > 1:
		return MaxWait
	}
	since := time.Duration(max(0, now-c.FailedAt)) * time.Millisecond
	return min(codeForgiveness-since%codeForgiveness, MaxWait)
}

// spend returns the [throttle.Counter] after n more wrong codes, or after -n
// fewer if n is negative. In the counter of a year, FailedAt moves on by whole
// intervals only. If it were the time of the last wrong code, each wrong code
// would restart the interval, and an owner with a typo every other day would be
// forgiven nothing.
func spend(c throttle.Counter, key throttle.Key, n, now int64) throttle.Counter {
	left := c.FailuresNow(key, now)
	switch {
	case left+n <= 0:
		return throttle.Counter{}
	case left == 0:
		return throttle.Counter{Failures: n, FailedAt: now}
	}
	c.FailedAt += (c.Failures - left) * codeForgiveness.Milliseconds()
	c.Failures = left + n
	return c
}
