package limiter

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Config configures a Limiter. All fields but Key and Shared are required.
type Config struct {
	// PerAccountAndSource, PerAccount and PerSource are the failures after
	// which an attempt has to wait, and AccountCeiling those after which no
	// wait is long enough.
	PerAccountAndSource, PerAccount, AccountCeiling, PerSource int

	MaxCounters int // in memory

	// Key is the key of the hash that names counters. Nil means a random one.
	Key []byte
	// Shared is the storage in which replicas count together. Nil means that
	// this process counts for itself.
	Shared throttle.Storage
	// Replicas share the limits while Shared fails: each has its part.
	Replicas int

	Now func() time.Time
	// Timeout bounds each call of Shared.
	Timeout *deadline.Timeout
	// SharedFailed is called with an error of Shared, at most once a minute.
	SharedFailed func(error)
}
