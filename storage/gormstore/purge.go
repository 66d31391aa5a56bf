package gormstore

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Purge implements [tokenauth.Purger]. It keeps all tokens that are still valid by
// the database's clock, even if they expire before expiredBefore. It also removes
// expired counters of failed sign-ins, and recorded uses of tokens that no longer exist.
// It does not count these in removed.
func (s *Store) Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error) {
	now, err := s.Now(ctx)
	if err != nil {
		return 0, err
	}
	if now.Before(expiredBefore) {
		expiredBefore = now
	}
	own := s.session()
	removed, err = own.sweep(ctx, sweep{"tokenauth_tokens", "user_key", "expires_at < ? AND refresh_expires_at < ?", []any{expiredBefore.Unix(), expiredBefore.Unix()}})
	if err != nil {
		return removed, err
	}
	if err := s.purgeUses(ctx); err != nil {
		return removed, err
	}
	_, err = own.sweep(ctx, sweep{"tokenauth_counters", "counter_key", "forget_at < ?", []any{expiredBefore.UnixMilli()}})
	return removed, err
}

// Now returns the time of the database's clock, in whole seconds. Before a
// [tokenauth.Service] purges, it compares this time with its own clock.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var now sql.NullInt64
	if err := s.session().pool().QueryRowContext(ctx, s.dialect.now).Scan(&now); err != nil {
		return time.Time{}, fmt.Errorf("gormstore: reading the database's clock: %w", explain(err))
	}
	return time.Unix(now.Int64, 0).UTC(), nil
}
