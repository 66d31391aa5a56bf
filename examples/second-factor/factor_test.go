package main

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/hotp"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A factor is turned on, used and removed, at whichever replica.
func TestFactor(t *testing.T) {
	onEach(t, func(t *testing.T, d *deployment) {
		token := d.signIn(t, 0, alice, trialPassword, "").member(t, "access_token")

		// A stolen token is not enough to change the factor.
		for _, path := range []string{"", "/confirm", "/remove"} {
			d.factor(t, 1, token, path, "guess of "+path, "").expect(t, "POST /api/factor"+path+" with a wrong password", 400, wrongPassword)
		}
		first := d.factor(t, 0, token, "", trialPassword, "").member(t, "secret")
		begun := d.factor(t, 1, token, "", trialPassword, "")
		secret := begun.member(t, "secret")
		if secret == first || len(secret) < 32 || begun.header.Get("Cache-Control") != "no-store" {
			t.Errorf("beginning again: got %d %v %s, want another secret, not to be cached", begun.status, begun.header, begun.body)
		}
		d.signIn(t, 1, alice, trialPassword, "").expect(t, "a sign-in before the factor is confirmed", 200, `"access_token":"tat_`)
		token = d.signIn(t, 0, alice, trialPassword, "").member(t, "access_token")
		d.factor(t, 0, token, "/confirm", trialPassword, d.code(t, first, 0)).expect(t, "a code of the first secret", 400, wrongCode)
		d.factor(t, 0, token, "/confirm", trialPassword, "").expect(t, "no code", 400, wrongCode)
		d.factor(t, 1, token, "/confirm", trialPassword, d.code(t, secret, 0)).expect(t, "the right code", 204, "")

		for i := range d.replicas {
			d.signIn(t, i, alice, trialPassword, "").expect(t, "a sign-in without a code", 400, codeRequired)
			d.signIn(t, i, alice, trialPassword, d.code(t, secret, 0)).expect(t, "the code that confirmed the factor", 400, wrongCode)
			d.factor(t, i, token, "", trialPassword, "").expect(t, "a new secret without a code", 400, codeRequired)
		}
		d.advance()
		d.signIn(t, 1, alice, trialPassword, d.code(t, secret, 0)).expect(t, "the next code", 200, `"access_token":"tat_`)
		d.advance()
		token = d.signIn(t, 0, alice, trialPassword, d.code(t, secret, 0)).member(t, "access_token")

		// A new secret replaces none that is in use.
		d.advance()
		d.factor(t, 0, token, "", trialPassword, d.code(t, secret, 0)).expect(t, "a second factor beside the first", 409, `"error":"factor_on"`)
		d.factor(t, 0, token, "/remove", trialPassword, "").expect(t, "removing without a code", 400, codeRequired)
		d.factor(t, 0, token, "/remove", trialPassword, d.code(t, secret, 0)).expect(t, "removing with a code used before", 400, wrongCode)
		d.advance()
		d.factor(t, 0, token, "/remove", trialPassword, d.code(t, secret, 0)).expect(t, "removing with a code", 204, "")
		d.signIn(t, 1, alice, trialPassword, "").expect(t, "a sign-in after the factor was removed", 200, `"access_token":"tat_`)
	})
}

// A client learns the reason only with the right password. A wrong password uses
// up no code.
func TestReasonsNeedTheRightPassword(t *testing.T) {
	t.Parallel()
	d := deploy(t, onSQLite(t))
	d.signIn(t, 0, bob, trialPassword, "").expect(t, "an address that is not confirmed", 400, notConfirmed)
	_, secret := d.enroll(t)
	d.advance()
	unknown := d.signIn(t, 0, "nobody@example.com", trialPassword, "")
	unknown.expect(t, "an unknown user", 400, wrongPassword)
	for i, wrong := range []answer{
		d.signIn(t, 0, bob, "guess", ""),
		d.signIn(t, 0, alice, "guess", ""),
		d.signIn(t, 0, alice, "guess", d.code(t, secret, 0)),
		d.signIn(t, 0, alice, "guess", d.wrong(t, secret, 1)[0]),
	} {
		if wrong.status != unknown.status || wrong.body != unknown.body {
			t.Errorf("wrong password %d: got %d %s, want the response to an unknown user", i, wrong.status, wrong.body)
		}
	}
	d.signIn(t, 0, alice, trialPassword, d.code(t, secret, 0)).expect(t, "the same code with the right password", 200, `"access_token":"tat_`)
}

// Of concurrent sign-ins with one code, at both replicas, exactly one succeeds.
func TestCodeWorksOnce(t *testing.T) {
	onEach(t, func(t *testing.T, d *deployment) {
		_, secret := d.enroll(t)
		for round := range 2 {
			d.advance()
			code := d.code(t, secret, 0)
			start, answers := make(chan struct{}), make([]answer, 4)
			var wg sync.WaitGroup
			for i := range answers {
				wg.Go(func() {
					<-start
					answers[i] = d.signIn(t, i%2, alice, trialPassword, code)
				})
			}
			close(start)
			wg.Wait()
			succeeded := 0
			for _, a := range answers {
				if a.status == http.StatusOK {
					succeeded++
				} else {
					a.expect(t, fmt.Sprint("round ", round), 400, wrongCode)
				}
			}
			if succeeded != 1 {
				t.Errorf("round %d: %d sign-ins succeeded with one code, want 1", round, succeeded)
			}
		}
	})
}

// The same without passwords in between, so that the statements meet more often.
func TestConcurrentUsesOfACode(t *testing.T) {
	onEach(t, func(t *testing.T, d *deployment) {
		_, secret := d.enroll(t)
		account, err := d.services[0].account(t.Context(), alice)
		if err != nil {
			t.Fatal(err)
		}
		for round := range 10 {
			d.advance()
			code := d.code(t, secret, 0)
			start := make(chan struct{})
			var succeeded atomic.Int32
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					<-start
					used, err := d.services[i%2].useCode(t.Context(), account.Row.(User), code)
					if err != nil {
						t.Error(err)
					}
					if used {
						succeeded.Add(1)
					}
				})
			}
			close(start)
			wg.Wait()
			if n := succeeded.Load(); n != 1 {
				t.Errorf("round %d: a code was used %d times, want once", round, n)
			}
		}
	})
}

// The clock of the app may be wrong by one time step, and not by two.
func TestClockOfTheApp(t *testing.T) {
	t.Parallel()
	d := deploy(t, onSQLite(t))
	_, secret := d.enroll(t)
	d.seconds.Add(3 * period)
	for _, ahead := range []int{-2, 2} {
		d.signIn(t, 0, alice, trialPassword, d.code(t, secret, ahead)).expect(t, fmt.Sprint("an app that is ", ahead, " time steps ahead"), 400, wrongCode)
	}
	for _, ahead := range []int{-1, 0, 1} {
		d.signIn(t, 0, alice, trialPassword, d.code(t, secret, ahead)).expect(t, fmt.Sprint("an app that is ", ahead, " time steps ahead"), 200, `"access_token":"tat_`)
	}
	for _, ahead := range []int{-1, 0, 1} {
		d.signIn(t, 0, alice, trialPassword, d.code(t, secret, ahead)).expect(t, "a code of an earlier time step", 400, wrongCode)
	}
}

// After five wrong codes, the right one must wait, too. It then ends the wait.
// Requests without a code do not count.
func TestCodesAreThrottled(t *testing.T) {
	t.Parallel()
	d := deploy(t, onSQLite(t))
	token, secret := d.enroll(t)
	d.advance()
	for range 7 {
		d.signIn(t, 0, alice, trialPassword, "").expect(t, "without a code", 400, codeRequired)
	}
	right := d.code(t, secret, 0)

	// On a slow machine, the first waits end before the next request.
	const free = 5
	var wait time.Duration
	var throttled time.Time
	for i, code := range d.wrong(t, secret, 2*free) {
		throttled = time.Now()
		a := d.factor(t, 0, token, "/remove", trialPassword, code)
		if i >= free && a.status == http.StatusTooManyRequests {
			wait = a.wait(t)
			break
		}
		a.expect(t, fmt.Sprint("wrong code ", i), 400, wrongCode)
	}
	if wait == 0 {
		t.Fatalf("%d wrong codes were not throttled", 2*free)
	}
	a := d.signIn(t, 0, alice, trialPassword, right)
	if a.status != http.StatusTooManyRequests && time.Since(throttled) < wait {
		t.Errorf("the right code before the end of the wait: got %d %s, want 429", a.status, a.body)
	}
	d.signIn(t, 0, alice, trialPassword, "").expect(t, "without a code, while throttled", 400, codeRequired)

	d.advance()
	right = d.code(t, secret, 0)
	for began := time.Now(); time.Since(began) < time.Minute; {
		if a = d.signIn(t, 0, alice, trialPassword, right); a.status != http.StatusTooManyRequests {
			break
		}
		a.wait(t)
	}
	a.expect(t, "the right code after the wait", 200, `"access_token":"tat_`)
	for i, code := range d.wrong(t, secret, free) {
		d.signIn(t, 0, alice, trialPassword, code).expect(t, fmt.Sprint("wrong code ", i, " after a right one"), 400, wrongCode)
	}
}

// wait returns the time that the response asks the client to wait.
func (a answer) wait(t *testing.T) time.Duration {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 || seconds > 15*60 {
		t.Errorf("got Retry-After %q, want a number of seconds", a.header.Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

// Guesses of the password at the factor's routes count as those at /Token.
func TestPasswordsAreThrottledAtEveryRoute(t *testing.T) {
	t.Parallel()
	d := deploy(t, onSQLite(t))
	token := d.signIn(t, 0, alice, trialPassword, "").member(t, "access_token")
	for i := range 5 {
		d.factor(t, 0, token, "/remove", fmt.Sprint("guess ", i), "").expect(t, "a wrong password", 400, wrongPassword)
	}
	for what, a := range map[string]answer{
		"the route":       d.factor(t, 0, token, "/remove", trialPassword, ""),
		"the token route": d.signIn(t, 0, alice, trialPassword, ""),
	} {
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
			t.Errorf("%s after five wrong passwords: got %d %s, want 429 with Retry-After", what, a.status, a.body)
		}
	}
}

// A code of the empty secret, which every stranger can compute, confirms nothing.
func TestConfirmationNeedsASecret(t *testing.T) {
	t.Parallel()
	d := deploy(t, onSQLite(t))
	token := d.signIn(t, 0, alice, trialPassword, "").member(t, "access_token")
	code, err := hotp.GenerateCode("", uint64(d.seconds.Load()/period))
	if err != nil {
		t.Fatal(err)
	}
	d.factor(t, 0, token, "/confirm", trialPassword, code).expect(t, "without a secret", 400, wrongCode)
	d.signIn(t, 0, alice, trialPassword, "").expect(t, "a sign-in afterwards", 200, `"access_token":"tat_`)
}

// A removal that needed no code does not remove a factor that is turned on
// meanwhile.
func TestRemovalKeepsAFactorTurnedOnMeanwhile(t *testing.T) {
	t.Parallel()
	d := deploy(t, onSQLite(t))
	token := d.signIn(t, 0, alice, trialPassword, "").member(t, "access_token")
	secret := d.factor(t, 0, token, "", trialPassword, "").member(t, "secret")
	meanwhile := sync.OnceFunc(func() {
		d.factor(t, 1, token, "/confirm", trialPassword, d.code(t, secret, 0)).expect(t, "confirming meanwhile", 204, "")
	})
	err := d.services[0].db.Callback().Update().Before("gorm:begin_transaction").Register("meanwhile", func(*gorm.DB) { meanwhile() })
	if err != nil {
		t.Fatal(err)
	}
	d.factor(t, 0, token, "/remove", trialPassword, "").expect(t, "removing without a code", 409, `"error":"factor_on"`)
	d.signIn(t, 0, alice, trialPassword, "").expect(t, "a sign-in without a code", 400, codeRequired)
}

// A sign-in that began without a code is rejected if the factor is turned on
// meanwhile.
func TestFactorEndsSignInsInProgress(t *testing.T) {
	t.Parallel()
	d := deploy(t, onSQLite(t))
	s := d.services[0]
	account, err := s.account(t.Context(), alice)
	if err != nil {
		t.Fatal(err)
	}
	before := account.Principal()
	issue := func() error {
		_, err := s.auth.Issue(t.Context(), before, &tokenauth.IssueOptions{Recheck: true})
		return err
	}
	if err := issue(); err != nil {
		t.Errorf("before the factor is on: got error %v", err)
	}
	d.enroll(t)
	if err := issue(); err == nil {
		t.Error("a principal from before the factor was on got a token")
	}
}
