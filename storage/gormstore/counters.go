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

// errRaced says that another inserted a counter first.
var errRaced = errors.New("gormstore: a counter was inserted meanwhile")

// UpdateCounters implements throttle.Storage, by a transaction that
// locks the rows. One that changes nothing writes nothing.
func (s *Store) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	for {
		err := session{database: s.database}.transaction(ctx, func(pool gorm.ConnPool) error {
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
	// In the order of the keys, as they were locked.
	order := make([]int, len(keys))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return bytes.Compare(keys[i][:], keys[j][:]) })
	for _, i := range order {
		if after[i] == before[i] {
			continue
		}
		if err := s.writeCounter(ctx, pool, keys[i], after[i], there[i]); err != nil {
			return err
		}
	}
	return nil
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
			return nil, nil, errors.New("gormstore: the database returned another counter")
		}
		counters[i], there[i] = c, true
	}
	return counters, there, errors.Join(rows.Err(), rows.Close())
}

func (s *Store) writeCounter(ctx context.Context, pool gorm.ConnPool, key throttle.Key, c throttle.Counter, there bool) error {
	statement := s.dialect.insertIgnore + ` tokenauth_counters (failures, failed_at, pending, pending_at, succeeded_at, forget_at, counter_key) VALUES (?, ?, ?, ?, ?, ?, ?)` + s.dialect.onConflict
	if there {
		statement = `UPDATE tokenauth_counters SET failures = ?, failed_at = ?, pending = ?, pending_at = ?, succeeded_at = ?, forget_at = ? WHERE counter_key = ?`
	}
	result, err := pool.ExecContext(ctx, s.sql(statement), c.Failures, c.FailedAt, c.Pending, c.PendingAt, c.SucceededAt, c.ExpiresAt(key), key[:])
	if err != nil || there {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = errRaced
	}
	return err
}
