package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var (
	_ tokenauth.Authenticator = (*Authenticator)(nil)
	_ tokenauth.Rechecker     = (*Authenticator)(nil)
)

// A table holds the accounts of a host by user name.
type table map[string]Account

func (accounts table) lookup(_ context.Context, userName string) (Account, error) {
	account, ok := accounts[userName]
	if !ok {
		return Account{}, fmt.Errorf("host: no such account: %w", tokenauth.ErrNotFound)
	}
	return account, nil
}

// A counter replaces the default dummy hash and counts its runs. It reports a
// match, which must never sign a user in.
type counter struct{ runs atomic.Int32 }

func (*counter) cheap() bool       { return false }
func (c *counter) dummy() verifier { return c }
func (*counter) kind() string      { return "counter" }

func (c *counter) verify(string) (bool, error) {
	c.runs.Add(1)
	return true, nil
}

func newUsers(tb testing.TB, lookup Lookup, o *Options) (*Authenticator, *counter) {
	tb.Helper()
	u, err := New(lookup, o)
	if err != nil {
		tb.Fatal(err)
	}
	usual := new(counter)
	u.standIn(usual)
	return u, usual
}

// standIn replaces the hash of the default cost. It must be called before the
// first look-up.
func (u *Authenticator) standIn(usual verifier) {
	u.usual, u.dummies = usual, newDummies(usual)
}

func signIn(ctx context.Context, u *Authenticator, name, password string) (tokenauth.Principal, error) {
	return u.Authenticate(ctx, tokenauth.Credentials{UserName: name, Password: tokenauth.NewSecret(password)})
}

func rejected(tb testing.TB, err error) {
	tb.Helper()
	if !errors.Is(err, tokenauth.ErrRejected) {
		tb.Errorf("got error %v, want ErrRejected", err)
	}
}

// A user whom the Lookup itself rejects must take as long as any other.
func TestUserWhomTheLookupRejectsTakesTheSameWork(t *testing.T) {
	t.Parallel()
	u, dummy := newUsers(t, func(context.Context, string) (Account, error) {
		return Account{}, fmt.Errorf("host: alice is banned: %w", tokenauth.ErrRejected)
	}, nil)
	_, err := signIn(t.Context(), u, "alice", "correct horse")
	rejected(t, err)
	if n := dummy.runs.Load(); n != 1 {
		t.Errorf("the dummy is run %d times", n)
	}
	rejected(t, u.Recheck(t.Context(), tokenauth.Principal{UserID: "1", UserName: "alice"}))
}

func TestAuthenticateReturnsTheAccountsPrincipal(t *testing.T) {
	t.Parallel()
	accounts := table{}
	for name, hash := range map[string]string{
		"argon2id": cheapHash("correct horse"),
		"bcrypt":   "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
	} {
		accounts[name] = Account{
			UserID: "id of " + name, UserName: strings.ToUpper(name), PasswordHash: hash,
			Roles: []string{"Reader", "Auditor"}, Attributes: map[string]string{"tenant": "7"},
		}
	}
	u, dummy := newUsers(t, accounts.lookup, nil)
	for name, password := range map[string]string{"argon2id": "correct horse", "bcrypt": "U*U"} {
		p, err := signIn(t.Context(), u, name, password)
		if err != nil {
			t.Fatal(err)
		}
		want := tokenauth.Principal{
			UserID: "id of " + name, UserName: strings.ToUpper(name),
			Roles: []string{"Reader", "Auditor"}, Attributes: map[string]string{"tenant": "7"},
			Stamp: p.Stamp,
		}
		if !reflect.DeepEqual(p, want) || p.Stamp == "" {
			t.Errorf("%s: got principal %+v", name, p)
		}
		if strings.Contains(p.Stamp, accounts[name].PasswordHash) {
			t.Errorf("the stamp %q contains the password hash", p.Stamp)
		}
		// The caller may change the principal. That must not change the account, which the Lookup may keep.
		p.Roles[0], p.Attributes["tenant"] = "Administrator", "8"
		if accounts[name].Roles[0] != "Reader" || accounts[name].Attributes["tenant"] != "7" {
			t.Errorf("changing the principal changed the account: %+v", accounts[name])
		}
	}
	if n := dummy.runs.Load(); n != 0 {
		t.Errorf("sign-ins with a hash of their own ran the dummy %d times", n)
	}
}

// The response time must not reveal which users exist. Each rejection takes one
// hash of the default cost: the account's or the dummy. A cheaper hash is
// followed by the dummy.
func TestAuthenticateRejectsAfterOneHash(t *testing.T) {
	t.Parallel()
	const right = "correct horse"
	hash := cheapHash(right)
	usual, err := Hash(right)
	if err != nil {
		t.Fatal(err)
	}
	u, _ := newUsers(t, nothing, nil)
	for _, test := range []struct {
		name           string
		account        *Account
		password       string
		dummies, warns int
	}{
		{"unknown user", nil, right, 1, 0},
		{"wrong password", &Account{PasswordHash: usual}, "wrong", 0, 0},
		{"empty password", &Account{PasswordHash: usual}, "", 0, 0},
		{"wrong password, cheap hash", &Account{PasswordHash: hash}, "wrong", 1, 0},
		{"empty password, cheap hash", &Account{PasswordHash: hash}, "", 1, 0},
		{"wrong password, bcrypt at cost 5", &Account{PasswordHash: "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}, "wrong", 1, 0},
		{"wrong password, bcrypt at cost 9", &Account{PasswordHash: "$2a$09$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}, "wrong", 0, 0},
		{"wrong password, Identity v2", &Account{PasswordHash: aspnetV2Hash}, "wrong", 1, 0},
		{"wrong password, Identity v3", &Account{PasswordHash: aspnetV3Hash}, "wrong", 1, 0},
		{"disabled, cheap hash", &Account{PasswordHash: aspnetV2Hash, Disabled: true}, "my password", 1, 0},
		{"disabled", &Account{PasswordHash: hash, Disabled: true}, right, 1, 0},
		{"disabled, wrong password", &Account{PasswordHash: hash, Disabled: true}, "wrong", 1, 0},
		{"disabled without a hash", &Account{Disabled: true}, right, 1, 0},
		{"empty hash", &Account{}, right, 1, 1},
		{"empty hash, empty password", &Account{}, "", 1, 1},
		{"plain text instead of a hash", &Account{PasswordHash: right}, right, 1, 1},
		{"unparsable argon2id", &Account{PasswordHash: hash + "$"}, right, 1, 1},
		{"unparsable bcrypt", &Account{PasswordHash: "$2a$05$CCCC"}, right, 1, 1},
		{"bcrypt with an invalid salt", &Account{PasswordHash: "$2a$05$ CCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}, right, 1, 1},
		{"argon2id over the cost limit", &Account{PasswordHash: phc("v=19", "m=262144,t=16,p=1", zeros(16), zeros(32))}, right, 1, 1},
		{"PBKDF2 over the cost limit", &Account{PasswordHash: pbkdf2PHC("pbkdf2-sha256", "i=2147483647", zeros(16), zeros(32))}, right, 1, 1},
		{"Identity v3 over the cost limit", &Account{PasswordHash: v3(1, 1<<31, 16, 48)}, right, 1, 1},
		{"bcrypt over the cost limit", &Account{PasswordHash: "$2a$16$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"}, right, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			accounts := table{}
			if test.account != nil {
				test.account.UserID, test.account.UserName = "id-7", "alice"
				accounts["alice"] = *test.account
			}
			var log bytes.Buffer
			u, dummy := *u, new(counter)
			u.standIn(dummy)
			u.lookup, u.warnings = accounts.lookup, newWarnings(slog.New(slog.NewTextHandler(&log, nil)))
			p, err := signIn(t.Context(), &u, "alice", test.password)
			rejected(t, err)
			if errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("the error %v reveals that the user does not exist", err)
			}
			if !reflect.DeepEqual(p, tokenauth.Principal{}) {
				t.Errorf("got principal %+v, want none", p)
			}
			if n := int(dummy.runs.Load()); n != test.dummies {
				t.Errorf("the dummy ran %d times, want %d", n, test.dummies)
			}
			if n := strings.Count(log.String(), "\n"); n != test.warns {
				t.Errorf("%d lines were logged, want %d: %s", n, test.warns, &log)
			}
			if test.warns > 0 && !strings.Contains(log.String(), "user_id=id-7") {
				t.Errorf("the log does not name the account: %s", &log)
			}
			for _, secret := range []string{test.password, accounts["alice"].PasswordHash} {
				if secret != "" && strings.Contains(log.String(), secret) {
					t.Errorf("the log contains %q: %s", secret, &log)
				}
			}
		})
	}
}

func TestUnusableHashIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	u, _ := newUsers(t, table{"alice": {UserID: "id-7", UserName: "alice"}}.lookup, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	_, err := signIn(t.Context(), u, "alice", "correct horse")
	rejected(t, err)
	if !strings.Contains(log.String(), "user_id=id-7") {
		t.Errorf("got log %q", &log)
	}
}

// Before the first look-up, the dummy costs what Hash costs.
func TestFirstDummyCostsWhatHashCosts(t *testing.T) {
	t.Parallel()
	u, err := New(table{}.lookup, nil)
	if err != nil {
		t.Fatal(err)
	}
	dummy, ok := u.dummies.of("nobody").(argon2id)
	if !ok || dummy.memory != 19<<10 || dummy.passes != 2 || dummy.lanes != 1 || len(dummy.hash) != 32 {
		t.Errorf("got dummy %v", dummy)
	}
}

var errDown = errors.New("host: the database is down")

func TestLookupErrorsPassThrough(t *testing.T) {
	t.Parallel()
	u, dummy := newUsers(t, func(context.Context, string) (Account, error) {
		// The account must be ignored, because the error is set.
		return Account{UserID: "1", UserName: "alice", PasswordHash: cheapHash("correct horse")}, errDown
	}, nil)
	p, err := signIn(t.Context(), u, "alice", "correct horse")
	if !errors.Is(err, errDown) || errors.Is(err, tokenauth.ErrRejected) || !reflect.DeepEqual(p, tokenauth.Principal{}) {
		t.Errorf("Authenticate: got %+v, %v", p, err)
	}
	if err := u.Recheck(t.Context(), tokenauth.Principal{UserID: "1", UserName: "alice"}); !errors.Is(err, errDown) || errors.Is(err, tokenauth.ErrRejected) {
		t.Errorf("Recheck returns %v", err)
	}
	if n := dummy.runs.Load(); n != 0 {
		t.Errorf("the dummy ran %d times although the look-up failed", n)
	}
}

func TestLookupEndsAfterTimeout(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name          string
		timeout, want time.Duration
	}{
		{"by default", 0, 2 * time.Second},
		{"set", 300 * time.Millisecond, 300 * time.Millisecond},
		{"the longest", time.Minute, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, _ := newUsers(t, func(ctx context.Context, _ string) (Account, error) {
					<-ctx.Done()
					return Account{}, ctx.Err()
				}, &Options{Timeout: test.timeout})
				for name, call := range map[string]func() error{
					"Authenticate": func() error { _, err := signIn(t.Context(), u, "alice", "correct horse"); return err },
					"Recheck":      func() error { return u.Recheck(t.Context(), tokenauth.Principal{UserName: "alice"}) },
				} {
					began := time.Now()
					err := call()
					if took := time.Since(began); took != test.want {
						t.Errorf("%s took %v, want %v", name, took, test.want)
					}
					if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, tokenauth.ErrRejected) {
						t.Errorf("%s: got error %v", name, err)
					}
				}
			})
		})
	}
}

// A canceled look-up would make a database driver close its connection.
func TestCanceledCallerDoesNotInterruptLookup(t *testing.T) {
	t.Parallel()
	type key struct{}
	asked := 0
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "trace"))
	u, _ := newUsers(t, func(call context.Context, _ string) (Account, error) {
		asked++
		if call.Value(key{}) != "trace" {
			t.Error("the look-up gets another context")
		}
		cancel()
		if call.Err() != nil {
			t.Error("the look-up was interrupted")
		}
		return Account{}, tokenauth.ErrNotFound
	}, nil)
	if _, err := signIn(ctx, u, "alice", "correct horse"); !errors.Is(err, context.Canceled) {
		t.Errorf("Authenticate returns %v", err)
	}
	// After the context ended, no other look-up begins.
	if err := u.Recheck(ctx, tokenauth.Principal{UserName: "alice"}); !errors.Is(err, context.Canceled) {
		t.Errorf("Recheck returns %v", err)
	}
	if asked != 1 {
		t.Errorf("got %d look-ups", asked)
	}
}

func TestRecheckRejectsChangedAccounts(t *testing.T) {
	t.Parallel()
	u, dummy := newUsers(t, nothing, nil)
	plain := Account{
		UserID: "1", UserName: "alice", PasswordHash: cheapHash("correct horse"),
		Roles: []string{"Reader", "Auditor"}, Attributes: map[string]string{"tenant": "7"},
	}
	stamped := plain
	stamped.Stamp = "a1b2"
	for _, test := range []struct {
		name    string
		account Account
		change  func(accounts table, a *Account) // a is stored as "alice" afterwards, unless deleted
		ok      bool
	}{
		{"unchanged", plain, func(table, *Account) {}, true},
		{"unchanged, with a stamp", stamped, func(table, *Account) {}, true},
		{"roles in another order", plain, func(_ table, a *Account) { slices.Reverse(a.Roles) }, true},
		{"other attributes", plain, func(_ table, a *Account) { a.Attributes["tenant"] = "8" }, true},
		{"password hashed again, same stamp", stamped, func(_ table, a *Account) { a.PasswordHash = "another" }, true},
		{"disabled", plain, func(_ table, a *Account) { a.Disabled = true }, false},
		{"disabled, with a stamp", stamped, func(_ table, a *Account) { a.Disabled = true }, false},
		{"deleted", plain, func(_ table, a *Account) { a.UserID = "" }, false},
		{"another user of that name", plain, func(_ table, a *Account) { a.UserID = "2" }, false},
		{"changed password", plain, func(_ table, a *Account) { a.PasswordHash = cheapHash("battery staple") }, false},
		{"same password hashed again", plain, func(_ table, a *Account) { a.PasswordHash += "x" }, false},
		{"password removed", plain, func(_ table, a *Account) { a.PasswordHash = "" }, false},
		{"role added", plain, func(_ table, a *Account) { a.Roles = append(a.Roles, "Administrator") }, false},
		{"role removed", plain, func(_ table, a *Account) { a.Roles = a.Roles[:1] }, false},
		{"no roles", plain, func(_ table, a *Account) { a.Roles = nil }, false},
		{"another role", plain, func(_ table, a *Account) { a.Roles[1] = "auditor" }, false},
		{"role removed, same stamp", stamped, func(_ table, a *Account) { a.Roles = a.Roles[:1] }, false},
		{"renamed", plain, func(accounts table, a *Account) {
			a.UserName = "alicia"
			accounts["alicia"] = *a
			a.UserID = "" // the old name is unknown
		}, false},
		{"renamed, but still found by the old name", plain, func(_ table, a *Account) { a.UserName = "alicia" }, false},
		{"changed stamp", stamped, func(_ table, a *Account) { a.Stamp = "c3d4" }, false},
		{"stamp removed", stamped, func(_ table, a *Account) { a.Stamp = "" }, false},
		{"stamp added", plain, func(_ table, a *Account) { a.Stamp = "a1b2" }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			accounts := table{"alice": test.account}
			u := *u
			u.lookup = accounts.lookup
			p, err := signIn(t.Context(), &u, "alice", "correct horse")
			if err != nil {
				t.Fatal(err)
			}
			a := test.account
			a.Roles, a.Attributes = slices.Clone(a.Roles), maps.Clone(a.Attributes)
			test.change(accounts, &a)
			if accounts["alice"] = a; a.UserID == "" {
				delete(accounts, "alice")
			}
			err = u.Recheck(t.Context(), p)
			if test.ok && err != nil {
				t.Errorf("Recheck returns %v", err)
			}
			if !test.ok {
				rejected(t, err)
			}
		})
	}
	if n := dummy.runs.Load(); n != 0 {
		t.Errorf("the dummy is run %d times", n)
	}
}

func nothing(context.Context, string) (Account, error) { return Account{}, tokenauth.ErrNotFound }

// The fields of an account must not be joined so that two accounts get the same
// stamp.
func TestStampsOfDifferentAccountsDiffer(t *testing.T) {
	t.Parallel()
	accounts := []Account{
		{},
		{UserID: "1", UserName: "ab", PasswordHash: "c"},
		{UserID: "1", UserName: "a", PasswordHash: "bc"},
		{UserID: "1a", UserName: "b", PasswordHash: "c"},
		{UserID: "1", UserName: "abc"},
		{UserID: "1abc"},
		{UserName: "1abc"},
		{PasswordHash: "1abc"},
		{Roles: []string{"1abc"}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Roles: []string{"c"}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Roles: []string{"c", ""}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Roles: []string{"c", "d"}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Roles: []string{"cd"}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Roles: []string{"c,d"}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Roles: []string{"c", "c"}},
		{UserID: "1", UserName: "a", Roles: []string{"b", "c"}},
		{UserID: "1", UserName: "A", PasswordHash: "b", Roles: []string{"c"}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Stamp: "s", Roles: []string{"c"}},
		{UserID: "1", UserName: "a", PasswordHash: "b", Stamp: "sc"},
		{UserID: "1", UserName: "a\x00", PasswordHash: "b"},
		{UserID: "1", UserName: "a", PasswordHash: "\x00b"},
	}
	seen := map[string]Account{}
	for _, a := range accounts {
		stamp := a.stamp()
		if other, ok := seen[stamp]; ok {
			t.Errorf("%+v and %+v have the same stamp %q", other, a, stamp)
		}
		seen[stamp] = a
	}
}

func TestStampDoesNotReorderRoles(t *testing.T) {
	t.Parallel()
	a := Account{UserID: "1", Roles: []string{"c", "a", "b"}}
	b := Account{UserID: "1", Roles: []string{"b", "c", "a"}}
	if a.stamp() != b.stamp() {
		t.Error("the stamp depends on the order of the roles")
	}
	if !slices.Equal(a.Roles, []string{"c", "a", "b"}) {
		t.Errorf("the roles were reordered: %v", a.Roles)
	}
}

func TestNewRefusesInvalidOptions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		lookup Lookup
		o      *Options
		says   string
	}{
		{"nil lookup", nil, nil, "lookup"},
		{"negative timeout", nothing, &Options{Timeout: -1}, "Options.Timeout"},
		{"timeout over a minute", nothing, &Options{Timeout: time.Minute + 1}, "Options.Timeout"},
		{"negative number of hashes", nothing, &Options{MaxHashing: -1}, "Options.MaxHashing"},
		{"too many hashes", nothing, &Options{MaxHashing: 1025}, "Options.MaxHashing"},
		{"negative length of the queue", nothing, &Options{MaxWaiting: -1}, "Options.MaxWaiting"},
		{"queue too long", nothing, &Options{MaxWaiting: 65537}, "Options.MaxWaiting"},
		{"nil format", nothing, &Options{Formats: []format{func(string) func(string) bool { return nil }, nil}}, "Options.Formats[1]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := New(test.lookup, test.o)
			if u != nil || err == nil || !strings.HasPrefix(err.Error(), "password: ") || !strings.Contains(err.Error(), test.says) {
				t.Errorf("New returned %v, %v", u, err)
			}
		})
	}
}

// If a Lookup does not find an account by its own UserName, the user can never
// sign in. The client gets the same response as for a wrong password; the log
// names the cause.
func TestLookupThatMissesTheUserNameIsLogged(t *testing.T) {
	t.Parallel()
	hash, err := Hash("my password")
	if err != nil {
		t.Fatal(err)
	}
	account := Account{UserID: "17", UserName: "Alice A.", PasswordHash: hash, Stamp: "1"}
	for name, test := range map[string]struct {
		accounts table
		logged   bool
		status   int
	}{
		"found only by the typed name":        {table{"alice": account}, true, 400},
		"UserName belongs to another account": {table{"alice": account, "Alice A.": {UserID: "18", UserName: "Alice A."}}, true, 400},
		"by both":                             {table{"alice": account, "Alice A.": account}, false, 200},
		"by both, but disabled just now":      {table{"alice": account, "Alice A.": {UserID: "17", UserName: "Alice A.", Disabled: true}}, false, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			u, _ := newUsers(t, test.accounts.lookup, nil)
			w := handler(t, u, &log)()
			if w.Code != test.status || w.Code == 400 && w.Body.String() != `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}` {
				t.Errorf("got status %d, body %s", w.Code, w.Body)
			}
			said := strings.Contains(log.String(), "level=ERROR") && strings.Contains(log.String(), "not by Account.UserName") && strings.Contains(log.String(), `user_id=17 user_name="Alice A."`)
			if said != test.logged || strings.Contains(log.String(), "my password") {
				t.Errorf("got log %s", &log)
			}
		})
	}
}
