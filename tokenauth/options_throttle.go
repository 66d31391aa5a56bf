package tokenauth

import "fmt"

// ThrottleOptions configures the limits on password guessing
// ([Options.Throttle]). The zero value selects the defaults.
//
// The Service checks four limits before it hashes a password:
// PerAccountAndSource, PerAccount, AccountCeiling and PerSource. If any of
// these limits is reached, it refuses the sign-in with [ErrThrottled], even if
// the password is right. A refused sign-in does not count as a failure.
//
// Each limit except AccountCeiling allows some failures without a delay. After
// those, each further failure makes the next attempt wait: 1 second, then 2, 4
// and so on. An attempt in progress counts as a failure until it succeeds, so
// concurrent attempts gain nothing.
//
// Each failure counts for the user name, and for the account that the
// [Authenticator] found ([Credentials.CountAttempt]). Names that differ only by
// case, accents or surrounding spaces count as one name. Requests that a
// browser marks as coming from another site ([Credentials.CrossSite]) count as
// a separate source at the same address.
//
// A device may keep sending an old password. So a wrong password does not count
// again, for the account or the source, if it is one of the last three wrong
// passwords for that name. Such repetitions are limited:
//
//   - For each name and source, the Service hashes one repetition a second. One
//     more repetition waits for its turn, and any others are throttled.
//   - For an account, one repetition a second from all sources together does
//     not count. Further repetitions count.
//   - For an IPv4 address or an IPv6 /48, one repetition a second for all names
//     together does not count. Further repetitions count.
//
// Each process remembers the wrong passwords on its own. It keeps 16 bits of a
// hash with a random key, so 3 of 65,536 other passwords look like repetitions
// and do not count either.
//
// A source is known to an account if the user signed in from it within the last
// 30 days.
//
// One-time codes have limits of their own, which no option changes. They apply
// once the password was right, to the codes that the [Authenticator] reads with
// [Credentials.Code], for the account from all sources together:
//
//   - Five wrong codes in a row cause no delay. After those, each further one
//     makes the next code wait: 1 second, then 2, 4 and so on, up to 15 minutes.
//     A right code resets this count.
//   - 150 wrong codes may count at a time. One of them is forgiven every 58.4
//     hours, the 150th part of a year, so at most 300 are possible in any 365
//     days. A right code does not reset this count. An attacker who knows the
//     password and guesses at six digits for a year succeeds with a chance of
//     less than 1 in 1,000, if three codes are valid at a time.
//
// While a limit blocks the codes of an account, the right code is refused as
// well, with [ErrThrottled]. An attacker who knows the password can so keep the
// owner out: the owner changes the password, and [Service.Unthrottle] resets
// both counts. Key, Replicas and InsecureOff apply to these limits, too.
type ThrottleOptions struct {
	// InsecureOff turns the limits off. It is for load tests, and for hosts
	// that have limits of their own.
	InsecureOff bool

	// PerAccountAndSource is how many failures are free, that is, cause no
	// delay, for one account from one source. A source is an IPv4 address or an
	// IPv6 /64. Zero means 5. The range is 1 to 1000. The wait grows up to 15
	// minutes. A sign-in resets the count. For a source that is not known, a
	// day without a failure also resets it.
	PerAccountAndSource int

	// PerAccount is how many failures are free for one account from all sources
	// together. Zero means 20. The range is 1 to 1000. The wait grows up to 1
	// hour. The limit does not apply to a known source, so failures elsewhere
	// never lock the owner out.
	PerAccount int

	// AccountCeiling is the number of consecutive failures within 100 days
	// after which only known sources may sign in to the account. Zero means 100
	// (NIST SP 800-63B §3.2.2), or PerAccount if that is larger. The range is
	// PerAccount to 10,000. After this many consecutive failures from a known
	// source, the source is no longer known. [Service.Unthrottle] resets this
	// and the other limits for the account.
	AccountCeiling int

	// PerSource is how many failures are free for one source, for all accounts
	// together. Zero means 100. The range is 1 to 100,000. An IPv6 /48 has ten
	// times as many free failures. The wait grows up to 15 minutes. After every
	// 15 minutes without a failure, one failure no longer counts. The limit
	// does not apply to accounts for which the source is known.
	PerSource int

	// MaxCounters is the maximum number of counters. It limits memory use. Zero
	// means 200,000. The range is 1000 to 100 million. By default the throttle
	// takes up to 100 MiB. That includes up to MaxCounters known sources, up to
	// MaxCounters remembered blocks, and the wrong passwords for half as many
	// names. Each of the four limits has a quarter of the counters. If a
	// limit's counters are all in use, a new counter replaces one with few
	// failures, so counters that block attempts stay longest. Each
	// of the two counts of wrong codes has a quarter of MaxCounters on top, which
	// only sign-ins with the right password use.
	MaxCounters int

	// Key makes the replicas count together, in a storage that is a
	// [throttle.Storage]. The key has at least 32 bytes and is the same on all
	// replicas. Keep it secret: counters are named by a keyed hash of the user
	// name, and users sometimes type their password there. The zero [Secret]
	// means that each process counts on its own, and that a restart resets all
	// counts, also those of wrong codes.
	Key Secret

	// Replicas is the number of processes that share the limits. While the
	// storage that Key requires is down, each process counts on its own, and
	// allows only its share of the free failures. Zero means 1. The range is 1
	// to 1000.
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
