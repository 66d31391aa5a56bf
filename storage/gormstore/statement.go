package gormstore

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// A statement runs on the pool many times. It is prepared where that saves a round
// trip. A [sql.Stmt] prepares itself again on each connection.
type statement struct {
	text     string
	tries    int // the maximum number of attempts
	pool     gorm.ConnPool
	prepare  bool
	prepared atomic.Pointer[sql.Stmt]
}

// stmt returns the prepared statement, or nil if the dialect does not prepare.
func (q *statement) stmt(ctx context.Context) (*sql.Stmt, error) {
	if !q.prepare {
		return nil, nil
	}
	if p := q.prepared.Load(); p != nil {
		return p, nil
	}
	p, err := q.pool.PrepareContext(ctx, q.text)
	if err != nil {
		return nil, explain(err)
	}
	if !q.prepared.CompareAndSwap(nil, p) {
		p.Close()
	}
	return q.prepared.Load(), nil
}

// exec runs the statement, and repeats it if the database rolls it back.
func (q *statement) exec(ctx context.Context, args ...any) (result sql.Result, err error) {
	err = retry(ctx, q.tries, func() error {
		stmt, err := q.stmt(ctx)
		if err != nil {
			return err
		}
		if stmt == nil {
			result, err = q.pool.ExecContext(ctx, q.text, args...)
		} else {
			result, err = stmt.ExecContext(ctx, args...)
		}
		return err
	})
	return result, err
}

func (q *statement) query(ctx context.Context, args []any) (*sql.Rows, error) {
	stmt, err := q.stmt(ctx)
	if err != nil {
		return nil, err
	}
	var rows *sql.Rows
	if stmt == nil {
		rows, err = q.pool.QueryContext(ctx, q.text, args...)
	} else {
		rows, err = stmt.QueryContext(ctx, args...)
	}
	return rows, explain(err)
}

// queryRow calls read for the first row, or returns [sql.ErrNoRows].
func (q *statement) queryRow(ctx context.Context, read func(scan func(...any) error) error, args ...any) error {
	rows, err := q.query(ctx, args)
	if err != nil {
		return err
	}
	return readRow(rows, read)
}

func readRow(rows *sql.Rows, read func(scan func(...any) error) error) error {
	defer rows.Close()
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return explain(err)
		}
		return sql.ErrNoRows
	}
	if err := read(rows.Scan); err != nil {
		return faultOr(rows, err)
	}
	return rows.Close()
}

// queryRows calls read for each row.
func (q *statement) queryRows(ctx context.Context, read func(scan func(...any) error) error, args ...any) error {
	rows, err := q.query(ctx, args)
	if err != nil {
		return err
	}
	return readRows(rows, read)
}

// queryRows runs a query and calls read for each row.
func queryRows(ctx context.Context, pool gorm.ConnPool, query string, args []any, read func(scan func(...any) error) error) error {
	rows, err := pool.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return readRows(rows, read)
}

func readRows(rows *sql.Rows, read func(scan func(...any) error) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return faultOr(rows, err)
		}
	}
	if err := rows.Err(); err != nil {
		return explain(err)
	}
	return rows.Close()
}

// faultOr returns the error of rows if there is one, such as a broken connection or an
// ended context, because the row may be incomplete then. Otherwise it returns err.
func faultOr(rows *sql.Rows, err error) error {
	if fault := rows.Err(); fault != nil {
		return explain(fault)
	}
	return err
}

// retry calls run again if the database rolled its statement or transaction back, up
// to tries times in all. It pauses for random times, so that concurrent transactions
// stop colliding.
func retry(ctx context.Context, tries int, run func() error) (err error) {
	const pause, longest = 2 * time.Millisecond, 32 * time.Millisecond
	for try := range tries {
		if err = run(); err == nil || !rolledBack(err) || try == tries-1 {
			return explain(err)
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(min(pause<<try, longest))):
		}
	}
	return explain(err)
}
