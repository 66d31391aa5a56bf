package gormstore

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"
)

// sweepBatch is the number of rows that each statement of a sweep tests.
const sweepBatch = 1000

// A sweep deletes all rows of a table that meet a condition. No index supports the
// condition, because each sign-in would have to update that index.
type sweep struct {
	table, key string // the key is the first column of the primary key
	condition  string
	arg        any
}

// sweep deletes the rows in batches, in primary-key order. Each batch is committed on
// its own, so other transactions wait for at most one batch. A row that meets the condition
// throughout the sweep is deleted. A row that no longer meets the condition when its
// batch is deleted is kept.
//
// On MariaDB and MySQL each batch is a transaction at READ COMMITTED. At that level the
// server keeps no locks on rows that do not meet the condition.
func (s session) sweep(ctx context.Context, w sweep) (deleted int64, err error) {
	next := s.sql(`SELECT ` + w.key + ` FROM ` + w.table + ` WHERE ` + w.key + ` > ? ORDER BY ` + w.key + ` LIMIT 1 OFFSET ?`)
	remove := s.sql(`DELETE FROM ` + w.table + ` WHERE ` + w.key + ` > ? AND ` + w.key + ` <= ? AND ` + w.condition + s.dialect.unlimited)
	removeRest := s.sql(`DELETE FROM ` + w.table + ` WHERE ` + w.key + ` > ? AND ` + w.condition + s.dialect.unlimited)

	after := []byte{} // less than every key
	for {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		var last []byte
		err := s.pool().QueryRowContext(ctx, next, after, sweepBatch-1).Scan(&last)
		rest := errors.Is(err, sql.ErrNoRows)
		if err != nil && !rest {
			return deleted, explain(err)
		}
		statement, args := remove, []any{after, last, w.arg}
		if rest {
			statement, args = removeRest, []any{after, w.arg}
		}
		n, err := s.delete(ctx, statement, args)
		deleted += n
		if err != nil || rest {
			return deleted, err
		}
		after = last
	}
}

func (s session) delete(ctx context.Context, statement string, args []any) (deleted int64, err error) {
	run := func(pool gorm.ConnPool) error {
		result, err := pool.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		deleted, err = result.RowsAffected()
		return err
	}
	if s.dialect.locksWhatItReads {
		err = s.transaction(ctx, run)
	} else {
		err = retry(ctx, s.tries(), func() error { return run(s.pool()) })
	}
	if err != nil {
		return 0, err
	}
	return deleted, nil
}
