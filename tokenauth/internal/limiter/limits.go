package limiter

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// MaxWait is the longest wait.
const MaxWait = time.Hour

// maxKeys is how many counters an attempt has at most.
const maxKeys = 6

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
		fromWide:         {free: part(10 * c.PerSource), longest: 15 * time.Minute},
	}
}

// A verdict says which limits block an attempt, for how long, and for which
// pending attempts it has to wait. The zero value lets it pass.
type verdict struct {
	known   bool // the source, to the account
	helped  bool // the account, by a reset
	used    bool // all that a reset gave
	blocked [len(limits{})]time.Duration
	each    [maxKeys]time.Duration // of the counters, in their order
	waitOn  []throttle.Key
}

// longest is for how long the attempt is blocked.
func (v *verdict) longest() (wait time.Duration) {
	for _, blocked := range v.blocked {
		wait = max(wait, blocked)
	}
	return wait
}

// blocks returns those of the keys whose counters block.
func (v *verdict) blocks(keys []throttle.Key) (blocking []throttle.Key) {
	for _, key := range keys {
		if v.blocked[key[0]] > 0 {
			blocking = append(blocking, key)
		}
	}
	return blocking
}

// judge applies each limit to its counter.
func (l *limits) judge(keys []throttle.Key, counters []throttle.Counter, now int64) (v verdict) {
	// What others do to the account, or from the same network, does not block a
	// source from which the user signed in lately, unless that has failed as often
	// in a row as an account bears.
	for i, c := range counters {
		v.known = v.known || keys[i][0] == accountAndSource && c.SucceededLately(now) &&
			c.FailuresNow(keys[i], now) < l[account].ceiling
	}
	v.helped = helped(keys[1], counters[1], now)
	v.used = !v.helped && counters[1].SucceededAt != 0
	for i, c := range counters {
		layer := keys[i][0]
		if v.known && layer != accountAndSource || v.helped && layer >= fromSource {
			continue
		}
		blocked, wait := l[layer].judge(keys[i], c, now)
		v.blocked[layer], v.each[i] = max(v.blocked[layer], blocked), blocked
		if wait {
			v.waitOn = append(v.waitOn, keys[i])
		}
	}
	return v
}

// judge returns for how long the limit blocks an attempt, or whether pending ones
// are in its way.
func (l *limit) judge(key throttle.Key, c throttle.Counter, now int64) (blocked time.Duration, wait bool) {
	failures, pending := c.FailuresNow(key, now), c.PendingNow(now)
	switch {
	case l.ceiling > 0 && failures >= l.ceiling:
		return MaxWait, false
	case failures < l.free:
		return 0, failures+pending >= l.free
	}
	longest := l.longest
	if doublings := failures - l.free; doublings < 12 {
		longest = min(longest, time.Second<<doublings)
	}
	// A clock that was set back must not make the wait longer.
	since := max(0, now-c.FailedAt)
	if left := longest - time.Duration(since)*time.Millisecond; left > 0 {
		return left, false
	}
	return 0, pending > 0
}
