package gormstore

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// A statement is built once and runs on the pool many times. If its field prepare is
// true, the statement is prepared at its first use. The resulting [sql.Stmt] prepares
// the statement again on each further connection that runs it.
type statement struct {
	text     string
	tries    int // the maximum number of attempts
	pool     gorm.ConnPool
	prepare  bool
	prepared atomic.Pointer[sql.Stmt]
}

// stmt returns the prepared statement, or nil if the dialect does not prepare
// statements.
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

// exec runs the statement. If the database rolls the statement back, exec runs it
// again.
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

// queryRow runs the statement and calls read for the first row. It returns
// [sql.ErrNoRows] if there is no row.
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

// queryRows runs the statement and calls read for each row.
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

// faultOr returns the cause of err, an error that occurred while a row was read. If
// rows.Err returns an error, such as a broken connection or an ended context, that
// error is the cause, because it may have left the row incomplete. Otherwise the cause
// is err itself.
func faultOr(rows *sql.Rows, err error) error {
	if fault := rows.Err(); fault != nil {
		return explain(fault)
	}
	return err
}

// retry calls run, and calls it again if the database rolls back its statement or
// transaction. It calls run at most tries times. Between calls it waits for a random
// time, so that concurrent transactions stop colliding.
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
