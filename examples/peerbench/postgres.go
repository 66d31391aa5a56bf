package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// onPostgres measures how much slower Issue is than the SQL statement that it
// executes.
func onPostgres(tb testing.TB, p plan, r *report) {
	p = p.of(100*time.Millisecond, max(2, p.cycles/4))
	writes(tb, p, r, throwaway.Postgres(tb), 16)
}

// openPostgres returns a store, and its pool with the given maximum number of
// connections.
func openPostgres(tb testing.TB, dsn string, connections int) (*gormstore.Store, *sql.DB) {
	pool := openCounted(tb, postgresql, dsn).madeToMeasure(connections).DB
	return storeOn(tb, postgresql, pool), pool
}

// writes compares Issue with the SQL statement that it executes, and with a
// transaction that deletes the user's row and inserts a new one.
func writes(tb testing.TB, p plan, r *report, dsn string, goroutines int) {
	ctx := tb.Context()
	s, pool := openPostgres(tb, dsn, goroutines)
	auth := service(tb, s, nil)
	execute(tb, pool, `CREATE TABLE bare_upsert (LIKE tokenauth_tokens INCLUDING ALL) WITH (fillfactor = 75)`)
	upsert := prepare(tb, pool, upsertInto("bare_upsert"))
	execute(tb, pool, `CREATE TABLE access_tokens (
		id bigserial PRIMARY KEY, token text NOT NULL UNIQUE, user_id text NOT NULL, user_name text NOT NULL,
		roles text NOT NULL, issued_at timestamptz NOT NULL, expires_at timestamptz NOT NULL)`)
	execute(tb, pool, `CREATE INDEX ON access_tokens (user_id)`)

	var digests atomic.Uint64
	figures, err := p.compare(
		concurrently("this project, Issue", goroutines, func(i int) error {
			_, err := auth.Issue(ctx, user(i%storedUsers), nil)
			return err
		}),
		concurrently("bare upsert, nothing minted", goroutines, func(i int) error {
			u := user(i % storedUsers)
			_, err := upsert.ExecContext(ctx, upsertArguments(u, countedDigest(&digests))...)
			return err
		}),
		concurrently("transaction: delete, insert", goroutines, func(i int) error {
			return deleteThenInsert(ctx, pool, user(i%storedUsers))
		}))
	if err != nil {
		tb.Fatal(err)
	}
	t := &table{
		title: fmt.Sprintf("Issuing on PostgreSQL, %d goroutines", goroutines),
		about: fmt.Sprintf("Tokens stored per second, each commit written to disk; %d users, a connection for each goroutine. Median and spread of %d rounds.", storedUsers, p.rounds),
		head:  []string{"", "per second", "min–max", "ours to this"},
	}
	for _, f := range figures {
		t.add(append(append([]string{f.name}, rates(f)...), times(f.over(figures[0])))...)
	}
	r.table(t)
	r.ratio("issue_postgres_vs_pgx_upsert", figures[1].over(figures[0]))
	r.ratio("issue_postgres_vs_delete_insert", figures[2].over(figures[0]))
}

// upsertInto returns the statement that Issue executes.
func upsertInto(table string) string {
	return `INSERT INTO ` + table + ` AS t
		(user_key, client_key, format, digest, issued_at, expires_at, client_id, user_id, user_name, roles, attributes, stamp)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
		ON CONFLICT (user_key, client_key) DO UPDATE SET
		replaced = t.digest, digest = excluded.digest, format = excluded.format,
		issued_at = excluded.issued_at, expires_at = excluded.expires_at,
		client_id = excluded.client_id, user_id = excluded.user_id, user_name = excluded.user_name,
		roles = excluded.roles, attributes = excluded.attributes, stamp = excluded.stamp`
}

func upsertArguments(u tokenauth.Principal, digest []byte) []any {
	slot := tokenauth.SlotOf(u.UserID, "")
	now := time.Now().Unix()
	return []any{slot.User[:], slot.Client[:], 1, digest, now, now + 1209600, "", u.UserID, u.UserName, u.Roles[0], "", u.Stamp}
}

// countedDigest returns 32 bytes that differ on each call.
func countedDigest(n *atomic.Uint64) []byte {
	digest := make([]byte, 32)
	binary.BigEndian.PutUint64(digest, n.Add(1)*0x9e3779b97f4a7c15)
	return digest
}

// deleteThenInsert replaces a user's token in a transaction that executes a DELETE
// and an INSERT.
func deleteThenInsert(ctx context.Context, pool *sql.DB, u tokenauth.Principal) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `DELETE FROM access_tokens WHERE user_id = $1`, u.UserID); err != nil {
		return err
	}
	now := time.Now()
	if _, err := tx.ExecContext(ctx, `INSERT INTO access_tokens (token, user_id, user_name, roles, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		rand.Text()+rand.Text(), u.UserID, u.UserName, u.Roles[0], now, now.Add(336*time.Hour)); err != nil {
		return err
	}
	return tx.Commit()
}

// concurrently returns an operation that calls the function do on the given number
// of goroutines. Successive calls get values of i that are far from each other.
func concurrently(name string, goroutines int, do func(i int) error) operation {
	run := func(a amount) error {
		return spread(goroutines, a, 1, func(int) func(int) error {
			return func(i int) error { return do(i * 619) }
		})
	}
	return operation{name, run, 2 * goroutines}
}

func prepare(tb testing.TB, pool *sql.DB, text string) *sql.Stmt {
	s, err := pool.PrepareContext(tb.Context(), text)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

func execute(tb testing.TB, pool *sql.DB, text string) {
	if _, err := pool.ExecContext(tb.Context(), text); err != nil {
		tb.Fatal(err)
	}
}
