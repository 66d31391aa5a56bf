package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// errPooler means that a pooler in front of the database loses prepared statements,
// runs another client's prepared statements, or refuses transactions.
var errPooler = errors.New("gormstore: this service's settings do not work with the pooler in front of PostgreSQL, such as PgBouncer")

// The advice to operators in errors about a pooler.
const (
	useTransactions = "the pooler refuses transactions: set pool_mode = transaction or pool_mode = session"
	useExec         = "with pool_mode = transaction, set default_query_exec_mode=exec in the DSN and leave gorm.Config.PrepareStmt off" +
		" (see \"Behind PgBouncer\" in storage/gormstore/README.md)"
	useReset = "; with pool_mode = session, leave server_reset_query at DISCARD ALL"
)

// explaining is a pool that passes its errors through explain. It cannot do so for
// QueryRowContext, because that method's errors come only from [sql.Row.Scan], later.
type explaining struct{ gorm.ConnPool }

func (e explaining) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := e.ConnPool.ExecContext(ctx, query, args...)
	return result, explain(err)
}

func (e explaining) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := e.ConnPool.QueryContext(ctx, query, args...)
	return rows, explain(err)
}

// errInterrupted means that SQLite stopped a statement because its context ended.
// The drivers' own errors say only "interrupted".
var errInterrupted = errors.New("gormstore: the statement took longer than its timeout, or its context was canceled")

// interrupted reports whether the error is SQLITE_INTERRUPT. Drivers have different
// texts for it: "sqlite3: interrupted", "interrupted (9)" or "interrupted".
func interrupted(text string) bool {
	return text == "interrupted" || strings.Contains(text, "interrupted (9)") || strings.Contains(text, "sqlite3: interrupted")
}

// explain adds to a database error what the operator needs to know, that is, the cause
// or what to change. If there is nothing to add, it returns the error unchanged.
func explain(err error) error {
	if err == nil || errors.Is(err, errPooler) || errors.Is(err, errSetting) || errors.Is(err, errMemory) || errors.Is(err, errInterrupted) {
		return err
	}
	switch text := err.Error(); {
	case strings.HasPrefix(text, "Error 1690 ") && strings.Contains(text, "@@autocommit"),
		strings.HasPrefix(text, "Error 1568 "): // completion_type=CHAIN: an earlier COMMIT began a transaction
		return fmt.Errorf("%w: in each session, autocommit must be 1, completion_type must be NO_CHAIN, and character_set_connection must equal character_set_client. A connection of the pool has other values; nothing was changed: %w", errSetting, err)
	case strings.HasPrefix(text, "Error 1020 "):
		return fmt.Errorf("%w: another transaction had changed a row, so innodb_snapshot_isolation rolled this one back. Turn that setting off, or begin the transaction at READ COMMITTED: %w", errSetting, err)
	case interrupted(text):
		return fmt.Errorf("%w: %w", errInterrupted, err)
	case strings.Contains(text, "no such table: "): // SQLite
		return fmt.Errorf("%w. If the database is a file, the table was dropped or the file was replaced; call gormstore.Migrate: %w", errMemory, err)
	}
	return explainPooler(err)
}

// explainPooler returns errPooler, wrapped together with err and advice, if err occurs
// only behind a pooler. Otherwise it returns err unchanged. It recognizes these cases:
//
//   - another client's prepared statement has the same name (42P05);
//   - a prepared statement is missing (26000), or has other parameters (08P01);
//   - a transaction is refused (08P01).
func explainPooler(err error) error {
	switch state := sqlState(err); {
	case state == "26000" || state == "42P05":
		return fmt.Errorf("%w: a prepared statement is missing, or belongs to another client: %s%s: %w", errPooler, useExec, useReset, err)
	case state == "08P01" && strings.Contains(err.Error(), "prepared statement"):
		return fmt.Errorf("%w: the prepared statement of another client ran: %s: %w", errPooler, useExec, err)
	case state == "08P01" && strings.Contains(err.Error(), "statement pooling mode"):
		return fmt.Errorf("%w: %s: %w", errPooler, useTransactions, err)
	}
	return err
}

// errNotInserted means that an INSERT added no row, although no other row is in its way:
// the other row was removed meanwhile.
var errNotInserted = errors.New("gormstore: a concurrent change undid the INSERT: try again")

// rolledBack reports whether the database rolled the statement back because of a
// deadlock (40P01, 1213) or a serialization failure (40001). It recognizes errors from
// MariaDB and MySQL by their text, because this package does not import their driver.
// The service's code may have wrapped them. An errNotInserted counts, too.
func rolledBack(err error) bool {
	state := sqlState(err)
	return errors.Is(err, errNotInserted) || state == "40001" || state == "40P01" || strings.Contains(err.Error(), "Error 1213 (40001)")
}

// duplicate reports whether a unique index refused the statement. It recognizes the
// errors of MariaDB, MySQL and SQLite by their text, as rolledBack does.
func duplicate(err error) bool {
	text := err.Error()
	return sqlState(err) == "23505" || strings.Contains(text, "Error 1062 (23000)") || strings.Contains(text, "UNIQUE constraint failed")
}

// sqlState returns the SQLSTATE of an error from a PostgreSQL driver, and "" for any
// other error.
func sqlState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}
