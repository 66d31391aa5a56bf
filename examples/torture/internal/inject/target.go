package inject

import (
	"context"
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Target is a storage and the faults that can be injected into it. See [Open] and
// [OpenFeed].
type Target struct {
	// Connect opens a handle. It connects through the networks, one for each of
	// Addresses, or directly if there are none.
	Connect   func(tb testing.TB, networks []*network.Network) tokenauth.Storage
	Network   string // the network of Addresses: "tcp" or "unix"
	Addresses []string
	Faults    []*Fault
	Missing   []string // faults that cannot be injected here, and why
	// Afterwards returns what the server reports about its faults. Nil reports
	// nothing.
	Afterwards func(context.Context) (string, error)
}

// Open returns the [Target] of the backend. With asynchronous, commits do not wait for
// the standby of "postgres-standby".
func Open(tb testing.TB, b *store.Backend, asynchronous bool) *Target {
	tb.Helper()
	switch b.Name {
	case "postgres":
		return postgresTarget(tb, b)
	case "postgres-standby":
		return pairTarget(tb, b, asynchronous)
	case "mariadb", "mysql":
		return mariadbTarget(tb, b)
	case "redis":
		return redisTarget(tb, b)
	case "redis-cluster":
		return clusterTarget(tb)
	case "redis-sentinel":
		return sentinelTarget(tb)
	default:
		return sqliteTarget(tb, b)
	}
}
