package gormstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// If the context ends while a row is read, the row is not reported as corrupt.
func TestContextEndsWhileRowIsRead(t *testing.T) {
	t.Parallel()
	db, err := gorm.Open(gormlite.Open("file:" + filepath.Join(t.TempDir(), "test.db")))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for name, run := range map[string]func(q *statement, ctx context.Context, read func(scan func(...any) error) error) error{
		"queryRow": func(q *statement, ctx context.Context, read func(scan func(...any) error) error) error {
			return q.queryRow(ctx, read)
		},
		"queryRows": func(q *statement, ctx context.Context, read func(scan func(...any) error) error) error {
			return q.queryRows(ctx, read)
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		err := run(&statement{text: `SELECT 1 UNION ALL SELECT 2`, pool: pool}, ctx, func(scan func(...any) error) error {
			cancel()
			for { // until the rows are closed
				var n int
				if err := scan(&n); err != nil {
					return fmt.Errorf("%w: %w", tokenauth.ErrCorrupt, err)
				}
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) || errors.Is(err, tokenauth.ErrCorrupt) {
			t.Errorf("%s returns %v", name, err)
		}
	}
}
