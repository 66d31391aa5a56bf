package gormstore

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
)

// errIsolationLevel means that the transaction given to WithTx has a higher isolation
// level than READ COMMITTED. Such a transaction works on a snapshot of the database,
// and would not end a token that was issued after the snapshot.
var errIsolationLevel = errors.New("gormstore: the transaction must be at READ COMMITTED")

const (
	deleteToken          = `DELETE FROM tokenauth_tokens WHERE user_key = ? AND client_key = ? AND digest = ?`
	deleteTokensOfUser   = `DELETE FROM tokenauth_tokens WHERE user_key = ?`
	deleteTokensAndKeys  = `DELETE FROM tokenauth_tokens WHERE user_key IN (?, ?)`
	deleteTokensOfClient = `DELETE FROM tokenauth_tokens WHERE ` + ofClient

	// ofClient is a condition on tokens. Its arguments are the key of the client's slots
	// without a device, and the client's ID.
	ofClient = `(client_key = ? OR client_id = ? AND device <> '')`
)

// selectTokensOfUser selects a user's tokens, and when each was last used. A row of
// tokenauth_uses counts only if it is about the token that the slot holds now.
var selectTokensOfUser = `SELECT t.` + strings.ReplaceAll(refreshColumns, ", ", ", t.") + `, u.used_at FROM tokenauth_tokens t
	LEFT JOIN tokenauth_uses u ON u.user_key = t.user_key AND u.client_key = t.client_key AND u.digest = t.digest WHERE t.user_key = ?`

// keysMask is the difference between a user's key and the key of the user's API keys.
var keysMask = sha256.Sum256([]byte("tokenauth/v1/keys\x00"))

// keysOf returns the key under which a user's API keys are stored ([tokenauth.Keys]): the
// user's own key with other last 8 bytes.
func keysOf(user []byte) []byte {
	keys := slices.Clone(user)
	subtle.XORBytes(keys[8:], keys[8:], keysMask[:8])
	return keys
}

// A session runs statements of [Users], [Clients] and [Store]. It runs them in the
// transaction that the caller passed to WithTx. If there is none, it runs them in
// transactions of its own.
type session struct {
	*database
	tx *gorm.DB // the caller's transaction, or nil
}

func (s session) pool() gorm.ConnPool {
	if s.tx != nil {
		return s.tx.Statement.ConnPool
	}
	return s.database.pool
}

// transaction runs do in the caller's transaction if there is one. Otherwise it runs
// do in a new transaction. If the database rolls the new transaction back, it runs do
// again in another one.
func (s session) transaction(ctx context.Context, do func(gorm.ConnPool) error) error {
	if s.tx != nil {
		return explain(do(s.tx.Statement.ConnPool))
	}
	return retry(ctx, s.tries(), func() error {
		return s.begin(ctx, s.db, func(tx *gorm.DB) error { return do(tx.Statement.ConnPool) })
	})
}

// begin runs do in a new transaction on db. In a Galera cluster, the transaction sees
// everything that any node of the cluster committed before it began.
func (d *database) begin(ctx context.Context, db *gorm.DB, do func(tx *gorm.DB) error) error {
	db = db.WithContext(ctx)
	if !d.galera {
		return db.Transaction(do, d.dialect.txOptions...)
	}
	return db.Connection(func(conn *gorm.DB) error {
		if _, err := conn.Statement.ConnPool.ExecContext(ctx, d.sql(`SELECT 1`)); err != nil {
			return err
		}
		return conn.Transaction(do, d.dialect.txOptions...)
	})
}

// exec runs one statement. Outside a caller's transaction, it runs the statement
// again if the database rolls the statement back.
func (s session) exec(ctx context.Context, statement string, args ...any) (result sql.Result, err error) {
	if s.tx != nil { // after a rollback, the caller must repeat the whole transaction
		return s.tx.Statement.ConnPool.ExecContext(ctx, s.sql(statement), args...)
	}
	err = retry(ctx, s.tries(), func() error {
		result, err = s.database.pool.ExecContext(ctx, s.sql(statement), args...)
		return err
	})
	return result, err
}

// change runs a statement that changes one row. If there is no such row, it returns
// notFound.
func (s session) change(ctx context.Context, notFound error, statement string, args ...any) error {
	return s.transaction(ctx, func(pool gorm.ConnPool) error {
		return s.changeRow(ctx, pool, notFound, statement, args)
	})
}

// An ending is a change to a user or client that ends its tokens.
type ending struct {
	kind         int    // the kind of revocation to queue; 0 queues none
	id           string // the ID of the user or client
	notFound     error  // to return if there is no such user or client
	statement    string // changes the row of the user or client
	args         []any  // the arguments of statement
	deleteTokens string // deletes the tokens; "" leaves that to Service.Run
	key          []byte // the first argument of deleteTokens
}

// changeAndEnd changes the row of a user or client. In the same transaction it queues
// a revocation, which ends tokens in another storage, and deletes the tokens in this
// database.
func (s session) changeAndEnd(ctx context.Context, e ending) error {
	return s.transaction(ctx, func(pool gorm.ConnPool) error { return s.changeAndEndIn(ctx, pool, e) })
}

// changeAndEndIn does the work of changeAndEnd in a transaction of the caller.
func (s session) changeAndEndIn(ctx context.Context, pool gorm.ConnPool, e ending) error {
	if err := s.checkIsolation(ctx, pool); err != nil {
		return err
	}
	if err := s.changeRow(ctx, pool, e.notFound, e.statement, e.args); err != nil {
		return err
	}
	if e.kind != 0 {
		if err := s.queueRevocation(ctx, pool, e.kind, e.id); err != nil {
			return err
		}
	}
	if e.deleteTokens == "" {
		return nil
	}
	args := []any{e.key}
	switch e.deleteTokens {
	case deleteTokensAndKeys:
		args = append(args, keysOf(e.key))
	case deleteTokensOfClient:
		args = append(args, e.id)
	}
	_, err := pool.ExecContext(ctx, s.sql(e.deleteTokens+s.dialect.unlimited), args...)
	return err
}

func (s session) changeRow(ctx context.Context, pool gorm.ConnPool, notFound error, statement string, args []any) error {
	result, err := pool.ExecContext(ctx, s.sql(statement), args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		err = notFound
	}
	return err
}

// checkIsolation returns errIsolationLevel, wrapped, if the isolation level of the
// caller's transaction is too high. Only PostgreSQL needs this check: on MariaDB and
// MySQL a DELETE sees committed rows at every level, and SQLite has one writer at a
// time.
func (s session) checkIsolation(ctx context.Context, pool gorm.ConnPool) error {
	if s.tx == nil || s.dialect.isolation == "" {
		return nil
	}
	var level string
	if err := pool.QueryRowContext(ctx, s.dialect.isolation).Scan(&level); err != nil {
		return err
	}
	if level != "read committed" && level != "read uncommitted" {
		return fmt.Errorf("%w, but is at %s", errIsolationLevel, strings.ToUpper(level))
	}
	return nil
}
