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
	args       []any // the arguments of condition
}

// sweep deletes the rows in batches, in primary-key order. Each batch is committed on
// its own, so other transactions wait for at most one batch. A row that meets the condition
// throughout the sweep is deleted. A row that no longer meets the condition when its
// batch is deleted is kept.
func (s session) sweep(ctx context.Context, w sweep) (deleted int64, err error) {
	err = s.inBatches(ctx, w.table, w.key, func(batch string, args []any) error {
		n, err := s.write(ctx, s.sql(`DELETE FROM `+w.table+` WHERE `+batch+` AND `+w.condition+s.dialect.unlimited), append(args, w.args...))
		deleted += n
		return err
	})
	return deleted, err
}

// inBatches calls do for one batch of a table's rows after another, in the order of the
// column key, which is the first of the primary key. The parameter batch of do is the
// condition for the rows of the batch, and args are the arguments of that condition.
func (s session) inBatches(ctx context.Context, table, key string, do func(batch string, args []any) error) error {
	next := s.sql(`SELECT ` + key + ` FROM ` + table + ` WHERE ` + key + ` > ? ORDER BY ` + key + ` LIMIT 1 OFFSET ?`)
	after := []byte{} // less than every key
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var last []byte
		err := s.pool().QueryRowContext(ctx, next, after, sweepBatch-1).Scan(&last)
		if errors.Is(err, sql.ErrNoRows) {
			return do(key+` > ?`, []any{after})
		}
		if err != nil {
			return explain(err)
		}
		if err := do(key+` > ? AND `+key+` <= ?`, []any{after, last}); err != nil {
			return err
		}
		after = last
	}
}

// write runs a statement that may change many rows, and returns how many it changed.
//
// On MariaDB and MySQL the statement is a transaction at READ COMMITTED. At that level
// the server keeps no locks on rows that it reads but does not change, and none on the
// gaps between rows.
func (s session) write(ctx context.Context, statement string, args []any) (changed int64, err error) {
	run := func(pool gorm.ConnPool) error {
		result, err := pool.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		changed, err = result.RowsAffected()
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
	return changed, nil
}
