package gormstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// When the primary fails, services and their feeds continue at the promoted standby,
// which has all confirmed changes.
func TestFeedFollowsANewPrimary(t *testing.T) {
	t.Parallel()
	primary := throwaway.StartPostgres(t)
	standby := throwaway.StartPostgresStandby(t, primary)
	dsn := throwaway.PrimaryDSN(t, primary, standby)
	fromPool, db := openWatched(t, dsn, pgxfeed.Listener{})
	ofItsOwn, _ := openWatched(t, dsn, pgxfeed.Listener{DSN: dsn})
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "commits wait for the standby", func() (waits bool) {
		if err := db.Raw("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'").Scan(&waits).Error; err != nil {
			t.Fatal(err)
		}
		return waits
	})
	// Commits use the settings that the checkpointer has read.
	if err := db.Exec("CHECKPOINT").Error; err != nil {
		t.Fatal(err)
	}
	a, b := replica(t, fromPool, lease), replica(t, ofItsOwn, lease)
	good, revoked := issueTo(t, a, "alice"), issueTo(t, a, "bob")
	for _, auth := range []*tokenauth.Service{a, b} {
		warm(t, auth, good)
		warm(t, auth, revoked)
	}

	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer stop()
	for _, auth := range []*tokenauth.Service{a, b} {
		asking.Go(func() {
			for ctx.Err() == nil {
				if _, err := auth.Validate(t.Context(), good); errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Errorf("a valid token is refused: %v", err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	if err := b.Revoke(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	primary.Kill(t)
	eventually(t, "the feeds are lost", func() bool { return !a.CacheStats().FeedAlive && !b.CacheStats().FeedAlive })
	if err := openDialector(t, postgres.Open(standby.DSN()), nil).Exec("SELECT pg_promote()").Error; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the feeds are alive again", func() bool { return a.CacheStats().FeedAlive && b.CacheStats().FeedAlive })
	stop()
	asking.Wait()
	for from, to := range map[*tokenauth.Service]*tokenauth.Service{a: b, b: a} {
		if _, err := from.Validate(t.Context(), revoked); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("validating a token that was revoked before the failover: error %v, want ErrInvalidToken", err)
		}
		accessToken := issueTo(t, from, "carol")
		warm(t, to, accessToken)
		if err := from.Revoke(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
		refuses(t, to, accessToken, "a revocation at the new primary")
	}
}
