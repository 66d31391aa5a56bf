// Package limiter limits how fast passwords can be guessed. Hosts configure it
// by [github.com/bearerkit/bearerkit/tokenauth.ThrottleOptions].
//
// An [Attempt] is one sign-in:
//
//   - It waits in the line of its network for a turn: the right to look up its
//     account and to read the counters.
//   - It is counted as pending until its outcome is known. If pending attempts
//     could reach a limit by failing, it first parks: it gives its turn back
//     and waits for their outcomes.
//   - [Attempt.Settle] replaces the pending count with the outcome.
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
//   - A block is what this process remembers of a counter over its limit. An
//     attempt asks if it reads the counters despite a block, because only they
//     show whether its source is known.
//   - A wrong list has the last wrong passwords of a folded name. A repeated
//     one does not count again. Repeating one needs a turn of its own: there is
//     one a second.
package limiter

import (
	"time"
)

// A Limiter counts sign-ins, and blocks those over a limit. It is safe for
// concurrent use. The attempts of a nil Limiter are nil; they are never
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

func (l *Limiter) now() int64 { return l.Now().UnixMilli() }

// A BlockedError means that a limit blocks the attempt for the duration For.
type BlockedError struct{ For time.Duration }

// Error does not contain the duration, which depends on the account.
func (*BlockedError) Error() string { return "too many failed sign-ins" }

// SetFingerprintKey replaces the random key of the hash that makes fingerprints
// of wrong passwords. It is for tests, and must be called before the first
// attempt. With a random key, 3 in 65,536 new guesses look like repeated
// passwords, so a test could fail by chance.
func (l *Limiter) SetFingerprintKey(key []byte) { l.wrong.namer = newNamer(key) }

// Len returns the number of counters and of lists of wrong passwords in memory.
func (l *Limiter) Len() int { return l.local.len() + l.wrong.len() }
