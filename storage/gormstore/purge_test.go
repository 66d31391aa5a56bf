package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"
)

// A purge of tokens, one of counters and the end of a client's tokens wait for a
// transaction that has locked a row, and keep no other row locked meanwhile that
// they leave alone: attempts and sign-ins go on.
func TestSweepsLockNobodyElse(t *testing.T) {
	lockable(t, func(t *testing.T, db *gorm.DB) {
		s := newStore(t, db, nil)
		const n = 2500
		now := time.Now()
		err := db.Transaction(func(tx *gorm.DB) error {
			for i := range n {
				key := fmt.Sprintf("%-16d", i)
				forget := now.Add(time.Hour)
				if i%100 == 0 || i == n-1 {
					forget = now.Add(-time.Hour)
				}
				if err := tx.Exec(`INSERT INTO tokenauth_counters (failures, failed_at, pending, pending_at, succeeded_at, forget_at, counter_key) VALUES (1, 0, 0, 0, 0, ?, ?)`,
					forget.UnixMilli(), []byte(key)).Error; err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		holding := db.Begin()
		defer holding.Rollback()
		last := []byte(fmt.Sprintf("%-16d", 999)) // the greatest of the keys
		if err := holding.Exec(`UPDATE tokenauth_counters SET failures = 2 WHERE counter_key = ?`, last).Error; err != nil {
			t.Fatal(err)
		}
		purged := make(chan error, 1)
		go func() { _, err := s.Purge(t.Context(), now); purged <- err }()
		eventually(t, "the batches before the last are purged", func() bool {
			var old int64
			if err := db.Raw(`SELECT count(*) FROM tokenauth_counters WHERE forget_at < ?`, now.UnixMilli()).Scan(&old).Error; err != nil {
				t.Fatal(err)
			}
			return old < 26
		})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		for i := range n {
			if i%50 != 1 || i == 999 {
				continue
			}
			if err := db.WithContext(ctx).Exec(`UPDATE tokenauth_counters SET failures = failures + 1 WHERE counter_key = ?`, []byte(fmt.Sprintf("%-16d", i))).Error; err != nil {
				t.Fatalf("counter %d: %v", i, err)
			}
		}
		if err := holding.Rollback().Error; err != nil {
			t.Fatal(err)
		}
		if err := <-purged; err != nil {
			t.Fatal(err)
		}
		var left int64
		if err := db.Raw(`SELECT count(*) FROM tokenauth_counters`).Scan(&left).Error; err != nil || left != n-26 {
			t.Errorf("%d counters are left, want %d, error %v", left, n-26, err)
		}
	})
}

// A purge of counters stops with its context between batches.
func TestPurgeOfCountersStops(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Purge(ctx, time.Now()); !errors.Is(err, context.Canceled) {
			t.Errorf("Purge with an ended context: %v", err)
		}
	})
}
