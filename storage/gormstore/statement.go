package gormstore

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
)

// A statement is run on the pool, over and over. It is prepared where that
// saves a round trip; database/sql prepares it anew on each connection.
type statement struct {
	text     string
	tries    int // at most
	pool     gorm.ConnPool
	prepare  bool
	prepared atomic.Pointer[sql.Stmt]
}

// stmt returns nil if the statement is not to be prepared.
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

// exec runs the statement, and again if the database rolled it back.
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

// queryRow gives the one row there is to read, or returns sql.ErrNoRows.
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

// queryRows gives each row there is to read.
func (q *statement) queryRows(ctx context.Context, read func(scan func(...any) error) error, args ...any) error {
	rows, err := q.query(ctx, args)
	if err != nil {
		return err
	}
	return readRows(rows, read)
}

// queryRows runs a query once and gives each row there is to read.
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

// faultOr returns why a row could not be read. If the connection broke in the
// middle, or the context ended, that is why, and the row says nothing.
func faultOr(rows *sql.Rows, err error) error {
	if fault := rows.Err(); fault != nil {
		return explain(fault)
	}
	return err
}

// retry runs a statement or a transaction that may be run again, as long as the
// database says that it rolled it back. Several that keep rolling each other back
// pause for different times.
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
