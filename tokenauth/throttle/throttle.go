// Package throttle has the counters by which a tokenauth.Service limits guesses
// of passwords, and the interface of a storage in which replicas count together.
//
// A host does not need it: tokenauth.ThrottleOptions sets the limits. It is for
// the author of a storage.
package throttle

import (
	"context"
	"time"
)

// Storage is an optional ability of a tokenauth.Storage: replicas that share it
// count sign-ins together (tokenauth.ThrottleOptions.Key).
type Storage interface {
	// UpdateCounters reads the counters with the keys, calls change to modify
	// them in place, and stores them, in one atomic step.
	//
	//   - There is at least one key, and no key is there twice.
	//   - A counter that is not stored is zero.
	//   - Of concurrent calls, each sees what the one before it stored.
	//   - The storage may call change again to repeat the step. Change may leave
	//     the counters as they are.
	//   - The storage may drop a counter once its ExpiresAt has passed.
	UpdateCounters(ctx context.Context, keys []Key, change func([]Counter)) error
}

// A Key names a counter. The first byte is what the counter counts for: 0 for
// an account from a source, 1 for an account from all sources, 2 for a source,
// and 3 for an IPv6 /48. The rest is a keyed hash of which.
type Key [16]byte

// A Counter counts attempts to sign in. The zero value has counted nothing.
// Times are Unix milliseconds.
type Counter struct {
	Failures    int64 // since the last success (of an account), or since they expired; below zero for tries that Service.Unthrottle gave
	FailedAt    int64 // the last failure
	Pending     int64 // attempts in progress
	PendingAt   int64 // the start of the last of them
	SucceededAt int64 // the last success; of an account from all sources, the last Service.Unthrottle
}

const (
	dayMemory     = 24 * time.Hour       // of failures of an account from a source
	longMemory    = 100 * 24 * time.Hour // of an account's consecutive failures
	successMemory = 30 * 24 * time.Hour  // of a success from a source
	pendingMemory = time.Minute          // of an attempt whose process died
	forgiveness   = 15 * time.Minute     // after which a source has one failure less
)

// counts returns for how long the failures count, in milliseconds since the last of
// them.
func (c Counter) counts(k Key) int64 {
	switch k[0] {
	case 0:
		return dayMemory.Milliseconds()
	case 2, 3:
		// As slowly as new ones are let through, so that pauses gain nothing.
		return min(c.Failures, int64(longMemory/forgiveness)) * forgiveness.Milliseconds()
	}
	return longMemory.Milliseconds()
}

// ExpiresAt returns the time, in Unix milliseconds, from which the counter with
// that key equals the zero value, so that a storage may drop it.
func (c Counter) ExpiresAt(k Key) int64 {
	return max(c.FailedAt+c.counts(k), c.PendingAt+pendingMemory.Milliseconds(), c.SucceededAt+successMemory.Milliseconds())
}

// FailuresNow returns the failures that still count for the key. Those of a source
// become one less each quarter of an hour. Those of an account from a source count
// for a day, or for as long as the success before them.
func (c Counter) FailuresNow(k Key, now int64) int64 {
	switch {
	case k[0] == 0 && c.SucceededLately(now):
		return c.Failures
	case c.FailedAt+c.counts(k) <= now:
		return 0
	case k[0] == 2 || k[0] == 3:
		return c.Failures - max(0, now-c.FailedAt)/forgiveness.Milliseconds()
	}
	return c.Failures
}

// PendingNow returns the attempts in progress. An attempt whose process died
// counts for a minute.
func (c Counter) PendingNow(now int64) int64 {
	if c.PendingAt+pendingMemory.Milliseconds() <= now {
		return 0
	}
	return c.Pending
}

// SucceededLately reports whether the last success still counts.
func (c Counter) SucceededLately(now int64) bool {
	return c.SucceededAt > 0 && c.SucceededAt+successMemory.Milliseconds() > now
}
