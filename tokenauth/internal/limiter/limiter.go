// Package limiter limits how fast passwords can be guessed. Package tokenauth
// exposes it to hosts as
// [github.com/bearerkit/bearerkit/tokenauth.ThrottleOptions].
package limiter

import (
	"time"
)

// A Limiter counts sign-ins, and blocks those over a limit. It is safe for
// concurrent use. A nil Limiter returns nil attempts, which are never blocked.
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

// Error leaves out the duration, which depends on the account.
func (*BlockedError) Error() string { return "too many failed sign-ins" }

// SetFingerprintKey sets the key of the fingerprints of wrong passwords. It is
// for tests, before the first attempt. With the random default, 3 of 65,536
// guesses are taken for a repeated password.
func (l *Limiter) SetFingerprintKey(key []byte) { l.wrong.namer = newNamer(key) }

// Len returns the number of counters and of lists of wrong passwords in memory.
func (l *Limiter) Len() int { return l.local.len() + l.wrong.len() }
