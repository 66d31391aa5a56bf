package main

import (
	"context"
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// tableGrowth signs the same users in many times, and measures the size of the
// token table. It compares the token table with two other designs.
func tableGrowth(tb testing.TB, p plan, r *report) {
	const goroutines = 16
	signIns := 100_000
	if p.short {
		signIns = 20_000
	}
	ctx := tb.Context()
	dsn := throwaway.Postgres(tb)
	s, _ := openPostgres(tb, dsn, goroutines)
	auth := service(tb, s, nil)
	// With the other designs, inserts do not wait for the disk. This saves time, and
	// does not affect the size of the tables.
	_, pool := openPostgres(tb, dsn+"&synchronous_commit=off", goroutines)

	execute(tb, pool, `CREATE TABLE append_only (
		digest bytea PRIMARY KEY, user_key bytea NOT NULL, client_key bytea NOT NULL, issued_at bigint NOT NULL, expires_at bigint NOT NULL,
		user_id text NOT NULL, user_name text NOT NULL, roles text NOT NULL, stamp text NOT NULL)`)
	appendOnly := prepare(tb, pool, `INSERT INTO append_only VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`)
	execute(tb, pool, `CREATE TABLE unique_digest (LIKE tokenauth_tokens INCLUDING ALL) WITH (fillfactor = 75)`)
	execute(tb, pool, `CREATE UNIQUE INDEX ON unique_digest (digest)`)
	uniqueDigest := prepare(tb, pool, upsertInto("unique_digest"))

	t := &table{
		title: "The table on PostgreSQL after many sign-ins",
		about: fmt.Sprintf("%s sign-ins of %s users: the table with its indexes, and the share of its updates that were heap-only (HOT).",
			decimal(float64(signIns), 0), decimal(storedUsers, 0)),
		head: []string{"", "rows", "kB", "HOT updates"},
	}
	var digests atomic.Uint64
	for _, design := range []struct {
		name, table string
		signIn      func(i int) error
	}{
		{"this project", "tokenauth_tokens", func(i int) error {
			_, err := auth.Issue(ctx, user(i%storedUsers), nil)
			return err
		}},
		{"a row for each sign-in", "append_only", func(i int) error {
			a := upsertArguments(user(i%storedUsers), countedDigest(&digests))
			_, err := appendOnly.ExecContext(ctx, a[3], a[0], a[1], a[4], a[5], a[7], a[8], a[9], a[11])
			return err
		}},
		{"a row for each user, unique index on the digest", "unique_digest", func(i int) error {
			_, err := uniqueDigest.ExecContext(ctx, upsertArguments(user(i%storedUsers), countedDigest(&digests))...)
			return err
		}},
	} {
		if err := concurrently(design.name, goroutines, design.signIn).run(amount{total: signIns}); err != nil {
			tb.Fatal(err)
		}
		rows, size, hot, err := tableState(ctx, pool, design.table)
		if err != nil {
			tb.Fatal(err)
		}
		share := "–"
		if hot >= 0 {
			share = decimal(100*hot, 1) + " %"
		}
		t.add(design.name, decimal(float64(rows), 0), decimal(float64(size)/1000, 0), share)
		if design.table == "tokenauth_tokens" {
			r.ratio("table_kb_after_sign_ins", float64(size)/1000)
			r.ratio("table_hot_updates", hot)
		}
	}
	r.table(t)
}

// tableState returns the number of rows of a table, its size in bytes with
// indexes, and the share of its updates that were heap-only (HOT). The share is -1
// if there were no updates.
func tableState(ctx context.Context, pool *sql.DB, table string) (rows, size int64, hot float64, err error) {
	if err := pool.QueryRowContext(ctx, `SELECT count(*), pg_total_relation_size('`+table+`') FROM `+table).Scan(&rows, &size); err != nil {
		return 0, 0, 0, err
	}
	// A PostgreSQL server process reports its statistics only when idle, and at
	// most about once a second. So poll until the number of updates stops changing.
	var all, hotOnes, before int64
	for range 20 {
		err := pool.QueryRowContext(ctx, `SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = $1`, table).Scan(&all, &hotOnes)
		if err != nil {
			return 0, 0, 0, err
		}
		if all > 0 && all == before {
			break
		}
		before = all
		time.Sleep(600 * time.Millisecond)
		if all == 0 && rows > storedUsers {
			break // the table gets only inserts
		}
	}
	if all == 0 {
		return rows, size, -1, nil
	}
	return rows, size, float64(hotOnes) / float64(all), nil
}
