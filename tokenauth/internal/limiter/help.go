package limiter

import "github.com/bearerkit/bearerkit/tokenauth/throttle"

// helpedTries is the number of failures after [Limiter.Reset] during which the
// limits of a source do not block the account.
const helpedTries = 10

// helped reports whether the account was reset and has tries left. Pending
// attempts use up tries.
func helped(key throttle.Key, c throttle.Counter, now int64) bool {
	return c.SucceededLately(now) && c.FailuresNow(key, now)+c.PendingNow(now) < 0
}

// dropVoid drops the failures that are older than the last [Limiter.Reset]. A
// reset of the account also applies to its folded name, while the attempt is
// for this account. Other accounts may share a folded name, so a reset of the
// name applies only to the name.
func dropVoid(c []throttle.Counter) {
	c[0] = void(c[0], c[1].SucceededAt)
	if len(c) > 3 {
		c[2] = void(c[2], max(c[1].SucceededAt, c[3].SucceededAt))
		c[3] = void(c[3], c[1].SucceededAt)
	}
}

// void drops the failures of a [throttle.Counter] up to the given time.
func void(c throttle.Counter, until int64) throttle.Counter {
	if c.FailedAt <= until {
		c.Failures, c.FailedAt = 0, 0
	}
	return c
}
