package limiter

import "github.com/bearerkit/bearerkit/tokenauth/throttle"

// helpedTries is how many failures it takes after [Limiter.Reset] until the
// limits of a source can block the account again.
const helpedTries = 10

// helped reports whether the account has tries left that [Limiter.Reset] gave
// it. Pending attempts use up tries.
func helped(key throttle.Key, c throttle.Counter, now int64) bool {
	return c.SucceededLately(now) && c.FailuresNow(key, now)+c.PendingNow(now) < 0
}

// dropVoid drops the failures before the last [Limiter.Reset] from counters in
// the order of names.with. A reset of the account (c[1]) also applies to the
// counters of the folded name (c[2] and c[3]). A reset of the folded name
// (c[3]) does not apply to the account, because several accounts may share the
// name.
func dropVoid(c []throttle.Counter) {
	c[0] = void(c[0], c[1].SucceededAt)
	if len(c) > 3 {
		c[2] = void(c[2], max(c[1].SucceededAt, c[3].SucceededAt))
		c[3] = void(c[3], c[1].SucceededAt)
	}
}

// void returns the [throttle.Counter] without its failures if the last failure
// is not later than the time until. Otherwise it returns the counter unchanged.
func void(c throttle.Counter, until int64) throttle.Counter {
	if c.FailedAt <= until {
		c.Failures, c.FailedAt = 0, 0
	}
	return c
}
