package tokenauth_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/event"
)

// rejecting is an Authenticator that accepts the password "right", and then
// returns err.
func rejecting(err error) tokenauth.Authenticator {
	return authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
		if c.Password.Reveal() == "right" {
			c.PasswordMatched()
		}
		return tokenauth.Principal{}, err
	})
}

// The reason reaches the client and the caller of SignIn only after the right
// password, and only if it can be sent.
func TestRejectionReachesTheClientAfterTheRightPassword(t *testing.T) {
	t.Parallel()
	const constant = `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}`
	long := strings.Repeat("d", 256)
	for name, test := range map[string]struct {
		err  error
		want string // "" for the constant response
	}{
		"reason":            {&tokenauth.Rejection{Code: "email_unconfirmed", Description: "Confirm your e-mail address."}, `{"error":"email_unconfirmed","error_description":"Confirm your e-mail address."}`},
		"wrapped":           {fmt.Errorf("of the host: %w", &tokenauth.Rejection{Code: "locked", Description: "x"}), `{"error":"locked","error_description":"x"}`},
		"no code":           {&tokenauth.Rejection{Description: "Closed at night."}, `{"error":"invalid_grant","error_description":"Closed at night."}`},
		"longest texts":     {&tokenauth.Rejection{Code: long[:64], Description: long}, `{"error":"` + long[:64] + `","error_description":"` + long + `"}`},
		"punctuation":       {&tokenauth.Rejection{Code: "!#[]~", Description: " !#[]~"}, `{"error":"!#[]~","error_description":" !#[]~"}`},
		"zero":              {new(tokenauth.Rejection), ""},
		"nil":               {(*tokenauth.Rejection)(nil), ""},
		"long code":         {&tokenauth.Rejection{Code: long[:65], Description: "x"}, ""},
		"space in the code": {&tokenauth.Rejection{Code: "a b", Description: "x"}, ""},
		"quote":             {&tokenauth.Rejection{Code: "a", Description: `"x"`}, ""},
		"backslash":         {&tokenauth.Rejection{Code: `a\b`, Description: "x"}, ""},
		"line break":        {&tokenauth.Rejection{Code: "a", Description: "x\ny"}, ""},
		"not ASCII":         {&tokenauth.Rejection{Code: "a", Description: "Größe"}, ""},
		"long description":  {&tokenauth.Rejection{Code: "a", Description: long + "d"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logger, log := logInto()
			auth := newService(t, new(memory.Store), rejecting(test.err), &tokenauth.Options{Logger: logger})
			for _, password := range []string{"wrong", "right"} {
				want := constant
				if password == "right" && test.want != "" {
					want = test.want
				}
				w := httptest.NewRecorder()
				auth.TokenHandler().ServeHTTP(w, httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=alice&password="+password)))
				if w.Code != 400 || w.Body.String() != want {
					t.Errorf("with the password %s: got %d %s, want 400 %s", password, w.Code, w.Body, want)
				}
				_, err := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(password)})
				var reason *tokenauth.Rejection
				if found := errors.As(err, &reason); !errors.Is(err, tokenauth.ErrRejected) || found != (want != constant) {
					t.Errorf("with the password %s: SignIn returned %v, with a Rejection: %v", password, err, found)
				}
			}
			if logged := strings.Contains(log.String(), "a Rejection that cannot be sent"); logged != (test.want == "") {
				t.Errorf("the invalid Rejection is logged: %v\n%s", logged, log)
			}
		})
	}
}

// A Rejection is ErrRejected, and its text says what the client gets.
func TestRejectionIsErrRejected(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		r    *tokenauth.Rejection
		want string
	}{
		{&tokenauth.Rejection{Code: "locked", Description: "Call us."}, "tokenauth: the user name or password is incorrect: locked: Call us."},
		{&tokenauth.Rejection{Description: "Call us."}, "tokenauth: the user name or password is incorrect: invalid_grant: Call us."},
		{nil, "tokenauth: the user name or password is incorrect"},
	} {
		if !errors.Is(test.r, tokenauth.ErrRejected) || errors.Is(test.r, tokenauth.ErrThrottled) || test.r.Error() != test.want {
			t.Errorf("the text is %s, want %s", test.r.Error(), test.want)
		}
	}
}

// A rejection that counts as no failure has no reason in its event, and is
// logged at info. Any other is logged as a warning. Both records have the code.
func TestRejectionsAreReported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		code   string
		reason event.Reason
		level  string
	}{
		"no code":      {"", "", "INFO"},
		"a wrong code": {"1", event.ReasonCredentials, "WARN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logger, log := logInto()
			var events []tokenauth.Event
			users := new(twoFactors)
			users.then = users.checkCode
			auth := newService(t, new(memory.Store), users, &tokenauth.Options{Logger: logger, Observers: []func(context.Context, tokenauth.Event){
				func(_ context.Context, e tokenauth.Event) { events = append(events, e) },
			}})
			c := tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("right"), Parameters: map[string]tokenauth.Secret{"otp": tokenauth.NewSecret(test.code)}}
			_, err := auth.SignIn(t.Context(), c)
			code := missing.Code
			if test.code != "" {
				code = invalid.Code
			}
			if len(events) != 1 || events[0].Kind != event.SignInRefused || events[0].Reason != test.reason || events[0].Err != err || events[0].Account == "" {
				t.Errorf("the events are %+v, want one with the reason %q", events, test.reason)
			}
			if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "level="+test.level) || !strings.Contains(text, "rejection="+code) {
				t.Errorf("the log is %s, want one record of the level %s with rejection=%s", text, test.level, code)
			}
		})
	}
}

// The log does not repeat an invalid Rejection, which may have what the client
// sent, and limits its records.
func TestInvalidRejectionsAreLoggedUpToALimit(t *testing.T) {
	t.Parallel()
	logger, log := logInto()
	auth := newService(t, new(memory.Store), rejecting(&tokenauth.Rejection{Code: "a\ncanary", Description: "canary"}), &tokenauth.Options{
		Logger: logger, Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	for range 500 {
		auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("right")})
	}
	if n := strings.Count(log.String(), "level="+slog.LevelError.String()); n < 1 || n > 150 {
		t.Errorf("%d records of 500 mistakes, want 1 to 150", n)
	}
	if strings.Contains(log.String(), "canary") {
		t.Errorf("the log has the text of the Rejection:\n%s", log)
	}
}
