package gormstore_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// If a statement runs until its context ends, the error of the store names a timeout.
// SQLite's own error is only "interrupted".
func TestSQLiteTimeoutErrorNamesTimeout(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, sqliteDSN(t), 0)
	s := newStore(t, db, nil)
	for _, table := range []string{"tokenauth_users", "tokenauth_tokens"} { // make each read endless
		for _, statement := range []string{
			"ALTER TABLE " + table + " RENAME TO host_" + table,
			"CREATE VIEW " + table + " AS WITH RECURSIVE endless (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM endless)" +
				" SELECT host_" + table + ".* FROM endless CROSS JOIN host_" + table + " WHERE x < 0",
		} {
			if err := db.Exec(statement).Error; err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
	}
	for name, call := range map[string]func(context.Context) error{
		"Find": func(ctx context.Context) error { _, err := s.Find(ctx, tokenauth.SlotOf("alice", "")); return err },
		"List": func(ctx context.Context) error { _, err := s.List(ctx, tokenauth.UserKeyOf("alice")); return err },
		"FindBatch": func(ctx context.Context) error {
			_, err := s.FindBatch(ctx, batchSlots(2))
			return err
		},
		"Users.FindByName": func(ctx context.Context) error { _, err := s.Users().FindByName(ctx, "alice"); return err },
		"Users.Count":      func(ctx context.Context) error { _, err := s.Users().Count(ctx); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		err := call(ctx)
		cancel()
		if !errors.Is(err, gormstore.ErrInterrupted) || !strings.Contains(err.Error(), "took longer than its timeout") {
			t.Errorf("%s returns %v, want an error that names a timeout", name, err)
		}
	}
}
