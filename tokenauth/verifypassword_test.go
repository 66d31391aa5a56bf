package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// verify calls VerifyPassword for alice, and returns "right", the code of a
// Rejection, "wait" with the seconds to wait, or the name of the error.
func (d *codeTest) verifyPassword(from, password, code string) string {
	if password == "wrong" {
		password = fmt.Sprint("wrong", d.guesses.Add(1))
	}
	p, err := d.auth.VerifyPassword(d.Context(), tokenauth.Credentials{
		UserName: "alice", Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr(from),
		Parameters: map[string]tokenauth.Secret{"otp": tokenauth.NewSecret(code)},
	})
	if (err == nil) != (p.UserID == "id of alice") {
		d.Errorf("VerifyPassword returned the principal %v, error %v", p, err)
	}
	var throttled *tokenauth.ThrottledError
	var rejection *tokenauth.Rejection
	switch {
	case err == nil:
		return "right"
	case errors.As(err, &throttled):
		return fmt.Sprint("wait ", math.Ceil(throttled.RetryAfter.Seconds()))
	case errors.As(err, &rejection):
		return rejection.Code
	}
	return reason(err)
}

// VerifyPassword counts failures as a sign-in does. A success resets no count of
// failed passwords, and does not make the source known, but a right code ends
// the wait for codes.
func TestVerifyPasswordCountsFailuresOnly(t *testing.T) {
	onReplicas(t, func(t *testing.T, replicas []*codeTest) {
		d, last := replicas[0], replicas[len(replicas)-1]
		expect := func(d *codeTest, from, password, code, want string) {
			t.Helper()
			if got := d.verifyPassword(from, password, code); got != want {
				t.Errorf("VerifyPassword with the password %s and the code %q: %s, want %s", password, code, got, want)
			}
		}
		for _, d := range replicas { // from now on attempts count by account
			d.try(there, "somebody", "wrong")
		}
		for range 4 {
			expect(d, here, "wrong", "", "rejected")
			expect(d, here, "right", "", "mfa_required")
			expect(d, here, "right", "1", "mfa_invalid")
		}
		expect(d, here, "right", "123456", "right")
		for range 5 { // the right code ended the wrong codes in a row
			expect(last, there, "right", "1", "mfa_invalid")
		}
		expect(d, there, "right", "123456", "wait 1")
		last.expectCode(there, "123456", "wait 1")
		time.Sleep(time.Second)
		expect(d, there, "right", "123456", "right")
		// The four wrong passwords still count, also for a sign-in.
		expect(d, here, "wrong", "123456", "rejected")
		if got := last.try(here, "alice", "right", "otp", "123456"); got != "wait 1" {
			t.Errorf("a sign-in after five wrong passwords: %s, want a wait of a second", got)
		}
		expect(d, here, "right", "123456", "wait 1")
		time.Sleep(time.Hour)
		expect(d, here, "right", "123456", "right")
		for i := range 30 {
			for strings.HasPrefix(d.verifyPassword(fmt.Sprintf("203.0.113.%d", i), "wrong", ""), "wait ") {
				time.Sleep(time.Minute)
			}
		}
		if got := d.verifyPassword(here, "right", "123456"); !strings.HasPrefix(got, "wait ") {
			t.Errorf("while the account is throttled: %s; VerifyPassword made the source known", got)
		}
	})
}

// VerifyPassword stores and ends nothing, calls no Rechecker, and authenticates
// no client. A success is not an event.
func TestVerifyPasswordLeavesTokensAlone(t *testing.T) {
	t.Parallel()
	storage := &scripted{}
	var events []tokenauth.Event
	users := &staff{}
	auth := newService(t, storage, users, &tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){
		func(_ context.Context, e tokenauth.Event) { events = append(events, e) },
	}})
	accessToken := issue(t, auth, alice(), "")
	events = nil
	storage.before = func(_ context.Context, method string) error {
		t.Errorf("VerifyPassword called %s of the storage", method)
		return nil
	}
	users.look = func(context.Context, tokenauth.Principal) error {
		t.Error("VerifyPassword called Recheck")
		return tokenauth.ErrRejected
	}
	c := tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("right"), ClientID: "unknown", ClientSecret: tokenauth.NewSecret("x")}
	if p, err := auth.VerifyPassword(t.Context(), c); err != nil || fmt.Sprint(p) != fmt.Sprint(alice()) {
		t.Errorf("VerifyPassword returned %v, error %v", p, err)
	}
	if len(events) != 0 {
		t.Errorf("a success is the event %+v, want none", events)
	}
	for _, test := range []struct {
		err    error
		want   string
		kind   event.Kind
		reason event.Reason
	}{
		{tokenauth.ErrRejected, "rejected", event.SignInRefused, event.ReasonCredentials},
		{errors.New("no connection"), "unavailable", event.Unavailable, ""},
	} {
		users.err = test.err
		p, err := auth.VerifyPassword(t.Context(), c)
		if reason(err) != test.want || p.UserID != "" {
			t.Errorf("VerifyPassword returned %v, error %v, want %s", p, err, test.want)
		}
		if len(events) != 1 || events[0].Kind != test.kind || events[0].Reason != test.reason || events[0].Account == "" || events[0].Err != err {
			t.Errorf("the events are %+v, want one of the kind %v with the reason %q", events, test.kind, test.reason)
		}
		events = nil
	}
	storage.before, users.look, users.err = nil, nil, nil
	expect(t, auth, accessToken, "valid")
}

// A principal that a sign-in would not accept is an error, and so is a password
// that is too long.
func TestVerifyPasswordChecksThePrincipal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		users := authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			return tokenauth.Principal{UserName: c.UserName}, nil
		})
		auth := newService(t, new(memory.Store), users, nil)
		for password, want := range map[string]string{"right": "principal", strings.Repeat("x", 1025): "rejected"} {
			_, err := auth.VerifyPassword(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(password)})
			if got := reason(err); got != want {
				t.Errorf("a password of %d bytes: %s, want %s; error %v", len(password), got, want, err)
			}
		}
	})
}

// A user's program tries the new password before it is set, and then sends it
// with each of many requests. None of them is throttled as the repetition of a
// wrong password.
func TestVerifyPasswordRepeatsNoWrongPassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		password := "old"
		users := authenticatorFunc(func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			if err := c.CountAttempt(ctx, "id of alice"); err != nil {
				return tokenauth.Principal{}, err
			}
			time.Sleep(10 * time.Millisecond)
			if c.Password.Reveal() != password {
				return tokenauth.Principal{}, tokenauth.ErrRejected
			}
			return alice(), nil
		})
		auth := newService(t, new(memory.Store), users, nil)
		verify := func() string {
			_, err := auth.VerifyPassword(t.Context(), tokenauth.Credentials{
				UserName: "alice", Password: tokenauth.NewSecret("new"), RemoteAddr: netip.MustParseAddr(here),
			})
			return reason(err)
		}
		if got := verify(); got != "rejected" {
			t.Errorf("before the password is set: %s", got)
		}
		password = "new"
		if got := verify(); got != "valid" {
			t.Errorf("once the password is set: %s", got)
		}
		results := make(chan string, 8)
		for range cap(results) {
			go func() { results <- verify() }()
		}
		for range cap(results) {
			if got := <-results; got != "valid" {
				t.Errorf("one of several requests: %s", got)
			}
		}
	})
}
