package gormstore

import (
	"context"
	"time"
)

// Purge implements tokenauth.Purger. Counters that affect no limit any more go
// with the tokens, uncounted.
func (s *Store) Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error) {
	own := session{database: s.database}
	removed, err = own.sweep(ctx, sweep{"tokenauth_tokens", "user_key", "expires_at < ?", expiredBefore.Unix()})
	if err != nil {
		return removed, err
	}
	_, err = own.sweep(ctx, sweep{"tokenauth_counters", "counter_key", "forget_at < ?", expiredBefore.UnixMilli()})
	return removed, err
}
