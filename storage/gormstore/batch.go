package gormstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A statement reads as many slots at most: up to 8, or up to 64, each of which costs
// time also if it is not asked for.
const (
	smallBatch = 8
	maxBatch   = 64
)

// FindBatch implements tokenauth.BatchFinder, by one statement that reads the
// primary key once for each slot, or by that of Find for a single one.
func (s *Store) FindBatch(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	if len(slots) == 1 {
		t, err := s.Find(ctx, slots[0])
		if err != nil && !errors.Is(err, tokenauth.ErrNotFound) && !errors.Is(err, tokenauth.ErrCorrupt) {
			return nil, err
		}
		return []tokenauth.Found{{Token: t, Err: err}}, nil
	}
	found := make([]tokenauth.Found, len(slots))
	at := 0
	for batch := range slices.Chunk(slots, maxBatch) {
		if err := s.readBatch(ctx, batch, found[at:]); err != nil {
			return nil, err
		}
		at += len(batch)
	}
	return found, nil
}

// readBatch sets what there is in each of the slots.
func (s *Store) readBatch(ctx context.Context, slots []tokenauth.Slot, found []tokenauth.Found) error {
	for i := range slots {
		found[i].Err = tokenauth.ErrNotFound
	}
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	find, args := s.batch(slots)
	return find.queryRows(ctx, func(scan func(...any) error) error {
		t, err := r.readIndexed(scan)
		// Drivers have handed rows of one query to another after a cancelled context.
		if r.index < 0 || r.index >= len(slots) || err == nil && t.Slot != slots[r.index] {
			return errors.New("gormstore: the database returned a row that was not asked for")
		}
		found[r.index] = tokenauth.Found{Token: t, Err: err}
		return nil // if it is a fault, no row comes after it
	}, args...)
}

// batch returns the statement that finds the slots, and its arguments.
func (s *Store) batch(slots []tokenauth.Slot) (find *statement, args []any) {
	find, size := s.findBatch, maxBatch
	if len(slots) <= smallBatch {
		find, size = s.findSmallBatch, smallBatch
	}
	const key = len(tokenauth.UserKey{})
	all := make([]byte, 0, 2*key*len(slots))
	for i := range slots {
		all = append(all, slots[i].User[:]...)
	}
	for i := range slots {
		all = append(all, slots[i].Client[:]...)
	}
	users, clients := all[:key*len(slots)], all[key*len(slots):]
	part := size
	if s.dialect.keysInParts {
		part = smallBatch
	}
	args = make([]any, 0, 2*size/part+1)
	for from := 0; from < size; from += part {
		first, last := key*min(from, len(slots)), key*min(from+part, len(slots))
		args = append(args, users[first:last], clients[first:last])
	}
	return find, append(args, len(slots))
}

// The statements that find a batch. The arguments are the keys of all users, those of
// all clients, and how many slots there are; the keys come in parts on MariaDB and
// MySQL. Each statement counts from 0, cuts the keys out of the arguments, and returns
// the number before the columns of the row: a text for any number of slots up to its
// size, without an array, which each driver passes in its own way. The database has no choice but to
// look each row up by the primary key, whatever its statistics say.

// A LIMIT keeps the planner from joining by a hash of the whole table. The number of
// slots is no argument of generate_series: the planner would see it, take a plan for it
// to be cheaper than one for any number, of which it expects 1,000, and plan anew each
// time.
func findBatchPostgres(size int) string {
	return `SELECT asked.i, ` + tokenColumns + `
	FROM pg_catalog.generate_series(0, ` + strconv.Itoa(size-1) + `) AS asked (i)
	CROSS JOIN LATERAL (
		SELECT ` + tokenColumns + ` FROM tokenauth_tokens
		WHERE user_key = pg_catalog.substr(?::pg_catalog.bytea, asked.i * 16 + 1, 16)
			AND client_key = pg_catalog.substr(?::pg_catalog.bytea, asked.i * 16 + 1, 16)
		LIMIT 1
	) AS found
	WHERE asked.i < ?::pg_catalog.int4` + onPrimary
}

// SQLite does not reorder a CROSS JOIN.
func findBatchSQLite(size int) string {
	return `WITH asked (i) AS (VALUES ` + numbers(size, 1, `(`, `), (`, `)`) + `)
	SELECT asked.i, ` + tokenColumns + ` FROM asked CROSS JOIN tokenauth_tokens
	WHERE user_key = substr(?, asked.i * 16 + 1, 16) AND client_key = substr(?, asked.i * 16 + 1, 16) AND asked.i < ?`
}

// MySQL 5.7 has no recursive query. Each SELECT of a UNION costs time whether its
// number is asked for or not, so there are two of 8 rather than one of 64. Each of the
// first also has the keys of its 8 slots, cast to bytes of a known length: substr would
// count the characters of an argument, and a value of more than 512 bytes would make
// the table of the first one on disk.
func findBatchMySQL(size int) string {
	return `SELECT STRAIGHT_JOIN high.i + low.i, ` + tokenColumns + `
	FROM (` + numbers(size/smallBatch, smallBatch, `SELECT `, ` AS i`+parts+` UNION ALL SELECT `, ` AS i`+parts) + `) AS high
	STRAIGHT_JOIN (` + numbers(smallBatch, 1, `SELECT `, ` AS i UNION ALL SELECT `, ` AS i`) + `) AS low
	STRAIGHT_JOIN tokenauth_tokens WHERE user_key = substr(high.users, low.i * 16 + 1, 16)
		AND client_key = substr(high.clients, low.i * 16 + 1, 16)
		AND high.i + low.i < ?` + unlimited
}

const parts = `, CAST(? AS BINARY(128)) AS users, CAST(? AS BINARY(128)) AS clients`

// numbers returns 0, step, 2 step and so on, n of them.
func numbers(n, step int, before, between, after string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i * step)
	}
	return before + strings.Join(all, between) + after
}
