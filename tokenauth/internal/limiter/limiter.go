// Package limiter limits how fast passwords can be guessed. Hosts configure it
// with [github.com/bearerkit/bearerkit/tokenauth.ThrottleOptions].
//
// An [Attempt] is one sign-in:
//
//   - It waits in the line of its network for a turn: the right to look up its
//     account and to read the counters.
//   - It is counted as pending until its outcome is known. If other pending
//     attempts could reach a limit by failing, it first parks: it gives its
//     turn back and waits for their outcomes.
//   - [Attempt.Settle] replaces the pending count with the outcome.
//
// [Attempt.CountCode] limits the guesses at a one-time code, once the password
// was right.
//
// The comments of this package use these words:
//
//   - A source is an IPv4 address or an IPv6 /64. A network is an IPv4 address
//     or an IPv6 /48.
//   - A layer is a kind of counter, such as "an account from one source". Each
//     layer has its own limit.
//   - A folded name stands for all spellings that some database treats as the
//     same user name (package fold).
//   - A source is known to an account if the user signed in from it within the
//     last 30 days. Most limits then do not apply.
//   - An account is helped after [Limiter.Reset]: for a few tries, the limits
//     of a source do not block it.
//   - A block is this process's record that a counter is over its limit. To ask
//     means to read the counters despite a block. An attempt may need to,
//     because only the counters show whether its source is known.
//   - A wrong list has the last wrong passwords that were tried for a folded
//     name. Repeating a listed password does not count as a failure, but needs
//     a separate turn. There is one such turn a second.
package limiter

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A Limiter counts sign-ins, and blocks attempts that are over a limit. It is
// safe for concurrent use. A nil Limiter returns nil attempts, which are never
// blocked.
type Limiter struct {
	Config // without [Config.Key]
	namer  namer
	local  *localCounters
	memory *memory
	lines  *lines
	wrong  *wrongPasswords
	outage outage
}

// New returns a [Limiter]. It does not validate the [Config].
func New(c Config) *Limiter {
	l := &Limiter{namer: newNamer(c.Key), local: newLocalCounters(c.MaxCounters), memory: newMemory(c.MaxCounters), lines: newLines(c.Timeout.Duration), wrong: newWrongPasswords(c.MaxCounters / len(limits{}))}
	c.Key = nil
	l.Config = c
	return l
}

// shares reports whether the counters are those of [Config.Shared]. It does not
// compare them with Shared, because that panics for a type that == cannot
// compare, such as a struct with a slice.
func (l *Limiter) shares(counters throttle.Storage) bool { return counters != l.local }

func (l *Limiter) now() int64 { return l.Now().UnixMilli() }

// A BlockedError means that a limit blocks the attempt for the duration For.
type BlockedError struct{ For time.Duration }

// Error leaves out the duration, because the duration depends on the account.
func (*BlockedError) Error() string { return "too many failed sign-ins" }

// SetFingerprintKey replaces the random key with which wrong passwords are
// hashed into fingerprints. It is for tests, and must be called before the
// first attempt. With a random key, 3 in 65,536 new guesses look like repeated
// passwords, so a test could fail by chance.
func (l *Limiter) SetFingerprintKey(key []byte) { l.wrong.namer = newNamer(key) }

// Len returns the number of counters and wrong lists in memory.
func (l *Limiter) Len() int { return l.local.len() + l.wrong.len() }
