package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// errIsolationLevel: a transaction at a higher level works on a snapshot, and
// would leave alive a token that was issued since.
var errIsolationLevel = errors.New("gormstore: the transaction must be at READ COMMITTED")

const (
	selectTokensOfUser   = `SELECT ` + tokenColumns + ` FROM tokenauth_tokens WHERE user_key = ?`
	deleteToken          = `DELETE FROM tokenauth_tokens WHERE user_key = ? AND client_key = ? AND digest = ?`
	deleteTokensOfUser   = `DELETE FROM tokenauth_tokens WHERE user_key = ?`
	deleteTokensOfClient = `DELETE FROM tokenauth_tokens WHERE client_key = ?`
)

// A session is where Users and Clients work: in a host's transaction, or in
// those of their own.
type session struct {
	*database
	tx *gorm.DB // the host's, or nil
}

func (s session) pool() gorm.ConnPool {
	if s.tx != nil {
		return s.tx.Statement.ConnPool
	}
	return s.database.pool
}

// transaction runs do in the host's transaction, or in one of its own.
func (s session) transaction(ctx context.Context, do func(gorm.ConnPool) error) error {
	if s.tx != nil {
		return explain(do(s.tx.Statement.ConnPool))
	}
	return retry(ctx, s.tries(), func() error {
		if s.galera {
			return s.beginOnGalera(ctx, do)
		}
		return transaction(s.db.WithContext(ctx), s.dialect.txOptions, do)
	})
}

// beginOnGalera runs do in a transaction that sees all that was committed before, at
// any node.
func (s session) beginOnGalera(ctx context.Context, do func(gorm.ConnPool) error) error {
	return s.db.WithContext(ctx).Connection(func(conn *gorm.DB) error {
		if _, err := conn.Statement.ConnPool.ExecContext(ctx, s.sql(`SELECT 1`)); err != nil {
			return err
		}
		return transaction(conn, s.dialect.txOptions, do)
	})
}

func transaction(db *gorm.DB, options []*sql.TxOptions, do func(gorm.ConnPool) error) error {
	return db.Transaction(func(tx *gorm.DB) error {
		return do(tx.Statement.ConnPool)
	}, options...)
}

// exec runs one statement, and again if the database rolled it back.
func (s session) exec(ctx context.Context, statement string, args ...any) (result sql.Result, err error) {
	if s.tx != nil { // the whole of it was rolled back
		return s.tx.Statement.ConnPool.ExecContext(ctx, s.sql(statement), args...)
	}
	err = retry(ctx, s.tries(), func() error {
		result, err = s.database.pool.ExecContext(ctx, s.sql(statement), args...)
		return err
	})
	return result, err
}

// change changes one row, or returns notFound.
func (s session) change(ctx context.Context, notFound error, statement string, args ...any) error {
	return s.transaction(ctx, func(pool gorm.ConnPool) error {
		return s.changeRow(ctx, pool, notFound, statement, args)
	})
}

// An ending is a change of a user or a client that ends tokens.
type ending struct {
	kind         int    // of the row of revocations; 0 for none
	id           string // of the user or the client
	notFound     error
	statement    string // changes the row
	args         []any
	deleteTokens string // "" leaves the tokens to Service.Run
	key          []byte
}

// changeAndEnd changes one row and then, in the same transaction, queues the
// revocation and deletes the tokens that are kept beside the row.
func (s session) changeAndEnd(ctx context.Context, e ending) error {
	return s.transaction(ctx, func(pool gorm.ConnPool) error {
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
		_, err := pool.ExecContext(ctx, s.sql(e.deleteTokens+s.dialect.unlimited), e.key)
		return err
	})
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

// checkIsolation looks at the host's transaction where its level matters. On
// MariaDB and MySQL a DELETE reads what is committed at every level; SQLite has
// one writer.
func (s session) checkIsolation(ctx context.Context, pool gorm.ConnPool) error {
	if s.tx == nil || s.dialect.isolation == "" {
		return nil
	}
	var level string
	if err := pool.QueryRowContext(ctx, s.dialect.isolation).Scan(&level); err != nil {
		return err
	}
	if level != "read committed" && level != "read uncommitted" {
		return fmt.Errorf("%w, and is at %s", errIsolationLevel, strings.ToUpper(level))
	}
	return nil
}
