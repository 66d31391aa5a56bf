package limiter

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/deadline"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// Config configures a [Limiter]. All fields except Key and Shared are required.
type Config struct {
	// PerAccountAndSource, PerAccount and PerSource are the numbers of failures
	// that cause no wait. Each further failure makes the next attempt wait,
	// longer each time. Once an account has AccountCeiling failures, each wait
	// is [MaxWait].
	PerAccountAndSource, PerAccount, AccountCeiling, PerSource int

	MaxCounters int // the maximum number of counters in memory

	// Key is the secret key of the hash that turns accounts and sources into a
	// [throttle.Key]. Nil means a random key, which no other process has.
	Key []byte
	// Shared holds the counters of all replicas. Nil means that this process
	// counts only its own sign-ins, in memory.
	Shared throttle.Storage
	// Replicas is the number of processes that use Shared. While Shared fails,
	// each process counts only its own sign-ins, so it divides its limits by
	// Replicas.
	Replicas int

	Now func() time.Time
	// Timeout limits each call to Shared.
	Timeout *deadline.Timeout
	// SharedFailed is called with an error that Shared returned, at most once a
	// minute.
	SharedFailed func(error)
}
