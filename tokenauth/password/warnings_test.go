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

// lines returns the lines that were logged since the last call.
func lines(log *bytes.Buffer) []string {
	text := strings.TrimSpace(log.String())
	log.Reset()
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// A client that causes a warning again and again adds one line a minute. The
// same warning about another account is still logged.
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
						t.Fatalf("%s: got %d log lines, want %d: %q", moment, len(got), len(want), got)
					}
					for i := range got {
						if !strings.Contains(got[i], test.message) || !strings.Contains(got[i]+" ", want[i]+" ") {
							t.Errorf("%s: got log %s, want %s", moment, got[i], want[i])
						}
					}
				}
				try("alice", 4)
				expect("at first", "user_id=id-of-alice suppressed=0")
				try("bob", 1)
				expect("for another account", "user_id=id-of-bob suppressed=3")
				time.Sleep(time.Minute - time.Second)
				try("alice", 2)
				try("bob", 1)
				expect("within the minute")
				time.Sleep(time.Second)
				try("alice", 2)
				expect("a minute later", "user_id=id-of-alice suppressed=3")
			})
		})
	}
}

// Warnings about very many accounts take bounded log lines and memory. Each
// message still gets one line.
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
				t.Errorf("minute %d: got %d log lines", minute, len(got))
			}
			w.warn(t.Context(), "second", "id-0", "error", "broken")
			w.warn(t.Context(), "second", "id-1", "error", "broken")
			if got := lines(&log); len(got) != 1 || !strings.Contains(got[0], "msg=second error=broken user_id=id-0") {
				t.Errorf("another message: got log %q", got)
			}
			if len(w.told) > mostWarnings+2 {
				t.Errorf("%d accounts are in memory", len(w.told))
			}
			time.Sleep(time.Minute)
		}
		// After the flood, warnings are logged again.
		w.warn(t.Context(), "first", "id-x")
		if got := lines(&log); len(got) != 1 || !strings.Contains(got[0], "user_id=id-x") {
			t.Errorf("after the flood: got log %q", got)
		}
	})
}

// The first sign-in with a weak hash and without a Stamp logs once that such
// accounts are not upgraded.
func TestWarnsThatAccountsWithoutAStampAreNotUpgraded(t *testing.T) {
	t.Parallel()
	strong, err := Hash("my password")
	if err != nil {
		t.Fatal(err)
	}
	upgrade := func(context.Context, string, string, string) error { return nil }
	for _, test := range []struct {
		name     string
		account  Account
		options  Options
		password string
		warned   bool
	}{
		{"without a stamp", Account{PasswordHash: "clear:my password"}, Options{Upgrade: upgrade}, "my password", true},
		{"with one", Account{PasswordHash: "clear:my password", Stamp: "s"}, Options{Upgrade: upgrade}, "my password", false},
		{"with a strong hash", Account{PasswordHash: strong}, Options{Upgrade: upgrade}, "my password", false},
		{"with the wrong password", Account{PasswordHash: "clear:my password"}, Options{Upgrade: upgrade}, "wrong", false},
		{"without Upgrade", Account{PasswordHash: "clear:my password"}, Options{}, "my password", false},
		{"with KeepHashes", Account{PasswordHash: "clear:my password"}, Options{Upgrade: upgrade, KeepHashes: true}, "my password", false},
	} {
		var log bytes.Buffer
		test.account.UserID, test.account.UserName = "id-7", "alice"
		test.options.Formats, test.options.Logger = []format{clear}, slog.New(slog.NewTextHandler(&log, nil))
		u, err := New(table{"alice": test.account}.lookup, &test.options)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := signIn(t.Context(), u, "alice", test.password); (err == nil) != (test.password == "my password") {
				t.Fatalf("%s: %v", test.name, err)
			}
		}
		got := lines(&log)
		switch {
		case test.warned && (len(got) != 1 || !strings.Contains(got[0], "level=WARN") || !strings.Contains(got[0], "without an Account.Stamp") || !strings.HasSuffix(got[0], "user_id=id-7")),
			!test.warned && len(got) > 0:
			t.Errorf("%s: got log %q", test.name, got)
		}
	}
}
