package limiter

import "github.com/bearerkit/bearerkit/tokenauth/throttle"

// helpedTries is how many failures the limits of a source do not count against an
// account that was reset.
const helpedTries = 10

// helped reports whether the account was reset, and has tries left. Those in progress
// count.
func helped(key throttle.Key, c throttle.Counter, now int64) bool {
	return c.SucceededLately(now) && c.FailuresNow(key, now)+c.PendingNow(now) < 0
}

// dropVoid drops the failures of the account and of its name that are older than the
// last reset. The reset of an account holds for its name, too, while the attempt is
// on this account; one of a name, which others may share, only for the name.
func dropVoid(c []throttle.Counter) {
	c[0] = void(c[0], c[1].SucceededAt)
	if len(c) > 3 {
		c[2] = void(c[2], max(c[1].SucceededAt, c[3].SucceededAt))
		c[3] = void(c[3], c[1].SucceededAt)
	}
}

func void(c throttle.Counter, until int64) throttle.Counter {
	if c.FailedAt <= until {
		c.Failures, c.FailedAt = 0, 0
	}
	return c
}
