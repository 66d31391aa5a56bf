package password

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/text/unicode/norm"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func bcryptOf(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

// A password matches in each Unicode form, whichever form was used when it was
// set.
func TestUnicodeFormsOfAPasswordMatch(t *testing.T) {
	t.Parallel()
	mixed := "Vi\u00ea\u0323t e\u0301t\u00e9" // neither NFC nor NFD, as some keyboards send
	nfc, nfd := norm.NFC.String(mixed), norm.NFD.String(mixed)
	hashOf := func(password string) string {
		hash, err := Hash(password)
		if err != nil {
			t.Fatal(err)
		}
		return hash
	}
	accounts := table{}
	for name, hash := range map[string]string{
		"set as NFC": hashOf(nfc), "set as NFD": hashOf(nfd), "set mixed": hashOf(mixed),
		"NFC elsewhere": bcryptOf(t, nfc), "NFD elsewhere": bcryptOf(t, nfd),
	} {
		accounts[name] = Account{UserID: name, UserName: name, PasswordHash: hash}
	}
	u, err := New(accounts.lookup, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name := range accounts {
		for _, typed := range []string{nfc, nfd, mixed} {
			if name == "NFD elsewhere" && typed == mixed {
				continue // its two forms are as typed and NFC, not this one
			}
			if _, err := signIn(t.Context(), u, name, typed); err != nil {
				t.Errorf("%s, typed %+q: got error %v", name, typed, err)
			}
		}
		for _, other := range []string{"Viet ete", nfc + " "} {
			_, err := signIn(t.Context(), u, name, other)
			rejected(t, err)
		}
	}
}

// A password is verified in a second form only if it has one, and also for
// unknown names.
func TestSecondFormTakesTheSameWorkForAll(t *testing.T) {
	t.Parallel()
	var hashed atomic.Int64
	counting := func(stored string) func(string) bool {
		want, ok := strings.CutPrefix(stored, "clear:")
		if !ok {
			return nil
		}
		return func(password string) bool {
			hashed.Add(1)
			return password == want
		}
	}
	accounts := table{
		"alice":    {UserID: "1", UserName: "alice", PasswordHash: "clear:caf\u00e9"},
		"disabled": {UserID: "2", UserName: "disabled", PasswordHash: "clear:caf\u00e9", Disabled: true},
	}
	u, usual := newUsers(t, accounts.lookup, &Options{Formats: []format{counting}})
	for _, test := range []struct {
		name, password string
		hashes         int64
		in             bool
	}{
		{"alice", "caf\u00e9", 1, true},
		{"alice", "cafe\u0301", 2, true},
		{"alice", "plain", 1, false},
		{"alice", "th\u00e9", 2, false},
		{"alice", "the\u0301", 2, false},
		{"disabled", "plain", 1, false},
		{"disabled", "caf\u00e9", 2, false},
		{"disabled", "cafe\u0301", 2, false},
		{"disabled", "th\u00e9", 2, false},
		{"nobody", "plain", 1, false},
		{"nobody", "caf\u00e9", 2, false},
		{"nobody", "the\u0301", 2, false},
		{"nobody", strings.Repeat("\u00e9", 600), 2, false}, // too long, and as much work
	} {
		before, usually := hashed.Load(), usual.runs.Load()
		_, err := signIn(t.Context(), u, test.name, test.password)
		if n := hashed.Load() - before; n != test.hashes || (err == nil) != test.in {
			t.Errorf("%s, %+q: got %d hashes, want %d; error %v", test.name, test.password, n, test.hashes, err)
		}
		if n := usual.runs.Load() - usually; !test.in && n != 1 {
			t.Errorf("%s, %+q: %d hashes of the default cost", test.name, test.password, n)
		}
	}
}

// Verifying both forms of a password counts as one attempt.
func TestFormsOfAPasswordAreOneAttempt(t *testing.T) {
	t.Parallel()
	accounts := table{"alice": {UserID: "1", UserName: "alice", PasswordHash: "clear:caf\u00e9"}}
	u, _ := newUsers(t, accounts.lookup, &Options{Formats: []format{clear}})
	auth, err := tokenauth.New(new(memory.Store), u, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"\u00e1", "\u00e9", "\u00ed", "\u00f3", "cafe\u0301"} {
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{
			UserName: "alice", Password: tokenauth.NewSecret(wrong), RemoteAddr: netip.MustParseAddr("192.0.2.1"),
		})
		if right := wrong == "cafe\u0301"; (err == nil) != right {
			t.Errorf("%+q: %v", wrong, err)
		}
	}
}

// If a password did not match only because of bcrypt's limit of 72 bytes, that
// is logged once a minute for each account. A wrong password is not logged. No
// password appears in the log.
func TestBcryptsLimitIsLogged(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a long password ", 6) // 96 bytes
	accents := strings.Repeat("\u00e9", 40)       // 80 bytes, and 120 as NFD
	for name, test := range map[string]struct {
		hashed, typed string
		disabled      bool
		logged        bool
	}{
		"truncated":             {long[:72], long, false, true},
		"another end":           {long[:72], long[:72] + "x", false, true},
		"truncated, in NFC":     {accents[:72], norm.NFD.String(accents), false, true},
		"as long as the limit":  {long[:72], long[:72], false, false},
		"wrong and long":        {long[:72], "x" + long, false, false},
		"wrong and short":       {long[:72], "x", false, false},
		"of a disabled account": {long[:72], long, true, false},
		"typed password longer than the right one": {long[:71], long, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			accounts := table{"alice": {UserID: "17", UserName: "alice", PasswordHash: bcryptOf(t, test.hashed), Disabled: test.disabled}}
			u, err := New(accounts.lookup, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			for range 3 {
				for _, userName := range []string{"alice", "nobody"} {
					_, err := signIn(context.Background(), u, userName, test.typed)
					if in := err == nil; in && (userName != "alice" || test.typed != test.hashed) {
						t.Errorf("%s was signed in", userName)
					}
				}
			}
			got := lines(&log)
			if logged := len(got) == 1 && strings.Contains(got[0], "more than 72 bytes") && strings.Contains(got[0], "=17 "); logged != test.logged || !logged && len(got) > 0 {
				t.Errorf("got log %q", got)
			}
			if strings.Contains(strings.Join(got, ""), "a long") || strings.Contains(strings.Join(got, ""), "\u00e9") {
				t.Errorf("the log contains the password: %q", got)
			}
		})
	}
}
