package gormstore

import (
	"strconv"
	"strings"
)

// The maximum number of slots that the two batch statements read. Unused places in
// a statement cost time, so a small batch has a statement of its own.
const (
	smallBatch = 8
	maxBatch   = 64
)

// The statements below find a batch of tokens. Their arguments are all user keys
// joined, all client keys joined, and the number of slots. On MariaDB and MySQL the
// keys come in several parts.
//
// Each statement counts from 0 and cuts the key pairs out of the arguments. It
// returns the number of the slot before the columns of its row. So one text serves
// any number of slots up to its size. It needs no array argument, which each driver
// passes differently. Its form makes the database look up each row by the primary
// key, whatever the table's statistics are.

// findBatch returns the statement that finds the tokens in at most size slots.
func (d *dialect) findBatch(size int) string {
	switch d.folder {
	case "postgres":
		return findBatchPostgres(size)
	case "mysql":
		return findBatchMySQL(size)
	}
	return findBatchSQLite(size)
}

// batchPart returns the number of keys in one argument of findBatch's statement.
func (d *dialect) batchPart(size int) int {
	if d.folder == "mysql" {
		return smallBatch
	}
	return size
}

// The LIMIT keeps the planner from a hash join over the whole table.
//
// The number of slots is not an argument of generate_series. Otherwise the planner
// would assume 1,000 rows in its generic plan, prefer a custom plan, and so plan
// every execution again.
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

// MySQL 5.7 has no recursive query, so a UNION generates the numbers. Each SELECT of a
// UNION costs time even if its number is unused. Therefore the statement joins two
// UNIONs of 8 instead of one of 64.
//
// Each row of the first UNION also has the keys of its 8 slots, cast to a fixed
// number of bytes. Without the cast, substr would count characters. A value of more
// than 512 bytes would put the temporary table on disk.
func findBatchMySQL(size int) string {
	return `SELECT STRAIGHT_JOIN high.i + low.i, ` + tokenColumns + `
	FROM (` + numbers(size/smallBatch, smallBatch, `SELECT `, ` AS i`+parts+` UNION ALL SELECT `, ` AS i`+parts) + `) AS high
	STRAIGHT_JOIN (` + numbers(smallBatch, 1, `SELECT `, ` AS i UNION ALL SELECT `, ` AS i`) + `) AS low
	STRAIGHT_JOIN tokenauth_tokens WHERE user_key = substr(high.users, low.i * 16 + 1, 16)
		AND client_key = substr(high.clients, low.i * 16 + 1, 16)
		AND high.i + low.i < ?` + unlimited
}

const parts = `, CAST(? AS BINARY(128)) AS users, CAST(? AS BINARY(128)) AS clients`

// numbers returns the n numbers 0, step, 2*step and so on as text.
func numbers(n, step int, before, between, after string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i * step)
	}
	return before + strings.Join(all, between) + after
}
