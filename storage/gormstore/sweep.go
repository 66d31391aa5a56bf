package gormstore

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"
)

// sweepBatch is how many rows one statement of a sweep looks at.
const sweepBatch = 1000

// A sweep deletes the rows of a table that meet a condition which no index
// serves: an index would make each sign-in an update of that index.
type sweep struct {
	table, key string // the first column of its primary key
	condition  string
	arg        any
}

// sweep walks over the primary key. Each batch is a statement that tests the
// condition in the row that it deletes, and commits: others wait for one batch at
// most. A row that is there from beginning to end, and meets the condition, is
// deleted. On MariaDB and MySQL a batch has a transaction for its level, at which
// they do not keep locked what they have read.
func (s session) sweep(ctx context.Context, w sweep) (deleted int64, err error) {
	next := s.sql(`SELECT ` + w.key + ` FROM ` + w.table + ` WHERE ` + w.key + ` > ? ORDER BY ` + w.key + ` LIMIT 1 OFFSET ?`)
	remove := s.sql(`DELETE FROM ` + w.table + ` WHERE ` + w.key + ` > ? AND ` + w.key + ` <= ? AND ` + w.condition + s.dialect.unlimited)
	removeRest := s.sql(`DELETE FROM ` + w.table + ` WHERE ` + w.key + ` > ? AND ` + w.condition + s.dialect.unlimited)

	after := []byte{} // before every key
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
