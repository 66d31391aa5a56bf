package inject

import (
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
)

// HasFeed reports whether OpenFeed can break the feed of the storage. It alters
// tables and rights, and so only does it to a server that was started for this.
func HasFeed(b *store.Backend) bool {
	switch b.Name {
	case "postgres", "postgres-pgbouncer", "redis":
		return b.Server != nil
	}
	return false
}

// OpenFeed returns the target whose faults break the way of changes to the caches,
// or look like it. None of them loses a token or a change of one. With ownBeat the
// feeds have the bug of the plant "own-heartbeat".
func OpenFeed(tb testing.TB, b *store.Backend, ownBeat bool) *Target {
	tb.Helper()
	if b.Name == "redis" {
		return redisFeedTarget(tb, b, ownBeat)
	}
	return postgresFeedTarget(tb, b, ownBeat)
}
