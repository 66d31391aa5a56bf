package throwaway

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// errMissing is the error for a program that is not installed.
type errMissing string

func (e errMissing) Error() string { return "throwaway: " + string(e) }

// giveUp fails the test with the error. If the error is an errMissing, giveUp
// skips the test instead, unless TOKENAUTH_REQUIRE names the program: see
// [Need].
func giveUp(tb testing.TB, e program, err error) {
	tb.Helper()
	if _, missing := errors.AsType[errMissing](err); missing {
		Need(tb, e.name(), err)
	}
	tb.Fatal(err)
}

// Need skips the test because something that the test needs is not installed.
// It fails the test instead if the environment variable TOKENAUTH_REQUIRE
// contains the name. The error missing should say how to install what is
// missing. If missing is nil, Need does nothing.
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
