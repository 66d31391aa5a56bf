package gormstore

import (
	"errors"
	"fmt"
	"strings"
)

// commits is true in a session of MariaDB or MySQL in which a statement is
// committed by itself and arrives as it was sent, and an error in any other one.
//
// A session may have other settings than that of New, and these would do harm
// without an error. So each statement with a WHERE, and the INSERT of a sign-in,
// has this condition: it is a constant, is evaluated even if no row is there, and
// costs no round trip. The last bit overflows (error 1690). A transaction of our
// own around each statement would cost two round trips on each sign-in, and the
// snapshot of a read that was left open would still show what has ended.
const commits = `~0 + (@@autocommit = 0 OR @@completion_type <> 'NO_CHAIN' OR @@character_set_client <> @@character_set_connection)`

// advise adds what to do to an error of the database that does not say so.
func advise(err error) error {
	switch {
	case err == nil, errors.Is(err, errSetting), errors.Is(err, errMemory):
	case strings.HasPrefix(err.Error(), "Error 1690 ") && strings.Contains(err.Error(), "@@autocommit"),
		strings.HasPrefix(err.Error(), "Error 1568 "): // a transaction that nobody commits is in progress
		return fmt.Errorf("%w: autocommit must be 1, completion_type NO_CHAIN, and character_set_connection the same as character_set_client, in each session: a connection of the pool has another value; nothing was changed: %w", errSetting, err)
	case strings.HasPrefix(err.Error(), "Error 1020 "):
		return fmt.Errorf("%w, or begin the transaction at READ COMMITTED: innodb_snapshot_isolation rolled it back, since another one had changed a row: %w", errSetting, err)
	case strings.Contains(err.Error(), "no such table: "): // SQLite
		return fmt.Errorf("%w: %w", errMemory, err)
	}
	return err
}
