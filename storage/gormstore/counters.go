package gormstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

var _ throttle.Storage = (*Store)(nil)

// errRaced means that a concurrent transaction inserted one of the counters first.
var errRaced = errors.New("gormstore: a concurrent transaction inserted the counter first")

// UpdateCounters implements [throttle.Storage] with a transaction that locks the rows
// of the counters. If the function change does not change any counter, UpdateCounters
// writes nothing.
func (s *Store) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	for {
		err := s.session().transaction(ctx, func(pool gorm.ConnPool) error {
			return s.updateCounters(ctx, pool, keys, change)
		})
		if !errors.Is(err, errRaced) || ctx.Err() != nil {
			return err
		}
	}
}

func (s *Store) updateCounters(ctx context.Context, pool gorm.ConnPool, keys []throttle.Key, change func([]throttle.Counter)) error {
	before, there, err := s.readCounters(ctx, pool, keys)
	if err != nil {
		return err
	}
	after := slices.Clone(before)
	change(after)
	var inserts, updates []any
	for _, i := range inOrder(keys) { // the order in which readCounters locked the rows
		c := after[i]
		if c == before[i] {
			continue
		}
		row := []any{keys[i][:], c.Failures, c.FailedAt, c.Pending, c.PendingAt, c.SucceededAt, c.ExpiresAt(keys[i])}
		if there[i] {
			updates = append(updates, row...)
		} else {
			inserts = append(inserts, row...)
		}
	}
	if err := s.insertCounters(ctx, pool, inserts); err != nil || len(updates) == 0 {
		return err
	}
	_, err = pool.ExecContext(ctx, s.sql(`INSERT INTO `+counterRows(updates)+s.dialect.overwriteCounter), updates...)
	return err
}

// inOrder returns the indexes of keys in ascending order of the keys.
func inOrder(keys []throttle.Key) []int {
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return bytes.Compare(keys[i][:], keys[j][:]) })
	return order
}

// insertCounters inserts rows. If one of the rows already exists, it returns errRaced.
func (s *Store) insertCounters(ctx context.Context, pool gorm.ConnPool, rows []any) error {
	if len(rows) == 0 {
		return nil
	}
	result, err := pool.ExecContext(ctx, s.sql(s.dialect.insertIgnore+` `+counterRows(rows)+s.dialect.onConflict), rows...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n != int64(len(rows)/counterColumns) {
		err = errRaced
	}
	return err
}

const counterColumns = 7

// counterRows returns the part of an INSERT that follows INTO: the table, its columns,
// and a placeholder for each value.
func counterRows(values []any) string {
	const row = `(?, ?, ?, ?, ?, ?, ?)`
	return `tokenauth_counters (counter_key, failures, failed_at, pending, pending_at, succeeded_at, forget_at) VALUES ` +
		row + strings.Repeat(`, `+row, len(values)/counterColumns-1)
}

func (s *Store) readCounters(ctx context.Context, pool gorm.ConnPool, keys []throttle.Key) (counters []throttle.Counter, there []bool, err error) {
	among := ` WHERE counter_key IN (?` + strings.Repeat(`, ?`, len(keys)-1) + `)`
	args := make([]any, len(keys))
	for i := range keys {
		args[i] = keys[i][:]
	}
	if s.dialect.lock != "" {
		if _, err := pool.ExecContext(ctx, s.sql(s.dialect.lock+among), args...); err != nil {
			return nil, nil, err
		}
	}
	rows, err := pool.QueryContext(ctx, s.sql(`SELECT counter_key, failures, failed_at, pending, pending_at, succeeded_at FROM tokenauth_counters`+
		among+` ORDER BY counter_key`+s.dialect.update), args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	counters, there = make([]throttle.Counter, len(keys)), make([]bool, len(keys))
	for rows.Next() {
		var key sql.RawBytes
		var c throttle.Counter
		if err := rows.Scan(&key, &c.Failures, &c.FailedAt, &c.Pending, &c.PendingAt, &c.SucceededAt); err != nil {
			return nil, nil, err
		}
		i := slices.IndexFunc(keys, func(k throttle.Key) bool { return bytes.Equal(k[:], key) })
		if i < 0 {
			return nil, nil, errOtherRow
		}
		counters[i], there[i] = c, true
	}
	return counters, there, errors.Join(rows.Err(), rows.Close())
}
