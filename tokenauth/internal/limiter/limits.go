package limiter

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// MaxWait is the longest time that a limit blocks an attempt.
const MaxWait = time.Hour

// maxKeys is the maximum number of counters that an attempt has. See
// names.with.
const maxKeys = 6

// A limit applies to one layer of counters. The first byte of a [throttle.Key]
// is its layer, which is also the index into limits. The layers of one-time
// codes are not in limits: see [Attempt.CountCode].
type limit struct {
	free    int64         // the number of failures that cause no wait
	longest time.Duration // the longest wait
	ceiling int64         // the number of failures after which each wait is [MaxWait]; 0 for none
}

type limits [4]limit

// limits returns the limits of the [Config], divided by replicas: the number of
// processes that count sign-ins separately. For shared counters, replicas is 1.
func (c *Config) limits(replicas int) limits {
	part := func(n int) int64 { return int64(max(1, n/replicas)) }
	return limits{
		accountAndSource: {free: part(c.PerAccountAndSource), longest: 15 * time.Minute},
		account:          {free: part(c.PerAccount), longest: MaxWait, ceiling: part(c.AccountCeiling)},
		fromSource:       {free: part(c.PerSource), longest: 15 * time.Minute},
		fromWide:         {free: part(10 * c.PerSource), longest: 15 * time.Minute},
	}
}

// A verdict is the result of applying all limits to an [Attempt]. The zero
// value neither blocks the attempt nor makes it wait.
type verdict struct {
	known   bool                         // the source is known to the account
	helped  bool                         // the account was reset and has tries left, see helped
	used    bool                         // the account was reset and has no tries left
	blocked [len(limits{})]time.Duration // how long each layer of counters blocks the attempt
	each    [maxKeys]time.Duration       // how long each counter blocks the attempt
	waitOn  []throttle.Key               // the counters whose pending attempts must be settled first
}

// longest returns how long the attempt is blocked, or 0 if it is not.
func (v *verdict) longest() (wait time.Duration) {
	for _, blocked := range v.blocked {
		wait = max(wait, blocked)
	}
	return wait
}

// blocks returns the keys whose counters block the attempt.
func (v *verdict) blocks(keys []throttle.Key) (blocking []throttle.Key) {
	for _, key := range keys {
		if v.blocked[key[0]] > 0 {
			blocking = append(blocking, key)
		}
	}
	return blocking
}

// judge applies to each [throttle.Counter] the limit of the counter's layer.
func (l *limits) judge(keys []throttle.Key, counters []throttle.Counter, now int64) (v verdict) {
	// A known source is one from which the user signed in lately. Guesses from
	// elsewhere must not block it. It stops being known when its own
	// consecutive failures reach the account's ceiling.
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

// judge returns how long the limit blocks the attempt. If the limit does not
// block it, wait reports whether pending attempts must be settled first.
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
