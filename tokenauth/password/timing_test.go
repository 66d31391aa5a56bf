package password_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// accounts are the accounts of a test by user name.
type accounts map[string]password.Account

func (a accounts) find(_ context.Context, userName string) (password.Account, error) {
	account, ok := a[userName]
	if !ok {
		return account, tokenauth.ErrNotFound
	}
	return account, nil
}

// reject signs in with a wrong password and expects ErrRejected.
func reject(tb testing.TB, users *password.Authenticator, userName, text string) {
	tb.Helper()
	_, err := users.Authenticate(tb.Context(), tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(text)})
	if !errors.Is(err, tokenauth.ErrRejected) {
		tb.Fatalf("%s: got error %v, want ErrRejected", userName, err)
	}
}

// Once an account was looked up, an unknown name takes the work of its hash. So
// do a disabled account and one without a hash.
func TestRejectionsTakeTheWorkOfTheTablesHashes(t *testing.T) {
	t.Parallel()
	var runs atomic.Int32
	counted := func(stored string) func(string) bool {
		right, ok := strings.CutPrefix(stored, "counted:")
		if !ok {
			return nil
		}
		return func(text string) bool {
			runs.Add(1)
			return text == right
		}
	}
	table := accounts{
		"alice": {UserID: "1", UserName: "alice", PasswordHash: "counted:my password"},
		"bob":   {UserID: "2", UserName: "bob", PasswordHash: "counted:my password", Disabled: true},
		"carol": {UserID: "3", UserName: "carol"},
	}
	users, err := password.New(table.find, &password.Options{
		Formats: []func(string) func(string) bool{counted}, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, userName := range []string{"alice", "nobody", "bob", "carol"} {
		for _, text := range []string{"wrong", "my password"} {
			if userName == "alice" && text == "my password" {
				continue // it matches
			}
			runs.Store(0)
			reject(t, users, userName, text)
			if n := runs.Load(); n != 1 {
				t.Errorf("%s with %q: ran %d hashes of the table's format, want 1", userName, text, n)
			}
		}
	}
}

// The same by the clock, for a format that costs much more than the default.
func TestRejectionsTakeTheTimeOfTheTablesHashes(t *testing.T) {
	if os.Getenv("TOKENAUTH_LONG") != "1" {
		t.Skip("takes several seconds: set TOKENAUTH_LONG=1 to run it")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("my password"), 12)
	if err != nil {
		t.Fatal(err)
	}
	table := accounts{}
	for i := range 8 {
		name := fmt.Sprint("alice", i)
		table[name] = password.Account{UserID: name, UserName: name, PasswordHash: string(hash), Disabled: i == 7}
	}
	users, err := password.New(table.find, nil)
	if err != nil {
		t.Fatal(err)
	}
	reject(t, users, "alice0", "wrong")
	var existing, unknown, disabled []time.Duration
	for i := range 7 {
		for _, test := range []struct {
			userName string
			took     *[]time.Duration
		}{{fmt.Sprint("alice", i), &existing}, {fmt.Sprint("nobody", i), &unknown}, {"alice7", &disabled}} {
			began := time.Now()
			reject(t, users, test.userName, "wrong")
			*test.took = append(*test.took, time.Since(began))
		}
	}
	median := func(all []time.Duration) time.Duration {
		slices.Sort(all)
		return all[len(all)/2]
	}
	want := median(existing)
	t.Logf("medians: %v for accounts, %v for unknown names, %v for a disabled account", want, median(unknown), median(disabled))
	for _, got := range []time.Duration{median(unknown), median(disabled)} {
		if got < want/2 || got > 2*want {
			t.Errorf("got a median of %v, want about %v, as for an account that can sign in", got, want)
		}
	}
}
