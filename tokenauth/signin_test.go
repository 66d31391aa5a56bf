package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

var errDirectory = errors.New("the directory is down")

func TestSignInReturnsTheAuthenticatorsDecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"valid", nil, "valid"},
		{"rejected", tokenauth.ErrRejected, "rejected"},
		{"rejected for a reason", fmt.Errorf("locked out: %w", tokenauth.ErrRejected), "rejected"},
		{"trouble", errDirectory, "unavailable"},
		{"ErrNotFound is not a rejection", tokenauth.ErrNotFound, "unavailable"},
		{"cancelled", context.Canceled, "unavailable"},
	}
	for _, test := range tests {
		storage, users := new(scripted), &staff{err: test.err}
		auth := newService(t, storage, users, nil)
		grant, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice"})
		if got := reason(err); got != test.want || test.err != nil && !errors.Is(err, test.err) {
			t.Errorf("%s: got %q, want %q; error %v", test.name, got, test.want, err)
		}
		if stored := storage.holds(); stored != (test.err == nil) {
			t.Errorf("%s: a token was stored: %v", test.name, stored)
		}
		if empty := grant.AccessToken.Reveal() == "" && grant.Token.Digest.IsZero(); empty == (test.err == nil) {
			t.Errorf("%s: the issued token is %+v, want zero", test.name, grant)
		}
	}
}

// A rejection before the work would be faster than a wrong password. Truncating
// a long password would make different ones equal.
func TestLongPasswordIsRejectedAfterAuthenticate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		length int
		err    error
		want   string
	}{
		{1024, nil, "valid"},
		{1024 + 1, nil, "rejected"},
		{1024 + 1, errDirectory, "unavailable"},
	} {
		storage, users := new(scripted), &staff{err: test.err}
		auth := newService(t, storage, users, nil)
		password := tokenauth.NewSecret(strings.Repeat("x", test.length))
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: password})
		if got := reason(err); got != test.want || users.asked != 1 || storage.holds() != (test.want == "valid") {
			t.Errorf("password of %d bytes: got %q, want %q; Authenticate was called %d times; token stored: %v", test.length, got, test.want, users.asked, storage.holds())
		}
	}
}

func TestSignInReturnsTheRecheckersDecision(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"nothing changed", nil, "valid"},
		{"user disabled", tokenauth.ErrRejected, "rejected"},
		{"rejected for a reason", fmt.Errorf("no such account: %w", tokenauth.ErrRejected), "rejected"},
		{"failed look-up", errDirectory, "unavailable"},
		{"ErrNotFound is not a rejection", tokenauth.ErrNotFound, "unavailable"},
	}
	for _, test := range tests {
		for _, leaves := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, client leaves %v", test.name, leaves), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				storage := new(scripted)
				users := &staff{look: func(ctx context.Context, p tokenauth.Principal) error {
					if ctx.Err() != nil {
						t.Errorf("Recheck got a context that has ended: %v", ctx.Err())
					}
					if p.UserID != "17" || p.Stamp != "stamp-1" {
						t.Errorf("Recheck got %+v", p)
					}
					if !storage.holds() {
						t.Error("Recheck was called before the token was stored")
					}
					return test.err
				}}
				if leaves {
					storage.stored = cancel
				}
				auth := newService(t, storage, users, nil)
				grant, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice"})
				if got := reason(err); got != test.want || test.err != nil && !errors.Is(err, test.err) {
					t.Errorf("got %q, want %q; error %v", got, test.want, err)
				}
				if stored := storage.holds(); stored != (test.err == nil) {
					t.Errorf("token stored: %v", stored)
				}
				if test.err != nil && grant.AccessToken.Reveal() != "" {
					t.Error("SignIn returned an access token with an error")
				}
			})
		}
	}
}

// A host changes a user, then revokes the tokens. If this happens at any moment
// of a sign-in, no token of the unchanged user remains.
func TestChangeDuringSignInLeavesNoToken(t *testing.T) {
	t.Parallel()
	for _, moment := range []string{"before Replace", "stored", "before Recheck", "after Recheck", "signed in"} {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			storage, users := new(scripted), new(staff)
			auth := newService(t, storage, users, nil)
			stamp := "stamp-1"
			now := func(m string) {
				if m == moment {
					stamp = "stamp-2"
					if err := auth.RevokeUser(t.Context(), "17"); err != nil {
						t.Error(err)
					}
				}
			}
			storage.before = func(_ context.Context, method string) error { now("before " + method); return nil }
			storage.stored = func() { now("stored") }
			users.look = func(_ context.Context, p tokenauth.Principal) error {
				now("before Recheck")
				changed := p.Stamp != stamp
				now("after Recheck")
				if changed {
					return tokenauth.ErrRejected
				}
				return nil
			}
			_, err := auth.SignIn(t.Context(), tokenauth.Credentials{})
			now("signed in")
			if err != nil && reason(err) != "rejected" {
				t.Error(err)
			}
			if stamp != "stamp-2" || storage.holds() {
				t.Errorf("the stamp is %s, token stored: %v; want stamp-2 and no token", stamp, storage.holds())
			}
		})
	}
}

// A sign-in that Recheck rejects revokes its own token, and not a newer one.
func TestRecheckRevokesNoNewerToken(t *testing.T) {
	t.Parallel()
	storage := new(scripted)
	var newer string
	users := new(staff)
	auth := newService(t, storage, users, nil)
	users.look = func(context.Context, tokenauth.Principal) error {
		newer = issue(t, auth, alice(), "")
		return tokenauth.ErrRejected
	}
	if _, err := auth.SignIn(t.Context(), tokenauth.Credentials{}); reason(err) != "rejected" {
		t.Errorf("SignIn: error %v, want ErrRejected", err)
	}
	expect(t, auth, newer, "valid")
}

func TestRecheckEndsAfterTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(scripted)
		users := &staff{look: func(ctx context.Context, _ tokenauth.Principal) error { return hang(ctx) }}
		auth := newService(t, storage, users, &tokenauth.Options{Timeout: 3 * time.Second})
		start := time.Now()
		_, err := auth.SignIn(t.Context(), tokenauth.Credentials{})
		if took := time.Since(start); reason(err) != "unavailable" || took != 3*time.Second {
			t.Errorf("after %v: error %v, want ErrUnavailable after 3s", took, err)
		}
		if storage.holds() {
			t.Error("the token is still stored")
		}
	})
}

func TestRefusedTokenThatCannotBeRemovedIsLogged(t *testing.T) {
	t.Parallel()
	storage := &scripted{before: func(_ context.Context, method string) error {
		if method == "Revoke" {
			return errDirectory
		}
		return nil
	}}
	users := &staff{look: func(context.Context, tokenauth.Principal) error { return tokenauth.ErrRejected }}
	logger, log := logInto()
	auth := newService(t, storage, users, &tokenauth.Options{Logger: logger})
	grant, err := auth.SignIn(t.Context(), tokenauth.Credentials{})
	if reason(err) != "rejected" || grant.AccessToken.Reveal() != "" {
		t.Errorf("SignIn: error %v", err)
	}
	if got := log.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, errDirectory.Error()) || strings.Contains(got, "tat_") {
		t.Errorf("logged %s, want one error with the cause and without the token", got)
	}
}

func TestRecheckIsOptional(t *testing.T) {
	t.Parallel()
	users := &staff{look: func(context.Context, tokenauth.Principal) error { return tokenauth.ErrRejected }}
	once := struct{ tokenauth.Authenticator }{users} // hides Recheck
	auth := newService(t, new(memory.Store), once, nil)
	grant, err := auth.SignIn(t.Context(), tokenauth.Credentials{})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, auth, grant.AccessToken.Reveal(), "valid")
}

func TestTokenThatCannotBeStoredIsNotGranted(t *testing.T) {
	t.Parallel()
	storage := &scripted{before: func(context.Context, string) error { return errDirectory }}
	users := &staff{look: func(context.Context, tokenauth.Principal) error {
		t.Error("Recheck was called although no token was stored")
		return nil
	}}
	auth := newService(t, storage, users, nil)
	signedIn, err := auth.SignIn(t.Context(), tokenauth.Credentials{})
	issued, err2 := auth.Issue(t.Context(), alice(), nil)
	for _, err := range []error{err, err2} {
		if reason(err) != "unavailable" || !errors.Is(err, errDirectory) {
			t.Errorf("SignIn: error %v", err)
		}
	}
	if signedIn.AccessToken.Reveal() != "" || issued.AccessToken.Reveal() != "" {
		t.Error("SignIn returned an access token with an error")
	}
}
