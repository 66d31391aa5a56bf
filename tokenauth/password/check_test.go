package password

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// checks records the calls of an [Options.Check], which returns err.
type checks struct {
	accounts    []Account
	credentials []tokenauth.Credentials
	err         error
}

func (r *checks) check(_ context.Context, a Account, c tokenauth.Credentials) error {
	r.accounts, r.credentials = append(r.accounts, a), append(r.credentials, c)
	return r.err
}

func TestCheckFollowsTheRightPasswordOnly(t *testing.T) {
	t.Parallel()
	type row struct{ secret string }
	hash := cheapHash("correct horse")
	alice := Account{
		UserID: "1", UserName: "alice", PasswordHash: hash, Stamp: "s",
		Roles: []string{"Reader"}, Attributes: map[string]string{"tenant": "7"}, Row: &row{"s3cret"},
	}
	accounts := table{
		"alice":    alice,
		"disabled": {UserID: "2", UserName: "disabled", PasswordHash: hash, Disabled: true},
		"unusable": {UserID: "3", UserName: "unusable"},
	}
	var r checks
	u, err := New(accounts.lookup, &Options{Check: r.check, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for name, password := range map[string]string{"alice": "battery staple", "disabled": "correct horse", "unusable": "correct horse", "nobody": "correct horse"} {
		_, err := signIn(t.Context(), u, name, password)
		rejected(t, err)
		if len(r.accounts) > 0 {
			t.Fatalf("%s, %s: Check was called", name, password)
		}
	}

	sent := tokenauth.Credentials{
		UserName: "alice", Password: tokenauth.NewSecret("correct horse"), ClientID: "web",
		Parameters: map[string]tokenauth.Secret{"otp": tokenauth.NewSecret("123456")}, RemoteAddr: netip.MustParseAddr("192.0.2.1"),
	}
	p, err := u.Authenticate(t.Context(), sent)
	if err != nil {
		t.Fatal(err)
	}
	if p.Row != alice.Row {
		t.Errorf("the principal has the row %v, want that of the account", p.Row)
	}
	if len(r.accounts) != 1 || !reflect.DeepEqual(r.accounts[0], alice) || !reflect.DeepEqual(r.credentials[0], sent) {
		t.Errorf("Check got %d calls, with the accounts %+v and the credentials %+v", len(r.accounts), r.accounts, r.credentials)
	}
	if err := u.Recheck(t.Context(), p); err != nil || len(r.accounts) != 1 {
		t.Errorf("Recheck returned error %v and called Check: %v; want neither", err, len(r.accounts) != 1)
	}
}

// A changed row does not end tokens, because it is not part of the stamp.
func TestRowIsNotPartOfTheStamp(t *testing.T) {
	t.Parallel()
	account := Account{UserID: "1", UserName: "alice", PasswordHash: cheapHash("correct horse"), Row: 1}
	p := account.Principal()
	account.Row = 2
	if p.Row != 1 || !account.StillValid(p) {
		t.Errorf("the principal has the row %v, and is still valid: %v; want 1 and true", p.Row, account.StillValid(p))
	}
}

// A user is suspended after Check let the sign-in through. The sign-in ends with
// ErrRejected if the stamp changes with the column that Check reads.
func TestStampCoversAChangeAfterCheck(t *testing.T) {
	t.Parallel()
	type row struct{ status string }
	r := row{"active"}
	u, err := New(func(context.Context, string) (Account, error) {
		return Account{UserID: "1", UserName: "alice", PasswordHash: cheapHash("correct horse"), Stamp: r.status, Row: r}, nil
	}, &Options{Logger: slog.New(slog.DiscardHandler), Check: func(_ context.Context, a Account, _ tokenauth.Credentials) error {
		if a.Row.(row).status != "active" {
			return &tokenauth.Rejection{Description: "The account is suspended."}
		}
		r.status = "suspended"
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), u, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("correct horse")})
	rejected(t, err)
	if r.status != "suspended" {
		t.Error("Check did not let the sign-in through")
	}
	if tokens, err := auth.Tokens(t.Context(), "1"); err != nil || len(tokens) > 0 {
		t.Errorf("the user has %d tokens, error %v; want none", len(tokens), err)
	}
}

// Authenticate returns an error of Check unchanged, and upgrades no hash.
func TestCheckDecidesBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{
		&tokenauth.Rejection{Code: "mfa_required", Description: "Send a one-time code."},
		fmt.Errorf("host: %w", tokenauth.ErrRejected),
		&tokenauth.ThrottledError{RetryAfter: time.Minute},
		errDown,
	} {
		h := &hashTable{account: Account{UserID: "1", UserName: "alice", PasswordHash: aspnetV2Hash, Stamp: "s"}}
		r := checks{err: refusal}
		u, err := New(h.lookup, &Options{Check: r.check, Upgrade: h.upgrade})
		if err != nil {
			t.Fatal(err)
		}
		p, err := signIn(t.Context(), u, "alice", "my password")
		if err != refusal || !reflect.DeepEqual(p, tokenauth.Principal{}) {
			t.Errorf("got %+v and error %v, want no principal and error %v", p, err, refusal)
		}
		if h.upgrades != 0 {
			t.Errorf("error %v: the hash was upgraded", refusal)
		}
		r.err = nil
		if _, err := signIn(t.Context(), u, "alice", "my password"); err != nil || h.upgrades != 1 || len(r.accounts) != 2 {
			t.Errorf("accepted by Check: got error %v, %d upgrades and %d calls of Check; want no error, 1 and 2", err, h.upgrades, len(r.accounts))
		}
	}
}

// The context of Check ends after the timeout, and not when the client
// disconnects.
func TestCheckEndsAfterTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, disconnect := context.WithCancel(t.Context())
		u, err := New(table{"alice": {UserID: "1", UserName: "alice", PasswordHash: cheapHash("correct horse")}}.lookup, &Options{
			Timeout: 300 * time.Millisecond,
			Check: func(ctx context.Context, _ Account, _ tokenauth.Credentials) error {
				disconnect()
				<-ctx.Done()
				return ctx.Err()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = signIn(ctx, u, "alice", "correct horse")
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, tokenauth.ErrRejected) {
			t.Errorf("got error %v, want the context's", err)
		}
		if took := time.Since(began); took != 300*time.Millisecond {
			t.Errorf("took %v, want the timeout", took)
		}
	})
}

// If the client disconnected while the password was hashed, Check is not called,
// so that no code is used up.
func TestCheckDoesNotFollowADisconnect(t *testing.T) {
	t.Parallel()
	ctx, disconnect := context.WithCancel(t.Context())
	format := func(stored string) func(string) bool {
		return func(string) bool { disconnect(); return true }
	}
	var r checks
	u, err := New(table{"alice": {UserID: "1", UserName: "alice", PasswordHash: "x"}}.lookup, &Options{Formats: []func(string) func(string) bool{format}, Check: r.check})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(ctx, u, "alice", "correct horse"); !errors.Is(err, context.Canceled) || len(r.accounts) != 0 {
		t.Errorf("got error %v and %d calls of Check, want the context's error and none", err, len(r.accounts))
	}
}

// A sign-in whose Check runs occupies no hashing slot.
func TestOthersHashWhileCheckRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		hash := cheapHash("correct horse")
		u, err := New(table{"alice": {UserID: "1", UserName: "alice", PasswordHash: hash}, "bob": {UserID: "2", UserName: "bob", PasswordHash: hash}}.lookup, &Options{
			MaxHashing: 1,
			Check: func(_ context.Context, a Account, _ tokenauth.Credentials) error {
				if a.UserName == "alice" {
					<-release
				}
				return nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		alice := make(chan error)
		go func() {
			_, err := signIn(t.Context(), u, "alice", "correct horse")
			alice <- err
		}()
		synctest.Wait()
		if _, err := signIn(t.Context(), u, "bob", "correct horse"); err != nil {
			t.Errorf("while another Check runs: got error %v", err)
		}
		close(release)
		if err := <-alice; err != nil {
			t.Errorf("after the Check: got error %v", err)
		}
	})
}

// After panics of Check, the Authenticator has as much room as before.
func TestPanicInCheckFreesItsPlace(t *testing.T) {
	t.Parallel()
	failing := true
	u, err := New(table{"alice": {UserID: "1", UserName: "alice", PasswordHash: cheapHash("correct horse")}}.lookup, &Options{
		MaxHashing: 1, MaxWaiting: 1,
		Check: func(context.Context, Account, tokenauth.Credentials) error {
			if failing {
				panic("host: no code")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // more than fit
		func() {
			defer func() {
				if p := recover(); p != "host: no code" {
					t.Errorf("got a panic with %v, want that of Check", p)
				}
			}()
			signIn(t.Context(), u, "alice", "correct horse")
		}()
	}
	failing = false
	if _, err := signIn(t.Context(), u, "alice", "correct horse"); err != nil {
		t.Errorf("after the panics: got error %v", err)
	}
}

// Rejections by Check count for the throttle, although they repeat the same
// password. Errors and panics of Check do not count.
func TestRejectionsByCheckAreThrottled(t *testing.T) {
	t.Parallel()
	var result func() error
	u, err := New(table{"alice": {UserID: "1", UserName: "alice", PasswordHash: cheapHash("correct horse")}}.lookup, &Options{
		Check: func(context.Context, Account, tokenauth.Credentials) error { return result() },
	})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), u, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	attempt := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		_, err = auth.SignIn(t.Context(), tokenauth.Credentials{
			UserName: "alice", Password: tokenauth.NewSecret("correct horse"), RemoteAddr: netip.MustParseAddr("192.0.2.1"),
		})
		return err
	}
	result = func() error { return errDown }
	for range 6 {
		if err := attempt(); !errors.Is(err, tokenauth.ErrUnavailable) || !errors.Is(err, errDown) {
			t.Errorf("an error of Check became %v, want ErrUnavailable", err)
		}
	}
	result = func() error { panic("host: no code") }
	for range 6 {
		if err := attempt(); err == nil || err.Error() != "panic: host: no code" {
			t.Errorf("a panic of Check became %v", err)
		}
	}
	result = func() error { return tokenauth.ErrRejected }
	for range 5 {
		rejected(t, attempt())
	}
	result = func() error { return nil }
	if err := attempt(); !errors.Is(err, tokenauth.ErrThrottled) {
		t.Errorf("after five rejections: got error %v, want ErrThrottled", err)
	}
}
