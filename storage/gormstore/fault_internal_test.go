package gormstore

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// The store's error names a timeout if SQLite interrupted a statement, whichever driver
// reports it.
func TestExplainNamesTimeoutOfSQLite(t *testing.T) {
	for _, text := range []string{"sqlite3: interrupted", "interrupted (9)", "interrupted"} {
		cause := errors.New(text)
		err := explain(cause)
		if !errors.Is(err, errInterrupted) || !errors.Is(err, cause) || !strings.Contains(err.Error(), "took longer than its timeout") {
			t.Errorf("explain(%q) = %v, want an error that names a timeout", text, err)
		}
		if again := explain(err); again != err {
			t.Errorf("explain of the explained error = %v, want it unchanged", again)
		}
	}
	for _, err := range []error{
		context.DeadlineExceeded,
		errors.New("Error 1317 (70100): Query execution was interrupted"),
	} {
		if got := explain(err); got != err {
			t.Errorf("explain(%v) = %v, want it unchanged", err, got)
		}
	}
}
