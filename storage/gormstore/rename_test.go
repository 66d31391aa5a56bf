package gormstore_test

import (
	"database/sql"
	"errors"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A name changes with the transaction of WithTx, or not at all.
func TestRenameInTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		token, ctx := deviceToken("alice", 1), t.Context()
		token.DeviceName = "old"
		if err := s.Replace(ctx, token); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			result error
			want   string
		}{{errors.New("roll back"), "old"}, {nil, "new"}} {
			options := &sql.TxOptions{Isolation: sql.LevelReadCommitted}
			if e.name == "sqlite" {
				options = nil
			}
			err := db.Transaction(func(tx *gorm.DB) error {
				if err := s.WithTx(tx).Rename(ctx, token.Slot, token.Digest, "new"); err != nil {
					t.Error(err)
				}
				return step.result
			}, options)
			if err != step.result {
				t.Fatal(err)
			}
			if got, err := s.Find(ctx, token.Slot); err != nil || got.DeviceName != step.want {
				t.Errorf("after a transaction that returned %v, the name is %q, error %v, want %q", step.result, got.DeviceName, err, step.want)
			}
		}
	})
}

// A purge by the database's clock keeps a key that never expires, and one that expires
// later by a second. It keeps their recorded uses, too.
func TestPurgeKeepsKeysThatNeverExpire(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx := t.Context()
		never := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		for n, expires := range []time.Time{never, time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(-time.Hour).Truncate(time.Second)} {
			key := deviceToken("alice", byte(1+n))
			key.ClientID, key.Device, key.ExpiresAt = "\x01key", "", expires.UTC()
			if err := s.Replace(ctx, key); err != nil {
				t.Fatal(err)
			}
			if err := s.RecordUses(ctx, []tokenauth.Use{use(key, hour)}); err != nil {
				t.Fatal(err)
			}
		}
		if removed, err := s.Purge(ctx, never.Add(time.Hour)); err != nil || removed != 1 {
			t.Errorf("Purge removes %d tokens, error %v, want 1", removed, err)
		}
		if ended, err := s.RevokeUnused(ctx, never); err != nil || ended != 0 {
			t.Errorf("RevokeUnused ends %d tokens, error %v, want 0", ended, err)
		}
		var seconds int64
		if err := db.Raw(`SELECT max(expires_at) FROM tokenauth_tokens`).Scan(&seconds).Error; err != nil || seconds != never.Unix() {
			t.Errorf("the table has the expiry %d, error %v, want %d", seconds, err, never.Unix())
		}
		listed, err := s.List(ctx, tokenauth.UserKeyOf("alice"))
		if err != nil || len(listed) != 2 {
			t.Fatalf("List returns %d tokens, error %v, want 2", len(listed), err)
		}
		for _, key := range listed {
			if !key.LastSeen.Equal(hour) {
				t.Errorf("a key was last seen at %v, want %v", key.LastSeen, hour)
			}
		}
	})
}
