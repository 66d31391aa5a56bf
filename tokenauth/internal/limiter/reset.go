package limiter

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth/internal/fold"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Reset resets an account and its user names. The failures before that count no
// longer, from any source. Until the next success, and for up to ten failures within
// 30 days, the limits of a source do not block the account.
//
// The time of the reset is the success of the counter over all sources, and the
// failures there begin below zero. So no storage needs to know of it. Those of a folded
// name begin at zero: accounts that look alike share it.
func (l *Limiter) Reset(ctx context.Context, id string, userNames ...string) error {
	keys := []throttle.Key{l.namer.accountKey(ofAccount, id)}
	var folded []throttle.Key
	for _, name := range userNames {
		folded = append(folded, l.namer.accountKey(ofName, fold.Name(name)))
		keys = append(keys, l.namer.accountKey(asTyped, name))
	}
	defer l.memory.forget(folded)
	now := l.now()
	for _, key := range folded {
		if err := l.reset(ctx, key, throttle.Counter{SucceededAt: now}); err != nil {
			return err
		}
	}
	for _, key := range keys {
		if err := l.reset(ctx, key, throttle.Counter{Failures: -helpedTries, FailedAt: now, SucceededAt: now}); err != nil {
			return err
		}
	}
	return nil
}

func (l *Limiter) reset(ctx context.Context, key throttle.Key, to throttle.Counter) error {
	reset := func(c []throttle.Counter) { c[0] = to }
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
