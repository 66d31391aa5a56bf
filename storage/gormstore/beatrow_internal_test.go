package gormstore

import (
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A process that writes the heartbeat's row while another process changes it returns
// the other process's stamp, without an error.
func TestBeatRowConcurrentWriteSeesOtherStamp(t *testing.T) {
	t.Parallel()
	db, err := gorm.Open(postgres.Open(throwaway.Postgres(t)))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := Migrate(t.Context(), db, &Options{Feed: true}); err != nil {
		t.Fatal(err)
	}
	store, err := New(t.Context(), db, nil)
	if err != nil {
		t.Fatal(err)
	}
	row := newBeatRow(store.database)
	if saw, err := row.write(t.Context(), "", "first"); err != nil || !saw.written {
		t.Fatalf("the first write saw %+v, error %v", saw, err)
	}
	other := db.Begin()
	defer other.Rollback()
	if err := other.Exec(`UPDATE tokenauth_tokens SET stamp = 'theirs' WHERE stamp = 'first'`).Error; err != nil {
		t.Fatal(err)
	}
	type result struct {
		saw sighting
		err error
	}
	done := make(chan result, 1)
	go func() {
		saw, err := row.write(t.Context(), "first", "ours")
		done <- result{saw, err}
	}()
	for waiting := 0; waiting == 0; time.Sleep(10 * time.Millisecond) {
		if err := db.Raw(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting).Error; err != nil {
			t.Fatal(err)
		}
	}
	if err := other.Commit().Error; err != nil {
		t.Fatal(err)
	}
	if r := <-done; r.err != nil || r.saw.written || r.saw.stamp != "theirs" {
		t.Errorf("the write saw %+v, error %v", r.saw, r.err)
	}
}
