// Package throttle is for authors of a storage. It declares the interface
// [Storage], through which the replicas of a service count failed sign-ins
// together, and the [Counter] that the storage keeps.
//
// A host does not need this package: tokenauth.ThrottleOptions sets the limits.
package throttle

import (
	"context"
	"time"
)

// Storage is an optional ability of a tokenauth.Storage. If the host sets
// tokenauth.ThrottleOptions.Key, all replicas that share the storage count
// sign-ins together. It must be safe for concurrent use.
type Storage interface {
	// UpdateCounters does three things in one atomic step: it reads the
	// counters with the keys, calls change to modify them in place, and stores
	// them. The argument of change has one [Counter] for each key, at the same
	// index.
	//
	//   - There is at least one key, and all keys differ.
	//   - For a key that is not stored, change gets the zero Counter.
	//   - Concurrent calls take effect one after the other. Each sees the
	//     counters that the previous one stored.
	//   - The storage may repeat the step, and so call change several times.
	//   - The func change may leave the counters unmodified.
	//   - The storage may drop a counter after its [Counter.ExpiresAt].
	UpdateCounters(ctx context.Context, keys []Key, change func([]Counter)) error
}

// A Key names a [Counter]. The first byte is the kind of the counter. The other
// bytes are a keyed hash of the account, the source, or both. The kinds are:
//
//   - 0 for an account from one source,
//   - 1 for an account from all sources,
//   - 2 for a source,
//   - 3 for an IPv6 /48,
//   - 4 for wrong one-time codes of an account in a row,
//   - 5 for wrong one-time codes of an account in a year.
type Key [16]byte

// A Counter counts sign-in attempts. The zero value has counted none. Times are
// Unix milliseconds.
type Counter struct {
	// Failures is the number of failed attempts. An account's count, and that
	// of its codes in a row, starts again at the last success; any other count
	// starts again after the earlier failures have expired. Failures is
	// negative while an account has attempts left that Service.Unthrottle
	// granted.
	Failures int64
	// FailedAt is the time of the last failure. For kind 5 it is the time from
	// which failures are forgiven.
	FailedAt int64
	// Pending counts the attempts in progress.
	Pending int64
	// PendingAt is the time at which the latest attempt in progress started.
	PendingAt int64
	// SucceededAt is the time of the last success. For an account from all sources
	// it is the time of the last Service.Unthrottle.
	SucceededAt int64
}

const (
	dayMemory     = 24 * time.Hour       // how long failures for an account from one source count
	longMemory    = 100 * 24 * time.Hour // how long an account's consecutive failures count
	successMemory = 30 * 24 * time.Hour  // how long a success from a source counts
	pendingMemory = time.Minute          // how long an attempt in progress counts if its process died
	forgiveness   = 15 * time.Minute     // how long until one failure of a source is forgiven

	yearMemory      = 365 * 24 * time.Hour
	codeForgiveness = yearMemory / 150 // how long until one wrong code of a year is forgiven
)

// counts returns for how many milliseconds after the last failure the failures
// count.
func (c Counter) counts(k Key) int64 {
	switch k[0] {
	case 0:
		return dayMemory.Milliseconds()
	case 2, 3:
		// Failures are forgiven at the rate at which a throttled source may try again,
		// so a guesser gains nothing by pausing.
		return min(c.Failures, int64(longMemory/forgiveness)) * forgiveness.Milliseconds()
	case 5:
		return min(c.Failures, int64(yearMemory/codeForgiveness)) * codeForgiveness.Milliseconds()
	}
	return longMemory.Milliseconds()
}

// ExpiresAt returns the time, in Unix milliseconds, from which the counter with
// this key has the same effect as the zero value. A storage may drop it then.
func (c Counter) ExpiresAt(k Key) int64 {
	return max(c.FailedAt+c.counts(k), c.PendingAt+pendingMemory.Milliseconds(), c.SucceededAt+successMemory.Milliseconds())
}

// FailuresNow returns how many failures still count at the time now, in Unix
// milliseconds.
//
//   - For a source, one failure is forgiven each quarter of an hour.
//   - For an account from one source, failures count for a day after the last
//     failure. If there was a success, failures count for at least 30 days
//     after that success.
//   - For an account from all sources, and for codes in a row, failures count
//     for 100 days after the last one.
//   - For codes in a year, one failure is forgiven every 58.4 hours, which is
//     the 150th part of 365 days.
func (c Counter) FailuresNow(k Key, now int64) int64 {
	switch {
	case k[0] == 0 && c.SucceededLately(now):
		return c.Failures
	case c.FailedAt+c.counts(k) <= now:
		return 0
	case k[0] == 2 || k[0] == 3:
		return c.Failures - max(0, now-c.FailedAt)/forgiveness.Milliseconds()
	case k[0] == 5:
		return c.Failures - max(0, now-c.FailedAt)/codeForgiveness.Milliseconds()
	}
	return c.Failures
}

// PendingNow returns how many attempts are in progress at the time now, in Unix
// milliseconds. An attempt whose process died counts for a minute.
func (c Counter) PendingNow(now int64) int64 {
	if c.PendingAt+pendingMemory.Milliseconds() <= now {
		return 0
	}
	return c.Pending
}

// SucceededLately reports whether the last success was in the 30 days before
// the time now, in Unix milliseconds.
func (c Counter) SucceededLately(now int64) bool {
	return c.SucceededAt > 0 && c.SucceededAt+successMemory.Milliseconds() > now
}
