package limiter

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// MaxWait is the longest wait.
const MaxWait = time.Hour

// A limit is the limit of a layer.
type limit struct {
	free    int64         // failures without a wait
	longest time.Duration // wait
	ceiling int64         // failures after which no wait is long enough; 0 for none
}

type limits [4]limit

// limits returns the limits of one of so many processes that count for
// themselves.
func (c *Config) limits(replicas int) limits {
	part := func(n int) int64 { return int64(max(1, n/replicas)) }
	return limits{
		accountAndSource: {free: part(c.PerAccountAndSource), longest: 15 * time.Minute},
		account:          {free: part(c.PerAccount), longest: MaxWait, ceiling: part(c.AccountCeiling)},
		fromSource:       {free: part(c.PerSource), longest: 15 * time.Minute},
		wideSource:       {free: part(10 * c.PerSource), longest: 15 * time.Minute},
	}
}

// A verdict says that an attempt is blocked for a time, or has to wait until
// pending ones are settled. The zero value lets it pass.
type verdict struct {
	blocked time.Duration
	wait    bool
}

// judge applies each limit to its counter.
func (l *limits) judge(keys []throttle.Key, counters []throttle.Counter, now int64) (v verdict) {
	// What others do to the account, or from the same network, does not block a
	// source from which the user signed in lately.
	known := counters[accountAndSource].SucceededLately(now)
	for i, c := range counters {
		if known && i != accountAndSource {
			continue
		}
		of := l[i].judge(keys[i], c, now)
		v.blocked = max(v.blocked, of.blocked)
		v.wait = v.wait || of.wait
	}
	return v
}

func (l *limit) judge(key throttle.Key, c throttle.Counter, now int64) verdict {
	failures, pending := c.FailuresNow(key, now), c.PendingNow(now)
	switch {
	case l.ceiling > 0 && failures >= l.ceiling:
		return verdict{blocked: MaxWait}
	case failures < l.free:
		return verdict{wait: failures+pending >= l.free}
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
	return verdict{wait: pending > 0}
}
