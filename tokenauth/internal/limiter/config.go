package limiter

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Config configures a [Limiter]. All fields except Key and Shared are required.
type Config struct {
	// PerAccountAndSource, PerAccount and PerSource are the numbers of failures
	// after which an attempt must wait. After AccountCeiling failures, each
	// wait is [MaxWait].
	PerAccountAndSource, PerAccount, AccountCeiling, PerSource int

	MaxCounters int // the maximum number of counters in memory

	// Key is the key of the hash that names counters. Nil means a random key.
	Key []byte
	// Shared holds the counters of all replicas. Nil means that this process
	// counts by itself.
	Shared throttle.Storage
	// Replicas is the number of processes. While Shared fails, each counts by
	// itself, against its part of the limits.
	Replicas int

	Now func() time.Time
	// Timeout limits each call of Shared.
	Timeout *deadline.Timeout
	// SharedFailed is called with errors of Shared, at most once a minute.
	SharedFailed func(error)
}
