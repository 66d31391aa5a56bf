package gormstore

import (
	"strconv"
	"strings"
)

// The maximum numbers of slots in the two statements that find a batch of rows. A
// statement takes time even for unused slots, so small batches have a statement of
// their own.
const (
	smallBatch = 8
	maxBatch   = 64
)

// A batchStatement finds a batch of rows, each by the primary key.
type batchStatement struct {
	small, large *statement // for up to smallBatch and up to maxBatch slots
}

func (d *database) batchStatement(table, columns string) batchStatement {
	return batchStatement{d.statement(d.dialect.findBatch(smallBatch, table, columns)), d.statement(d.dialect.findBatch(maxBatch, table, columns))}
}

// The statements below find a batch of rows in a table whose primary key is that of a
// slot, such as the table of tokens. They have three arguments: all user
// keys, concatenated; all client keys, concatenated; and the number of slots. On MariaDB
// and MySQL the keys are split into several arguments.
//
// Each statement generates the slot numbers, starting at 0, and cuts each slot's two
// keys out of the arguments. Each result row begins with its slot number. So one
// statement serves any number of slots up to its maximum. It needs no array argument,
// which each driver would pass differently. The statements are written so that the
// database looks up each row by the primary key, whatever the table statistics say.

// findBatch returns the statement that finds the rows of up to size slots in a table.
func (d *dialect) findBatch(size int, table, columns string) string {
	switch d.folder {
	case "postgres":
		return findBatchPostgres(size, table, columns)
	case "mysql":
		return findBatchMySQL(size, table, columns)
	}
	return findBatchSQLite(size, table, columns)
}

// batchPart returns the maximum number of keys in one argument of the statement that
// findBatch returns.
func (d *dialect) batchPart(size int) int {
	if d.folder == "mysql" {
		return smallBatch
	}
	return size
}

// findBatchPostgres returns the statement for PostgreSQL. Its LIMIT keeps the planner
// from choosing a hash join over the whole table.
//
// The statement does not pass the number of slots to generate_series. If it did, the
// planner would assume 1,000 rows in its generic plan, find a custom plan cheaper, and
// therefore plan each execution again.
func findBatchPostgres(size int, table, columns string) string {
	return `SELECT asked.i, ` + columns + `
	FROM pg_catalog.generate_series(0, ` + strconv.Itoa(size-1) + `) AS asked (i)
	CROSS JOIN LATERAL (
		SELECT ` + columns + ` FROM ` + table + `
		WHERE user_key = pg_catalog.substr(?::pg_catalog.bytea, asked.i * 16 + 1, 16)
			AND client_key = pg_catalog.substr(?::pg_catalog.bytea, asked.i * 16 + 1, 16)
		LIMIT 1
	) AS found
	WHERE asked.i < ?::pg_catalog.int4` + onPrimary
}

// findBatchSQLite returns the statement for SQLite. SQLite does not reorder the tables
// of a CROSS JOIN, so it looks up one row for each slot instead of reading the whole
// table.
func findBatchSQLite(size int, table, columns string) string {
	return `WITH asked (i) AS (VALUES ` + numbers(size, 1, `(`, `), (`, `)`) + `)
	SELECT asked.i, ` + columns + ` FROM asked CROSS JOIN ` + table + `
	WHERE user_key = substr(?, asked.i * 16 + 1, 16) AND client_key = substr(?, asked.i * 16 + 1, 16) AND asked.i < ?`
}

// findBatchMySQL returns the statement for MariaDB and MySQL. It generates the slot
// numbers with UNION, because MySQL 5.7 has no recursive queries. Each SELECT of a
// UNION takes time even if its number is not used. So the statement generates 64
// numbers by joining two UNIONs of 8 SELECTs each.
//
// Each row of the first UNION also holds the keys of 8 slots, cast to 128 bytes.
// Without the cast, substr would count characters instead of bytes. A row does not
// hold the keys of all 64 slots, because a value of more than 512 bytes would put the
// temporary table on disk.
func findBatchMySQL(size int, table, columns string) string {
	return `SELECT STRAIGHT_JOIN high.i + low.i, ` + columns + `
	FROM (` + numbers(size/smallBatch, smallBatch, `SELECT `, ` AS i`+parts+` UNION ALL SELECT `, ` AS i`+parts) + `) AS high
	STRAIGHT_JOIN (` + numbers(smallBatch, 1, `SELECT `, ` AS i UNION ALL SELECT `, ` AS i`) + `) AS low
	STRAIGHT_JOIN ` + table + ` WHERE user_key = substr(high.users, low.i * 16 + 1, 16)
		AND client_key = substr(high.clients, low.i * 16 + 1, 16)
		AND high.i + low.i < ?` + unlimited
}

const parts = `, CAST(? AS BINARY(128)) AS users, CAST(? AS BINARY(128)) AS clients`

// numbers returns n numbers as text: 0, step, 2*step and so on. The parameters before
// and after are the text's beginning and end. The parameter between separates the
// numbers.
func numbers(n, step int, before, between, after string) string {
	all := make([]string, n)
	for i := range all {
		all[i] = strconv.Itoa(i * step)
	}
	return before + strings.Join(all, between) + after
}
