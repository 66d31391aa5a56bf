package limiter

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth/internal/fold"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Reset ends the blocks of an account and of its user names. Earlier failures
// and wrong one-time codes no longer count, from any source. For 30 days, the
// limits of a source then do not block the account, until it has a success or
// ten failures.
//
// Reset uses existing fields of the counters, so that no [throttle.Storage]
// needs to know about resets. In the all-sources counters of the account and of
// each name as typed, [throttle.Counter.SucceededAt] is the time of the reset
// and Failures starts below zero. In the counter of a folded name, Failures
// starts at zero, because accounts with similar names share that counter.
func (l *Limiter) Reset(ctx context.Context, id string, userNames ...string) error {
	keys := []throttle.Key{l.namer.accountKey(ofAccount, id)}
	var folded []throttle.Key
	ofCodes := [][]throttle.Key{l.namer.codeKeys(ofAccount, id)}
	for _, name := range userNames {
		folded = append(folded, l.namer.accountKey(ofName, fold.Name(name)))
		ofCodes = append(ofCodes, l.namer.codeKeys(ofName, fold.Name(name)))
		keys = append(keys, l.namer.accountKey(asTyped, name))
	}
	defer l.memory.forget(folded)
	now := l.now()
	for _, keys := range ofCodes {
		if err := l.reset(ctx, keys, throttle.Counter{}); err != nil {
			return err
		}
	}
	for _, key := range folded {
		if err := l.reset(ctx, []throttle.Key{key}, throttle.Counter{SucceededAt: now}); err != nil {
			return err
		}
	}
	for _, key := range keys {
		if err := l.reset(ctx, []throttle.Key{key}, throttle.Counter{Failures: -helpedTries, FailedAt: now, SucceededAt: now}); err != nil {
			return err
		}
	}
	return nil
}

func (l *Limiter) reset(ctx context.Context, keys []throttle.Key, to throttle.Counter) error {
	reset := func(c []throttle.Counter) {
		for i := range c {
			c[i] = to
		}
	}
	if err := l.local.UpdateCounters(ctx, keys, reset); err != nil || l.Shared == nil {
		return err
	}
	call, cancel, err := l.Timeout.Call(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return l.Shared.UpdateCounters(call, keys, reset)
}
