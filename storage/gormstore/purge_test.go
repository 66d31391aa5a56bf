package gormstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A replica whose clock is wrong by years purges no token that is valid by the
// database's clock. It logs that its clock is wrong.
func TestWrongClockPurgesNoValidToken(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		auth := service(t, s, noUsers{})
		accessToken := issueTo(t, auth, "alice")
		var printed syncBuffer
		wrong, err := tokenauth.New(s, noUsers{}, &tokenauth.Options{
			Now:    func() time.Time { return time.Now().AddDate(10, 0, 0) },
			Logger: slog.New(slog.NewTextHandler(&printed, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { wrong.Run(ctx) })
		eventually(t, "the clock is logged", func() bool {
			return strings.Contains(printed.String(), "level=ERROR") && strings.Contains(printed.String(), "clock of this process")
		})
		cancel()
		wg.Wait()
		if removed, err := wrong.Purge(t.Context()); removed != 0 || err != nil {
			t.Errorf("Service.Purge removed %d, error %v", removed, err)
		}
		// The same without the Service, which may not see the database's clock.
		if removed, err := s.Purge(t.Context(), time.Now().AddDate(10, 0, 0)); removed != 0 || err != nil {
			t.Errorf("Store.Purge removed %d, error %v", removed, err)
		}
		if _, err := auth.Validate(t.Context(), accessToken); err != nil {
			t.Error(err)
		}
		if now, err := s.Now(t.Context()); err != nil || time.Since(now).Abs() > time.Minute {
			t.Errorf("the database's clock is at %v, error %v", now, err)
		}
	})
}

// A syncBuffer is a buffer that is safe for concurrent use.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// A sweep may wait for a transaction that has locked a row. Meanwhile it must not keep
// rows locked that it does not delete, so that sign-ins continue.
func TestSweepsBlockNoSignIn(t *testing.T) {
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
		last := []byte(fmt.Sprintf("%-16d", 999)) // the greatest key
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

// A purge of counters stops between batches when its context ends.
func TestPurgeOfCountersStopsWithItsContext(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Purge(ctx, time.Now()); !errors.Is(err, context.Canceled) {
			t.Errorf("Purge with an ended context: %v", err)
		}
	})
}
