package tokenauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A twoFactors is an Authenticator. Each user has the password "right". The
// field then decides what happens after that.
type twoFactors struct {
	byName  bool // counts attempts by user name
	then    func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error)
	recheck error // returned by Recheck

	verified atomic.Int64 // the number of codes that were verified
	verify   func()       // runs when a code was read; may be nil
}

func (u *twoFactors) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if !u.byName {
		if err := c.CountAttempt(ctx, "id of "+strings.ToLower(c.UserName)); err != nil {
			return tokenauth.Principal{}, err
		}
	}
	if c.Password.Reveal() != "right" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	c.PasswordMatched()
	return u.then(ctx, c)
}

func (u *twoFactors) Recheck(context.Context, tokenauth.Principal) error { return u.recheck }

var (
	missing = &tokenauth.Rejection{Code: "mfa_required", Description: "Send a one-time code."}
	invalid = &tokenauth.Rejection{Code: "mfa_invalid", Description: "The one-time code is wrong."}
)

// accept lets the user in.
func accept(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	return tokenauth.Principal{UserID: "id of " + strings.ToLower(c.UserName), UserName: c.UserName}, nil
}

// checkCode accepts the code "123456".
func (u *twoFactors) checkCode(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	code, err := c.Code(ctx, "otp")
	if err != nil {
		return tokenauth.Principal{}, err
	}
	if code.Reveal() == "" {
		return tokenauth.Principal{}, missing
	}
	u.verified.Add(1)
	if u.verify != nil {
		u.verify()
	}
	if code.Reveal() != "123456" {
		return tokenauth.Principal{}, invalid
	}
	return accept(ctx, c)
}

// A codeTest is a Service whose users have a second factor, in a synctest
// bubble.
type codeTest struct {
	*testing.T
	*twoFactors
	auth    *tokenauth.Service
	guesses *atomic.Int64
}

func newCodeTest(t *testing.T, s tokenauth.Storage, o *tokenauth.Options) *codeTest {
	t.Helper()
	var options tokenauth.Options
	if o != nil {
		options = *o
	}
	options.Parameters = []string{"otp", "recovery"}
	users := new(twoFactors)
	users.then = users.checkCode
	return &codeTest{t, users, newService(t, s, users, &options), new(atomic.Int64)}
}

// newCodeReplicas returns the tests of several Services that count together, if
// there are more than one.
func newCodeReplicas(t *testing.T, n int) (replicas []*codeTest) {
	t.Helper()
	storage := new(sharedCounters)
	for range n {
		var o tokenauth.Options
		if n > 1 {
			o.Throttle.Key = tokenauth.NewSecret(strings.Repeat("k", 32))
		}
		replicas = append(replicas, newCodeTest(t, storage, &o))
	}
	return replicas
}

// post sends a token request. Each request with the password "wrong" has
// another wrong password, because a repetition would not count.
func (d *codeTest) post(from, userName, password string, further ...string) *httptest.ResponseRecorder {
	if password == "wrong" {
		password = fmt.Sprint("wrong", d.guesses.Add(1))
	}
	form := url.Values{"grant_type": {"password"}, "username": {userName}, "password": {password}}
	for i := 0; i < len(further); i += 2 {
		form.Set(further[i], further[i+1])
	}
	r := httptest.NewRequestWithContext(d.Context(), "POST", "/Token", strings.NewReader(form.Encode()))
	r.RemoteAddr = from + ":1234"
	w := httptest.NewRecorder()
	d.auth.TokenHandler().ServeHTTP(w, r)
	return w
}

// try signs in and returns "in", "wait" with the seconds to wait, or the error
// code.
func (d *codeTest) try(from, userName, password string, further ...string) string {
	w := d.post(from, userName, password, further...)
	switch w.Code {
	case http.StatusOK:
		return "in"
	case http.StatusTooManyRequests:
		return "wait " + w.Header().Get("Retry-After")
	}
	var answer struct{ Error string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		d.Errorf("the response %s: %v", w.Body, err)
	}
	return answer.Error
}

// code signs in as alice with a code.
func (d *codeTest) code(from, code string) string { return d.try(from, "alice", "right", "otp", code) }

func (d *codeTest) expectCode(from, code, want string) {
	d.Helper()
	if got := d.code(from, code); got != want {
		d.Errorf("sign-in with the code %s: %s, want %s", code, got, want)
	}
}

// For a wrong password the response is the same, byte for byte, whatever the
// code, whether or not the account's codes are throttled, and whatever the
// Authenticator returns.
func TestWrongPasswordGetsTheSameResponseWithAnyCode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newCodeTest(t, new(memory.Store), nil)
		from := 0
		dump := func(userName, password string, further ...string) string {
			from++
			w := d.post(fmt.Sprintf("203.0.113.%d", from), userName, password, further...)
			return fmt.Sprint(w.Code, w.Header(), w.Body)
		}
		want := dump("nobody", "wrong")
		check := func(when string) {
			t.Helper()
			for name, got := range map[string]string{
				"no code":         dump("alice", "wrong"),
				"an empty code":   dump("alice", "wrong", "otp", ""),
				"a wrong code":    dump("alice", "wrong", "otp", "111111"),
				"the right code":  dump("alice", "wrong", "otp", "123456"),
				"another factor":  dump("alice", "wrong", "recovery", "x"),
				"an unknown user": dump("nobody", "wrong", "otp", "123456"),
			} {
				if got != want {
					t.Errorf("%s, %s: the response is %s, want %s", when, name, got, want)
				}
			}
		}
		if !strings.HasPrefix(want, "400 ") || !strings.Contains(want, "The user name or password is incorrect.") {
			t.Fatalf("the response is %s", want)
		}
		check("at first")
		for range 5 {
			d.expectCode(here, "111111", "mfa_invalid")
		}
		d.expectCode(here, "123456", "wait 1")
		check("while codes are throttled")
		d.then = func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
			return tokenauth.Principal{}, &tokenauth.Rejection{Code: "bad code", Description: "not ASCII: ö"}
		}
		if got := dump("alice", "right"); got != want {
			t.Errorf("a Rejection that cannot be sent: the response is %s, want %s", got, want)
		}
	})
	t.Run("early rejection", func(t *testing.T) {
		t.Parallel()
		users := authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			if c.Parameters["otp"].Reveal() == "" {
				return tokenauth.Principal{}, fmt.Errorf("rejected: %w", missing)
			}
			return tokenauth.Principal{}, tokenauth.ErrRejected
		})
		d := &codeTest{T: t, auth: newService(t, new(memory.Store), users, &tokenauth.Options{Parameters: []string{"otp"}}), guesses: new(atomic.Int64)}
		without, with := d.post(here, "alice", "wrong"), d.post(there, "alice", "wrong", "otp", "1")
		if a, b := fmt.Sprint(without.Code, without.Header(), without.Body), fmt.Sprint(with.Code, with.Header(), with.Body); a != b {
			t.Errorf("the responses differ: %s and %s", a, b)
		}
	})
}

// After the right password, each outcome counts as a wrong code, as a failed
// sign-in or as nothing. The number of tries that are left shows which.
func TestOutcomesAfterTheRightPassword(t *testing.T) {
	t.Parallel()
	type step = func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error)
	reject := func(err error) step {
		return func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) {
			return tokenauth.Principal{}, err
		}
	}
	afterCode := func(then step) step {
		return func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			if _, err := c.Code(ctx, "otp"); err != nil {
				return tokenauth.Principal{}, err
			}
			return then(ctx, c)
		}
	}
	const otp = "otp"
	for name, test := range map[string]struct {
		then     step
		recheck  error
		password string // "" means the right one
		further  []string
		want     string
		// passwords and codes are how many wrong ones are free afterwards. One of
		// each was wrong before, and three requests are sent.
		passwords, codes int
		known            bool // the source becomes known
	}{
		"a wrong code":                            {then: afterCode(reject(tokenauth.ErrRejected)), further: []string{otp, "1"}, want: "invalid_grant", passwords: 4, codes: 1},
		"a wrong code, with a reason":             {then: afterCode(reject(invalid)), further: []string{otp, "1"}, want: "mfa_invalid", passwords: 4, codes: 1},
		"a wrong code, with a wrapped reason":     {then: afterCode(reject(fmt.Errorf("of the host: %w", invalid))), further: []string{otp, "1"}, want: "mfa_invalid", passwords: 4, codes: 1},
		"no code":                                 {then: afterCode(reject(tokenauth.ErrRejected)), want: "invalid_grant", passwords: 4, codes: 4},
		"no code, with a reason":                  {then: afterCode(reject(missing)), want: "mfa_required", passwords: 4, codes: 4},
		"no code but another parameter":           {then: afterCode(reject(missing)), further: []string{"recovery", "x"}, want: "mfa_required", passwords: 4, codes: 4},
		"an empty code":                           {then: afterCode(reject(missing)), further: []string{otp, ""}, want: "mfa_required", passwords: 4, codes: 4},
		"a reason without parameters":             {then: reject(missing), want: "mfa_required", passwords: 4, codes: 4},
		"a reason of no parameter":                {then: reject(missing), further: []string{"unknown", "x"}, want: "mfa_required", passwords: 4, codes: 4},
		"a reason that cannot be sent":            {then: reject(new(tokenauth.Rejection)), want: "invalid_grant", passwords: 4, codes: 4},
		"a reason with parameters":                {then: reject(missing), further: []string{otp, "1"}, want: "mfa_required", passwords: 1, codes: 4},
		"no reason":                               {then: reject(tokenauth.ErrRejected), want: "invalid_grant", passwords: 1, codes: 4},
		"no reason, with parameters":              {then: reject(tokenauth.ErrRejected), further: []string{otp, "1"}, want: "invalid_grant", passwords: 1, codes: 4},
		"a wrong password":                        {then: afterCode(accept), password: "wrong", further: []string{otp, "1"}, want: "invalid_grant", passwords: 1, codes: 4},
		"a code that could not be verified":       {then: afterCode(reject(errors.New("no connection"))), further: []string{otp, "1"}, want: "temporarily_unavailable", passwords: 4, codes: 4},
		"a panic":                                 {then: afterCode(func(context.Context, tokenauth.Credentials) (tokenauth.Principal, error) { panic("a bug") }), further: []string{otp, "1"}, want: "server_error", passwords: 4, codes: 4},
		"a right code":                            {then: afterCode(accept), further: []string{otp, "1"}, want: "in", passwords: 5, codes: 5, known: true},
		"no code needed":                          {then: accept, want: "in", passwords: 5, codes: 4, known: true},
		"a right code of a user who was disabled": {then: afterCode(accept), recheck: tokenauth.ErrRejected, further: []string{otp, "1"}, want: "invalid_grant", passwords: 1, codes: 4},
	} {
		for _, replicas := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s/%d replicas", name, replicas), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					ds := newCodeReplicas(t, replicas)
					d := ds[0]
					for _, d := range ds { // from now on attempts count by account
						d.try(there, "somebody", "wrong")
					}
					d.try(here, "alice", "wrong")
					d.expectCode(here, "1", "mfa_invalid")

					password := "right"
					if test.password != "" {
						password = test.password
					}
					for i := range 3 {
						d := ds[i%replicas]
						d.then, d.recheck = test.then, test.recheck
						if got := d.try(here, "alice", password, test.further...); got != test.want {
							t.Errorf("the response is %s, want %s", got, test.want)
						}
						d.then, d.recheck = d.checkCode, nil
					}

					last := ds[replicas-1]
					free := func(try func() string, failed string) (n int) {
						for {
							got := try()
							if strings.HasPrefix(got, "wait ") {
								return n
							}
							if n++; got != failed || n > 20 {
								t.Fatalf("the %dth failure: %s, want %s", n, got, failed)
							}
						}
					}
					if n := free(func() string { return last.code(there, "1") }, "mfa_invalid"); n != test.codes {
						t.Errorf("%d wrong codes are free, want %d", n, test.codes)
					}
					if n := free(func() string { return last.try(here, "alice", "wrong") }, "invalid_grant"); n != test.passwords {
						t.Errorf("%d wrong passwords are free, want %d", n, test.passwords)
					}
					time.Sleep(time.Hour)
					for i := range 30 {
						from := fmt.Sprintf("203.0.113.%d", i)
						for strings.HasPrefix(last.try(from, "alice", "wrong"), "wait ") {
							time.Sleep(time.Minute)
						}
					}
					if known := last.code(here, "123456") == "in"; known != test.known {
						t.Errorf("the source is known: %v, want %v", known, test.known)
					}
				})
			})
		}
	}
}

// Each code of a request counts, but not a second read of the same parameter.
func TestEachCodeOfARequestCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := newCodeTest(t, new(memory.Store), nil)
		d.then = func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			for _, parameter := range []string{"otp", "recovery", "otp"} {
				if _, err := c.Code(ctx, parameter); err != nil {
					return tokenauth.Principal{}, err
				}
			}
			return tokenauth.Principal{}, invalid
		}
		for range 3 { // the codes of one request do not block each other
			if got := d.try(here, "alice", "right", "otp", "1", "recovery", "2"); got != "mfa_invalid" {
				t.Errorf("two wrong codes: %s", got)
			}
		}
		d.then = d.checkCode
		d.expectCode(here, "123456", "wait 2") // after six wrong codes
		time.Sleep(2 * time.Second)
		d.expectCode(here, "123456", "in")
		for range 5 {
			d.expectCode(here, "1", "mfa_invalid")
		}
	})
}

// A code that is read before the password was right is not counted, and is not
// returned. The sign-in fails, so that the mistake is found.
func TestCodeBeforeTheRightPasswordIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		storage := new(sharedCounters)
		var late tokenauth.Credentials
		users := authenticatorFunc(func(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
			code, err := c.Code(ctx, "otp")
			if code.Reveal() != "" || err == nil || errors.Is(err, tokenauth.ErrRejected) || errors.Is(err, tokenauth.ErrThrottled) {
				t.Errorf("Code returned %q, error %v", code.Reveal(), err)
			}
			c.PasswordMatched()
			late = c
			return tokenauth.Principal{}, err
		})
		logger, log := logInto()
		o := tokenauth.Options{Logger: logger, Parameters: []string{"otp"}, Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 32))}}
		d := &codeTest{T: t, auth: newService(t, storage, users, &o), guesses: new(atomic.Int64)}
		for range 7 {
			if got := d.try(here, "alice", "wrong", "otp", "123456"); got != "temporarily_unavailable" {
				t.Errorf("the response is %s, want 503", got)
			}
		}
		if code, err := late.Code(t.Context(), "otp"); err == nil || code.Reveal() != "" {
			t.Errorf("after Authenticate, Code returned %q, error %v", code.Reveal(), err)
		}
		if !strings.Contains(log.String(), "Credentials.Code was called before the password was right") {
			t.Errorf("the log does not name the mistake:\n%s", log)
		}
		if n := storage.countersOfCodes(); n != 0 {
			t.Errorf("%d counters of codes, want none", n)
		}
	})
}

// countersOfCodes returns the number of counters of one-time codes.
func (s *sharedCounters) countersOfCodes() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, c := range s.counters {
		if key[0] >= 4 && c.Failures != 0 {
			n++
		}
	}
	return n
}

// Outside of a sign-in, as in a unit test of an Authenticator, Code returns the
// parameter, and PasswordMatched does nothing.
func TestCodeOutsideOfASignIn(t *testing.T) {
	t.Parallel()
	c := tokenauth.Credentials{Parameters: map[string]tokenauth.Secret{"otp": tokenauth.NewSecret("123456")}}
	c.PasswordMatched()
	for parameter, want := range map[string]string{"otp": "123456", "recovery": ""} {
		if code, err := c.Code(t.Context(), parameter); err != nil || code.Reveal() != want {
			t.Errorf("Code of %s returned %q, error %v; want %q", parameter, code.Reveal(), err, want)
		}
	}
}
