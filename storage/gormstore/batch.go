package gormstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// maxBatch is how many slots one statement reads.
const maxBatch = 64

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
	return s.findBatch.queryRows(ctx, func(scan func(...any) error) error {
		t, err := r.readIndexed(scan)
		// Drivers have handed rows of one query to another after a cancelled context.
		if r.index < 0 || r.index >= len(slots) || err == nil && t.Slot != slots[r.index] {
			return errors.New("gormstore: the database returned a row that was not asked for")
		}
		found[r.index] = tokenauth.Found{Token: t, Err: err}
		return nil // if it is a fault, no row comes after it
	}, s.dialect.batchArgs(slots)...)
}

// batchArgs returns the arguments of findBatch.
func (d *dialect) batchArgs(slots []tokenauth.Slot) []any {
	const size = len(tokenauth.UserKey{})
	all := make([]byte, 0, 2*size*len(slots))
	for i := range slots {
		all = append(all, slots[i].User[:]...)
	}
	for i := range slots {
		all = append(all, slots[i].Client[:]...)
	}
	users, clients := all[:size*len(slots)], all[size*len(slots):]
	part := maxBatch
	if d.keysInParts {
		part = batchPart
	}
	args := make([]any, 0, 2*maxBatch/part+1)
	for from := 0; from < maxBatch; from += part {
		first, last := size*min(from, len(slots)), size*min(from+part, len(slots))
		args = append(args, users[first:last], clients[first:last])
	}
	return append(args, len(slots))
}

// The statements that find a batch. The arguments are the keys of all users, those of
// all clients, and how many slots there are; the keys come in parts on MariaDB and
// MySQL. Each statement counts from 0, cuts the keys out of the arguments, and returns
// the number before the columns of the row: one text for any number of slots, without
// an array, which each driver passes in its own way. The database has no choice but to
// look each row up by the primary key, whatever its statistics say.

// A LIMIT keeps the planner from joining by a hash of the whole table. The number of
// slots is no argument of generate_series: the planner would see it, take a plan for it
// to be cheaper than one for any number, of which it expects 1,000, and plan anew each
// time.
var findBatchPostgres = `SELECT asked.i, ` + tokenColumns + `
	FROM pg_catalog.generate_series(0, ` + strconv.Itoa(maxBatch-1) + `) AS asked (i)
	CROSS JOIN LATERAL (
		SELECT ` + tokenColumns + ` FROM tokenauth_tokens
		WHERE user_key = pg_catalog.substr(?::pg_catalog.bytea, asked.i * 16 + 1, 16)
			AND client_key = pg_catalog.substr(?::pg_catalog.bytea, asked.i * 16 + 1, 16)
		LIMIT 1
	) AS found
	WHERE asked.i < ?::pg_catalog.int4` + onPrimary

// SQLite does not reorder a CROSS JOIN.
var findBatchSQLite = `WITH asked (i) AS (VALUES ` + numbers(maxBatch, 1, `(`, `), (`, `)`) + `)
	SELECT asked.i, ` + tokenColumns + ` FROM asked CROSS JOIN tokenauth_tokens
	WHERE user_key = substr(?, asked.i * 16 + 1, 16) AND client_key = substr(?, asked.i * 16 + 1, 16) AND asked.i < ?`

// MySQL 5.7 has no recursive query. Each SELECT of a UNION costs time whether its
// number is asked for or not, so there are two of 8 rather than one of 64. Each of the
// first also has the keys of its 8 slots, cast to bytes of a known length: substr would
// count the characters of an argument, and a value of more than 512 bytes would make
// the table of the first one on disk.
var findBatchMySQL = `SELECT STRAIGHT_JOIN high.i + low.i, ` + tokenColumns + `
	FROM (` + numbers(maxBatch/batchPart, batchPart, `SELECT `, ` AS i`+parts+` UNION ALL SELECT `, ` AS i`+parts) + `) AS high
	STRAIGHT_JOIN (` + numbers(batchPart, 1, `SELECT `, ` AS i UNION ALL SELECT `, ` AS i`) + `) AS low
	STRAIGHT_JOIN tokenauth_tokens WHERE user_key = substr(high.users, low.i * 16 + 1, 16)
		AND client_key = substr(high.clients, low.i * 16 + 1, 16)
		AND high.i + low.i < ?` + unlimited

const (
	batchPart = 8 // slots
	parts     = `, CAST(? AS BINARY(128)) AS users, CAST(? AS BINARY(128)) AS clients`
)

// numbers returns 0, step, 2 step and so on, n of them.
func numbers(n, step int, before, between, after string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i * step)
	}
	return before + strings.Join(all, between) + after
}
