package tokenauth

import (
	"fmt"
	"time"
)

// CacheOptions configures the cache ([Options.Cache]). The zero value selects
// the defaults.
type CacheOptions struct {
	// MaxEntries is the maximum number of tokens in the cache. Zero means
	// 100,000. The range is 1 to 100 million. A token takes about 400 bytes,
	// and 350 more if it has attributes.
	MaxEntries int

	// Lease is how long the cache may be used after the last heartbeat of the
	// storage's feed. If a replica is cut off from the feed, it may accept an
	// ended token for at most this long. Zero means 2 seconds. The range is 100
	// milliseconds to 1 minute. The feed sends four heartbeats per lease.
	Lease time.Duration
}

func (o *CacheOptions) withDefaults() (CacheOptions, error) {
	c := *o
	setDefault(&c.MaxEntries, 100_000)
	setDefault(&c.Lease, 2*time.Second)
	if c.MaxEntries < 1 || c.MaxEntries > 100_000_000 {
		return c, fmt.Errorf("tokenauth: Options.Cache.MaxEntries is %d, must be from 1 to 100000000", c.MaxEntries)
	}
	if c.Lease < 100*time.Millisecond || c.Lease > time.Minute {
		return c, fmt.Errorf("tokenauth: Options.Cache.Lease is %v, must be from 100ms to 1m", c.Lease)
	}
	return c, nil
}
