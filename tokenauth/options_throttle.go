package tokenauth

import "fmt"

// ThrottleOptions configures the limits on guesses of passwords. The zero value
// selects the defaults.
//
// The Service checks four limits before a password is hashed. If one is reached,
// the sign-in is refused with ErrThrottled, whatever the password, and counts for
// nothing. After the free failures each further one makes the next attempt wait:
// 1 second, then 2, 4 and so on. An attempt in progress counts as a failure until
// it succeeds, so that many at once gain nothing.
//
// Failures count for the account that the Authenticator found
// (Credentials.CountAttempt), and for the user name without case, accents and the
// spaces around it. Requests that a browser marks as coming from another site
// (Credentials.CrossSite) count apart: they are one more source at the address.
//
// A wrong password does not count again, for the account or the source, while it is
// one of the last three of that name. So a device may repeat an old password. One
// such repetition a second is hashed for a name and a source. One more waits for
// its turn, and others are throttled. Of all sources together, one repetition a
// second does not count for the account, and of all names one does not for the
// source; others do. Each process remembers the passwords for itself, as 16 bits of
// a hash with a random key. So 3 of 65,536 other passwords do not count either.
//
// A source is known to an account if the user signed in from it within 30 days.
type ThrottleOptions struct {
	// InsecureOff turns the limits off. It is for load tests, and for hosts
	// that have limits of their own.
	InsecureOff bool

	// PerAccountAndSource is how many failures are free for one account from
	// one source, which is an IPv4 address or an IPv6 /64; zero means 5. From 1
	// to 1000. The wait grows to 15 minutes. A sign-in resets the count, and so
	// does a day without a failure where the source is not known.
	PerAccountAndSource int

	// PerAccount is how many failures are free for one account from all sources
	// together; zero means 20. From 1 to 1000. The wait grows to 1 hour. It does
	// not apply to a known source, so that failures elsewhere never lock the owner out.
	PerAccount int

	// AccountCeiling is the number of consecutive failures within 100 days after
	// which only known sources may sign in to the account; zero means 100 (NIST
	// SP 800-63B §3.2.2). A known source that fails as often in a row is not
	// known any more. From PerAccount to 10,000. Service.Unthrottle resets it, and
	// the other limits for the account.
	AccountCeiling int

	// PerSource is how many failures are free for one source, whatever the
	// accounts; zero means 100. An IPv6 /48 has ten times as many. From 1 to
	// 100,000. The wait grows to 15 minutes. Each quarter of an hour without a
	// failure forgives one. It does not apply to accounts that know the source.
	PerSource int

	// MaxCounters bounds the memory; zero means 200,000 counters. With as many
	// known sources and remembered blocks, and the wrong passwords of half as many
	// names, they take up to 100 MiB. From 1000 to 100 million. Each limit has a
	// quarter of them. If these are in use, a new one takes the place of one with few
	// failures, so that those that block somebody stay longest.
	MaxCounters int

	// Key makes replicas count together, in a storage that is a
	// throttle.Storage. It has at least 32 bytes, is the same on all replicas,
	// and is secret: counters are named by a keyed hash of the user name, and
	// people type passwords there. The zero Secret means that each process
	// counts for itself.
	Key Secret

	// Replicas is how many processes share the limits while the storage of Key
	// is down: each has its part. Zero means 1. From 1 to 1000.
	Replicas int
}

func (o ThrottleOptions) withDefaults() (ThrottleOptions, error) {
	setDefault(&o.PerAccountAndSource, 5)
	setDefault(&o.PerAccount, 20)
	setDefault(&o.AccountCeiling, max(100, o.PerAccount))
	setDefault(&o.PerSource, 100)
	setDefault(&o.MaxCounters, 200_000)
	setDefault(&o.Replicas, 1)
	for _, n := range []struct {
		field         string
		got, min, max int
	}{
		{"PerAccountAndSource", o.PerAccountAndSource, 1, 1000},
		{"PerAccount", o.PerAccount, 1, 1000},
		{"AccountCeiling", o.AccountCeiling, o.PerAccount, 10_000},
		{"PerSource", o.PerSource, 1, 100_000},
		{"MaxCounters", o.MaxCounters, 1000, 100_000_000},
		{"Replicas", o.Replicas, 1, 1000},
	} {
		if n.got < n.min || n.got > n.max {
			return o, fmt.Errorf("tokenauth: Options.Throttle.%s is %d, must be from %d to %d", n.field, n.got, n.min, n.max)
		}
	}
	if n := len(o.Key.Reveal()); o.Key != (Secret{}) && n < 32 {
		return o, fmt.Errorf("tokenauth: Options.Throttle.Key has %d bytes, must have at least 32", n)
	}
	return o, nil
}
