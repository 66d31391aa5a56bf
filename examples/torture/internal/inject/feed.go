package inject

import (
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
)

// HasFeed reports whether [OpenFeed] can break the feed of the storage. That is so only
// for throwaway servers, because the faults alter tables and access rights.
func HasFeed(b *store.Backend) bool {
	switch b.Name {
	case "postgres", "postgres-pgbouncer", "redis":
		return b.Server != nil
	}
	return false
}

// OpenFeed returns a [Target] with faults of the feed: they break the path on which
// changes reach the caches, or look as if they did. None of the faults loses a token or
// a change. With ownBeat the feeds have the bug of the plant "own-heartbeat".
func OpenFeed(tb testing.TB, b *store.Backend, ownBeat bool) *Target {
	tb.Helper()
	if b.Name == "redis" {
		return redisFeedTarget(tb, b, ownBeat)
	}
	return postgresFeedTarget(tb, b, ownBeat)
}
