package limiter

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// reserve counts the attempt in [Config.Shared], or in this process if that is
// nil. While Shared fails, this process counts by itself, against its part of
// the limits.
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

// note remembers what the counters showed. It skips the local counters while
// [Config.Shared] fails: they are cheap to read, and apply only for that time.
func (l *Limiter) note(a *Attempt, keys []throttle.Key, v *verdict, counters throttle.Storage) {
	if l.Shared == nil || counters != l.local {
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

// A lostBegin is a pending count that the [throttle.Storage] may or may not
// have: the call that counted the attempt failed.
type lostBegin struct {
	counters throttle.Storage
	repeats  repetition
	at       int64
}

// settleLost undoes counts that the storage may have although the call failed.
// Otherwise they would stay pending for a minute, and delay the owner of the
// account.
func (a *Attempt) settleLost(ctx context.Context, keys []throttle.Key) {
	for _, lost := range a.lost {
		// The storage updates all counters in one step. So if one of them was
		// counted at that moment, all were.
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
