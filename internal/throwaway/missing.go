package throwaway

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// errMissing is the error of an engine that is not installed.
type errMissing string

func (e errMissing) Error() string { return "throwaway: " + string(e) }

// giveUp ends the test: a developer need not have every database at hand, but
// a build that requires one must not pass for want of it.
func giveUp(tb testing.TB, e program, err error) {
	tb.Helper()
	if _, missing := errors.AsType[errMissing](err); missing {
		Need(tb, e.name(), err)
	}
	tb.Fatal(err)
}

// Need is for tests that need something that may not be installed. If missing
// is nil it is; otherwise missing says how to get it, and the test is skipped,
// or fails if TOKENAUTH_REQUIRE has the name.
func Need(tb testing.TB, name string, missing error) {
	tb.Helper()
	if missing == nil {
		return
	}
	required := strings.FieldsFunc(os.Getenv("TOKENAUTH_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' })
	if slices.Contains(required, name) {
		tb.Fatal(missing)
	}
	tb.Skip(missing)
}
