package inject

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// sqliteTarget returns the [Target] for SQLite. A file has no server: its only faults
// are other writers.
func sqliteTarget(tb testing.TB, b *store.Backend) *Target {
	tb.Helper()
	s := &sqlServer{admin: openAdmin(tb, "sqlite3", b.DSN)}
	return &Target{
		Connect: func(tb testing.TB, _ []*network.Network) tokenauth.Storage { return b.Connect(tb) },
		Faults: []*Fault{
			while("locked by another writer", 3*time.Second, s.locked("UPDATE torture_tokens SET stamp = stamp")),
			while("another writer again and again", whileItLasts, Again(5*time.Millisecond, s.writeSlowly)),
		},
	}
}

// writeSlowly locks the file for a while.
func (s *sqlServer) writeSlowly(ctx context.Context) error {
	return inTransaction(ctx, s.admin, func(*sql.Tx) error { // beginning locks the file
		Wait(ctx, 300*time.Millisecond)
		return nil
	})
}
