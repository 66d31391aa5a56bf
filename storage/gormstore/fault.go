package gormstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"
)

// errPooler: the database is behind a pooler with a setting that loses
// statements or runs those of another client.
var errPooler = errors.New("gormstore: a pooler between this service and PostgreSQL, such as PgBouncer, does not fit its settings")

// What an operator does about it.
const (
	useTransactions = "it refuses transactions: set pool_mode = transaction, or session"
	useExec         = "with pool_mode = transaction set default_query_exec_mode=exec in the DSN and leave gorm.Config.PrepareStmt off" +
		" (see Behind PgBouncer in storage/gormstore/README.md)"
	useReset = "; with pool_mode = session leave server_reset_query at DISCARD ALL"
)

// explaining is a pool whose errors say what an operator does about them. Those of
// QueryRowContext come later, from the row.
type explaining struct{ gorm.ConnPool }

func (e explaining) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	result, err := e.ConnPool.ExecContext(ctx, query, args...)
	return result, explain(err)
}

func (e explaining) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := e.ConnPool.QueryContext(ctx, query, args...)
	return rows, explain(err)
}

// explain adds what an operator does to an error of the database that does not say
// so.
func explain(err error) error {
	if err == nil || errors.Is(err, errPooler) || errors.Is(err, errSetting) || errors.Is(err, errMemory) {
		return err
	}
	switch text := err.Error(); {
	case strings.HasPrefix(text, "Error 1690 ") && strings.Contains(text, "@@autocommit"),
		strings.HasPrefix(text, "Error 1568 "): // a transaction that nobody commits is in progress
		return fmt.Errorf("%w: autocommit must be 1, completion_type NO_CHAIN, and character_set_connection the same as character_set_client, in each session: a connection of the pool has another value; nothing was changed: %w", errSetting, err)
	case strings.HasPrefix(text, "Error 1020 "):
		return fmt.Errorf("%w, or begin the transaction at READ COMMITTED: innodb_snapshot_isolation rolled it back, since another one had changed a row: %w", errSetting, err)
	case strings.Contains(text, "no such table: "): // SQLite
		return fmt.Errorf("%w. In a file the table was dropped, or the file was replaced: call Migrate: %w", errMemory, err)
	}
	return explainPooler(err)
}

// explainPooler returns errPooler with an error that no direct connection to
// PostgreSQL has: a prepared statement that another client made (42P05) or that is
// not there (26000), or one with other parameters, or a transaction that is refused
// (both 08P01).
func explainPooler(err error) error {
	switch state := sqlState(err); {
	case state == "26000" || state == "42P05":
		return fmt.Errorf("%w: its prepared statements are missing, or others': %s%s: %w", errPooler, useExec, useReset, err)
	case state == "08P01" && strings.Contains(err.Error(), "prepared statement"):
		return fmt.Errorf("%w: the statement of another client ran: %s: %w", errPooler, useExec, err)
	case state == "08P01" && strings.Contains(err.Error(), "statement pooling mode"):
		return fmt.Errorf("%w: %s: %w", errPooler, useTransactions, err)
	}
	return err
}

// rolledBack reports whether the database chose the statement as the victim of
// a deadlock (40P01, 1213) or could not serialise it (40001). MySQL's driver
// tells by the text only, to those who do not import it.
func rolledBack(err error) bool {
	state := sqlState(err)
	return state == "40001" || state == "40P01" || strings.HasPrefix(err.Error(), "Error 1213 (40001)")
}

// sqlState returns the SQLSTATE of an error of PostgreSQL, whichever the
// driver, or "".
func sqlState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}
