package limiter

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// reserve counts the attempt as pending, unless the verdict blocks it or makes
// it wait. It uses the counters in [Config.Shared], or those of this process if
// Shared is nil or fails. If Shared fails, the limits are divided by
// [Config.Replicas]. It returns the counters and the limits that it used.
func (l *Limiter) reserve(ctx context.Context, a *Attempt, keys []throttle.Key) (verdict, throttle.Storage, *limits, error) {
	limits := l.limits(1)
	if l.Shared != nil {
		v, err := l.reserveIn(ctx, l.Shared, a, keys, &limits)
		if err == nil || deadline.Ended(ctx) {
			return v, l.Shared, &limits, err
		}
		l.report(err)
		limits = l.limits(l.Replicas)
	}
	v, err := l.reserveIn(ctx, l.local, a, keys, &limits)
	return v, l.local, &limits, err
}

// note records in l.memory what the counters showed. It skips the counters that
// this process uses while [Config.Shared] fails, because reading them is cheap,
// and because they no longer apply when Shared works again.
func (l *Limiter) note(a *Attempt, keys []throttle.Key, v *verdict, counters throttle.Storage) {
	if l.Shared == nil || l.shares(counters) {
		l.memory.note(a.names, keys, v, l.now())
	}
}

func (l *Limiter) reserveIn(ctx context.Context, counters throttle.Storage, a *Attempt, keys []throttle.Key, limits *limits) (v verdict, err error) {
	call, cancel, err := l.Timeout.Call(ctx)
	if err != nil {
		return v, err
	}
	defer cancel()
	now := l.now()
	tried := false
	err = counters.UpdateCounters(call, keys, func(c []throttle.Counter) {
		dropVoid(c)
		v = limits.judge(keys, c, now)
		tried = v.longest() == 0 && len(v.waitOn) == 0
		if !tried {
			return
		}
		for i := range c {
			if a.repeats.pends(i) {
				c[i].Pending, c[i].PendingAt = c[i].PendingNow(now)+1, now
			}
		}
	})
	if err != nil && tried {
		a.lost = append(a.lost, lostBegin{counters, a.repeats, now})
	}
	return v, err
}

// A lostBegin is a call that should have counted the attempt as pending, but
// returned an error. The [throttle.Storage] may have stored the count
// nevertheless.
type lostBegin struct {
	counters throttle.Storage
	repeats  repetition
	at       int64
}

// settleLost undoes the counts that the storage stored although the call
// returned an error. Otherwise the attempt would stay pending for a minute, and
// the owner of the account would have to wait for it.
func (a *Attempt) settleLost(ctx context.Context, keys []throttle.Key) {
	for _, lost := range a.lost {
		// The storage updates all counters in one step. So if one of them has
		// the time of the failed call, all were stored.
		_ = a.update(ctx, lost.counters, keys, func(c []throttle.Counter) {
			counted := false
			for i := range c {
				counted = counted || c[i].Pending > 0 && c[i].PendingAt == lost.at
			}
			for i := range c {
				if counted && lost.repeats.pends(i) {
					c[i] = settled(c[i], a.limiter.now())
				}
			}
		})
	}
	a.lost = nil
}

// report passes an error of the shared storage to [Config.SharedFailed], unless
// it did so within the last minute.
func (l *Limiter) report(err error) {
	if l.outage.due(l.now()) {
		l.SharedFailed(err)
	}
}
