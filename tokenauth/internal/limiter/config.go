package limiter

import (
	"context"
	"time"

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
	// Bound returns the context of a call of Shared.
	Bound func(context.Context) (context.Context, context.CancelFunc)
	// SharedFailed is called with the first error of each outage of Shared.
	SharedFailed func(error)
}
