// Package throttle is for authors of a storage. It declares the interface
// [Storage] with which replicas of a service count failed sign-ins together,
// and the counters that it stores.
//
// A host does not need this package: tokenauth.ThrottleOptions sets the limits.
package throttle

import (
	"context"
	"time"
)

// Storage is an optional ability of a tokenauth.Storage. Replicas that share
// the storage then count sign-ins together, if the host sets
// tokenauth.ThrottleOptions.Key. It is safe for concurrent use.
type Storage interface {
	// UpdateCounters reads the counters with the keys, calls change to modify
	// them in place, and stores them, in one atomic step. The argument of
	// change has one [Counter] for each key, at the same index.
	//
	//   - There is at least one key, and all keys differ.
	//   - A counter that is not stored is zero.
	//   - Each of several concurrent calls sees what the previous one stored.
	//   - The storage may call change again to repeat the step.
	//   - Change may leave the counters unmodified.
	//   - The storage may drop a counter after its [Counter.ExpiresAt].
	UpdateCounters(ctx context.Context, keys []Key, change func([]Counter)) error
}

// A Key names a [Counter]. The first byte is the kind of the counter: 0 for an
// account from one source, 1 for an account from all sources, 2 for a source,
// and 3 for an IPv6 /48. The other bytes are a keyed hash of the account, the
// source, or both.
type Key [16]byte

// A Counter counts sign-in attempts. The zero value has counted nothing. Times
// are Unix milliseconds.
type Counter struct {
	// Failures counts the failed attempts: for an account since its last success,
	// otherwise since they expired. It is below zero while an account may use the
	// attempts that Service.Unthrottle gave it.
	Failures int64
	// FailedAt is the time of the last failure.
	FailedAt int64
	// Pending counts the attempts in progress.
	Pending int64
	// PendingAt is the time at which the last attempt in progress started.
	PendingAt int64
	// SucceededAt is the time of the last success. For an account from all sources
	// it is the time of the last Service.Unthrottle.
	SucceededAt int64
}

const (
	dayMemory     = 24 * time.Hour       // how long failures of an account from a source count
	longMemory    = 100 * 24 * time.Hour // how long an account's consecutive failures count
	successMemory = 30 * 24 * time.Hour  // how long a success from a source counts
	pendingMemory = time.Minute          // how long an attempt counts if its process died
	forgiveness   = 15 * time.Minute     // after which a source has one failure less
)

// counts returns how long the failures count after the last one, in
// milliseconds.
func (c Counter) counts(k Key) int64 {
	switch k[0] {
	case 0:
		return dayMemory.Milliseconds()
	case 2, 3:
		// Failures are forgiven at the rate at which a throttled source may try again,
		// so a guesser gains nothing by pausing.
		return min(c.Failures, int64(longMemory/forgiveness)) * forgiveness.Milliseconds()
	}
	return longMemory.Milliseconds()
}

// ExpiresAt returns the time, in Unix milliseconds, from which the counter with
// this key equals the zero value. A storage may drop it then.
func (c Counter) ExpiresAt(k Key) int64 {
	return max(c.FailedAt+c.counts(k), c.PendingAt+pendingMemory.Milliseconds(), c.SucceededAt+successMemory.Milliseconds())
}

// FailuresNow returns the failures that still count at a time in Unix
// milliseconds.
//
//   - For a source, one failure is forgiven each quarter of an hour.
//   - For an account from a source, failures count for a day, and in any case
//     for 30 days after the last success.
//   - For an account from all sources, failures count for 100 days.
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

// PendingNow returns the attempts in progress at a time in Unix milliseconds.
// An attempt whose process died counts for a minute.
func (c Counter) PendingNow(now int64) int64 {
	if c.PendingAt+pendingMemory.Milliseconds() <= now {
		return 0
	}
	return c.Pending
}

// SucceededLately reports whether the last success still counts at a time in
// Unix milliseconds: it does for 30 days.
func (c Counter) SucceededLately(now int64) bool {
	return c.SucceededAt > 0 && c.SucceededAt+successMemory.Milliseconds() > now
}
