package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// purgeBatch is how many rows one statement of a purge looks at.
const purgeBatch = 1000

// Purge implements tokenauth.Purger. It walks over the primary key, because an
// index on the expiry would make each sign-in an update of that index. Each
// batch is a statement of its own that tests the expiry in the row it deletes.
// Counters that say nothing any more go with them, uncounted.
func (s *Store) Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error) {
	next := s.sql(`SELECT user_key FROM tokenauth_tokens WHERE user_key > ? ORDER BY user_key LIMIT 1 OFFSET ?`)
	remove := s.sql(`DELETE FROM tokenauth_tokens WHERE user_key > ? AND user_key <= ? AND expires_at < ?`)
	removeRest := s.sql(`DELETE FROM tokenauth_tokens WHERE user_key > ? AND expires_at < ?`)

	after := []byte{} // before every key
	for {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		var last []byte
		err := s.pool.QueryRowContext(ctx, next, after, purgeBatch-1).Scan(&last)
		rest := errors.Is(err, sql.ErrNoRows)
		if err != nil && !rest {
			return removed, err
		}
		var result sql.Result
		err = retry(ctx, func() (err error) {
			if rest {
				result, err = s.pool.ExecContext(ctx, removeRest, after, expiredBefore.Unix())
			} else {
				result, err = s.pool.ExecContext(ctx, remove, after, last, expiredBefore.Unix())
			}
			return err
		})
		if err != nil {
			return removed, err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return removed, err
		}
		removed += n
		if rest {
			return removed, s.purgeCounters(ctx, expiredBefore.UnixMilli())
		}
		after = last
	}
}
