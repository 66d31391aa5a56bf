package main

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// admitSQLite is for a file, whose only faults are its other users.
func admitSQLite(tb testing.TB, b *backend) *patient {
	tb.Helper()
	s := &sqlServer{admin: openAdmin(tb, "sqlite3", b.dsn)}
	return &patient{
		connect: func(tb testing.TB, _ []*network) tokenauth.Storage { return b.connect(tb) },
		faults: []*fault{
			while("locked by another writer", 3*time.Second, s.locked("UPDATE torture_tokens SET stamp = stamp")),
			while("another writer again and again", whileItLasts, again(5*time.Millisecond, s.writeSlowly)),
		},
	}
}

// writeSlowly holds the file for a while.
func (s *sqlServer) writeSlowly(ctx context.Context) error {
	return inTransaction(ctx, s.admin, func(*sql.Tx) error { // that it has begun is enough
		wait(ctx, 300*time.Millisecond)
		return nil
	})
}
