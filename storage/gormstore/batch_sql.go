package gormstore

import (
	"strconv"
	"strings"
)

// A statement reads as many slots at most: up to 8, or up to 64, each of which costs
// time also if it is not asked for.
const (
	smallBatch = 8
	maxBatch   = 64
)

// The statements that find a batch. The arguments are the keys of all users, those of
// all clients, and how many slots there are; the keys come in parts on MariaDB and
// MySQL. Each statement counts from 0, cuts the keys out of the arguments, and returns
// the number before the columns of the row: a text for any number of slots up to its
// size, without an array, which each driver passes in its own way. The database has no
// choice but to look each row up by the primary key, whatever its statistics say.

// findBatch returns the statement that finds the tokens in so many slots at most.
func (d *dialect) findBatch(size int) string {
	switch d.folder {
	case "postgres":
		return findBatchPostgres(size)
	case "mysql":
		return findBatchMySQL(size)
	}
	return findBatchSQLite(size)
}

// batchPart returns the keys of how many slots one argument of it has.
func (d *dialect) batchPart(size int) int {
	if d.folder == "mysql" {
		return smallBatch
	}
	return size
}

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
