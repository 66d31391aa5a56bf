package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// lines returns what was logged since the last call.
func lines(log *bytes.Buffer) []string {
	text := strings.TrimSpace(log.String())
	log.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// Whoever causes a warning again and again writes one line a minute, and does not
// suppress the same warning about another account.
func TestWarningsAreLimitedForEachAccount(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		hash, message string
	}{
		"hashes that cannot be used":    {"", "a hash that cannot be used"},
		"hashes that cannot be changed": {"clear:my password", "a hash could not be upgraded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				u, _ := newUsers(t, func(_ context.Context, userName string) (Account, error) {
					return Account{UserID: "id-of-" + userName, UserName: userName, PasswordHash: test.hash, Stamp: "s"}, nil
				}, &Options{
					Formats: []format{clear},
					Upgrade: func(context.Context, string, string, string) error { return errors.New("host: read-only") },
					Logger:  slog.New(slog.NewTextHandler(&log, nil)),
				})
				try := func(userName string, n int) {
					for range n {
						if _, err := signIn(t.Context(), u, userName, "my password"); err != nil && !errors.Is(err, tokenauth.ErrRejected) {
							t.Fatal(err)
						}
					}
				}
				expect := func(moment string, want ...string) {
					t.Helper()
					got := lines(&log)
					if len(got) != len(want) {
						t.Fatalf("%s %d lines are logged, want %d: %q", moment, len(got), len(want), got)
					}
					for i := range got {
						if !strings.Contains(got[i], test.message) || !strings.Contains(got[i]+" ", want[i]+" ") {
							t.Errorf("%s logged is %s, want %s", moment, got[i], want[i])
						}
					}
				}
				try("alice", 4)
				expect("at first", "userId=id-of-alice suppressed=0")
				try("bob", 1)
				expect("for another account", "userId=id-of-bob suppressed=3")
				time.Sleep(time.Minute - time.Second)
				try("alice", 2)
				try("bob", 1)
				expect("within the minute")
				time.Sleep(time.Second)
				try("alice", 2)
				expect("a minute later", "userId=id-of-alice suppressed=3")
			})
		})
	}
}

// However many accounts there are, the lines and the memory are bounded, and each
// message has one line left.
func TestWarningsAboutManyAccountsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWarnings(slog.New(slog.NewTextHandler(&log, nil)))
		for minute := range 3 {
			for i := range 10_000 {
				w.warn(t.Context(), "first", fmt.Sprint("id-", i))
			}
			if got := lines(&log); len(got) > mostWarnings+1 || len(got) < mostWarnings {
				t.Errorf("in minute %d %d lines are logged", minute, len(got))
			}
			w.warn(t.Context(), "second", "id-0", "error", "broken")
			w.warn(t.Context(), "second", "id-1", "error", "broken")
			if got := lines(&log); len(got) != 1 || !strings.Contains(got[0], "msg=second error=broken userId=id-0") {
				t.Errorf("of another message logged is %q", got)
			}
			if len(w.told) > mostWarnings+2 {
				t.Errorf("%d accounts are kept", len(w.told))
			}
			time.Sleep(time.Minute)
		}
		// What comes after the flood is heard.
		w.warn(t.Context(), "first", "id-x")
		if got := lines(&log); len(got) != 1 || !strings.Contains(got[0], "userId=id-x") {
			t.Errorf("after the flood logged is %q", got)
		}
	})
}
