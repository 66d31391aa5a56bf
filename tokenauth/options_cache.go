package tokenauth

import (
	"fmt"
	"time"
)

// CacheOptions configures the cache. The zero value selects the defaults.
type CacheOptions struct {
	// MaxEntries is the maximum number of tokens; zero means 100,000. From 1 to
	// 100 million. A token takes about 400 bytes, and 350 more if
	// it has attributes.
	MaxEntries int

	// Lease is how long the cache serves after the last heartbeat of the
	// storage's feed. It bounds how long a token can outlive its end on a replica
	// whose network swallows everything. Zero means 2 seconds. From 100
	// milliseconds to 1 minute. The feed has four heartbeats in a lease.
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
