package inject

import (
	"context"
	"testing"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A Target is a storage that has faults.
type Target struct {
	// Connect opens a handle, through networks if there are any, one for each
	// of the addresses, which are of the kind network.
	Connect   func(tb testing.TB, networks []*network.Network) tokenauth.Storage
	Network   string
	Addresses []string
	Faults    []*Fault
	Missing   []string // what cannot be done, and why
	// Afterwards tells what the server has to say of its faults; nil for nothing.
	Afterwards func(context.Context) (string, error)
}

// Open makes a patient of the backend. Asynchronous lets no commit wait for a
// standby, where there is one.
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
