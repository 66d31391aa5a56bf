// Package limiter limits how often passwords can be guessed. tokenauth has the
// limits in the words of its hosts (tokenauth.ThrottleOptions).
package limiter

import (
	"time"
)

// A Limiter counts attempts to sign in and blocks those over a limit. It is
// safe for concurrent use.
type Limiter struct {
	Config // without the key
	namer  namer
	local  *localCounters
	memory *memory
	lines  *lines
	wrong  *wrongPasswords
	outage outage
}

// New returns a Limiter.
func New(c Config) *Limiter {
	l := &Limiter{namer: newNamer(c.Key), local: newLocalCounters(c.MaxCounters), memory: newMemory(c.MaxCounters), lines: newLines(c.Timeout.Duration), wrong: newWrongPasswords(c.MaxCounters / len(limits{}))}
	c.Key = nil
	l.Config = c
	return l
}

func (l *Limiter) now() int64 { return l.Now().UnixMilli() }

// A BlockedError says that a limit blocks the attempt, and for how long.
type BlockedError struct{ For time.Duration }

// Error does not print the time: it depends on the account.
func (*BlockedError) Error() string { return "too many failures" }

// SetFingerprintKey is for tests, before the first attempt: by a random key, a few of
// 65,536 guesses do not count.
func (l *Limiter) SetFingerprintKey(key []byte) { l.wrong.namer = newNamer(key) }

// Len returns how many counters and lists of wrong passwords are in memory.
func (l *Limiter) Len() int { return l.local.len() + l.wrong.len() }
