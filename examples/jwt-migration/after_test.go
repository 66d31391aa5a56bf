package jwtmigration_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	_ "github.com/ncruces/go-sqlite3/driver"
)

// goOver logs alice and bob in at the service before the move. It returns the
// service after the move, and their sessions with JWTs.
func goOver(t *testing.T) (after *server, alice, bob session) {
	t.Helper()
	data, alice, bob := leave(t)
	return start(t, "after", data), alice, bob
}

// leave logs alice and bob in at the service before the move, stops it, and
// returns its data folder.
func leave(t *testing.T) (data string, alice, bob session) {
	t.Helper()
	before := start(t, "before", t.TempDir())
	alice, bob = before.login(t, "alice"), before.login(t, "bob")
	if out, err := before.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err, out)
	}
	return before.data, alice, bob
}

// After the move, JWTs that were issued before it are still accepted.
func TestJWTsStayValid(t *testing.T) {
	t.Parallel()
	s, alice, bob := goOver(t)
	s.expect(t, bob.Token, "GET", "/api/me", "", 200, `{"id":"`+bob.User.ID+`","name":"bob","role":"reader"}`)
	s.expect(t, bob.Token, "DELETE", "/api/reports/spring", "", 403, forbidden)
	s.expect(t, alice.Token, "DELETE", "/api/reports/spring", "", 204, "")

	// A new sign-in does not end a JWT.
	token := s.signIn(t, "bob")
	s.expect(t, token, "GET", "/api/me", "", 200, "")
	s.expect(t, bob.Token, "GET", "/api/me", "", 200, "")
}

// The old routes issue new tokens, in responses of the old form.
func TestOldRoutesIssueNewTokens(t *testing.T) {
	t.Parallel()
	s, _, bob := goOver(t)
	login := s.login(t, "bob")
	refreshed := s.expect(t, bob.Token, "POST", "/api/refresh", "", 200, "").session(t)
	for _, got := range []session{login, refreshed} {
		if !strings.HasPrefix(got.Token, "tat_") || got.User != bob.User {
			t.Errorf("got session %+v, want a new token for %+v", got, bob.User)
		}
	}
	// A user has one valid token, the latest.
	s.expect(t, login.Token, "GET", "/api/me", "", 401, unauthorized)
	s.expect(t, s.signIn(t, "bob"), "GET", "/api/me", "", 200, "")
	s.expect(t, refreshed.Token, "GET", "/api/me", "", 401, unauthorized)
	s.expect(t, refreshed.Token, "POST", "/api/refresh", "", 401, unauthorized)
}

// A refresh extends a token of the Token API. Requests that are in progress, such as
// other refreshes, are not affected.
func TestRefreshKeepsTheToken(t *testing.T) {
	t.Parallel()
	s, _, _ := goOver(t)
	login := s.login(t, "bob")
	s.change(t, "UPDATE tokenauth_tokens SET issued_at = issued_at - 3600, expires_at = expires_at - 3600") // as if an hour passed
	var requests sync.WaitGroup
	for range 12 {
		requests.Go(func() {
			s.expect(t, login.Token, "GET", "/api/me", "", 200, "")
			again := s.expect(t, login.Token, "POST", "/api/refresh", "", 200, "").session(t)
			if again.Token != login.Token || again.User != login.User || again.Expires.Before(login.Expires) {
				t.Errorf("got session %+v after a refresh, want that of the login, %+v, or a later expiry", again, login)
			}
		})
	}
	requests.Wait()
	s.expect(t, login.Token, "GET", "/api/me", "", 200, "")
}

// A user who was disabled, deleted or moved to another role is rejected, also
// with a JWT.
func TestDisabledUsersAreRefused(t *testing.T) {
	t.Parallel()
	s, alice, bob := goOver(t)
	disabled := "/api/users/" + bob.User.ID + "/disabled"
	token := s.signIn(t, "bob")
	s.expect(t, alice.Token, "PUT", disabled, "true", 204, "")
	s.expect(t, bob.Token, "GET", "/api/me", "", 401, unauthorized)
	s.expect(t, bob.Token, "POST", "/api/refresh", "", 401, unauthorized)
	s.expect(t, token, "GET", "/api/me", "", 401, unauthorized)
	s.expect(t, alice.Token, "PUT", disabled, "false", 204, "")
	s.expect(t, bob.Token, "GET", "/api/me", "", 200, "")
	s.expect(t, token, "GET", "/api/me", "", 401, unauthorized)

	for name, changes := range map[string]jwt.MapClaims{"deleted user": {"sub": "nobody"}, "another role": {"role": "admin"}} {
		t.Run(name, func(t *testing.T) {
			s.expect(t, sign(t, jwt.SigningMethodHS256, s.key(t), claimsOf(bob, changes)), "GET", "/api/me", "", 401, unauthorized)
		})
	}
}

// A user without a role can call routes that need no role, with a token and with
// a JWT.
func TestUserWithoutRole(t *testing.T) {
	t.Parallel()
	s, _, bob := goOver(t)
	s.change(t, "UPDATE users SET role = '' WHERE name = 'bob'")
	jwt := sign(t, jwt.SigningMethodHS256, s.key(t), claimsOf(bob, jwt.MapClaims{"role": ""}))
	for _, token := range []string{jwt, s.signIn(t, "bob")} {
		s.expect(t, token, "GET", "/api/me", "", 200, `{"id":"`+bob.User.ID+`","name":"bob","role":""}`)
		s.expect(t, token, "DELETE", "/api/reports/spring", "", 403, forbidden)
	}
	s.expect(t, bob.Token, "GET", "/api/me", "", 401, unauthorized) // this JWT has the role reader
}

// change executes a statement on the database of the running service.
func (s *server) change(t *testing.T, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(s.data, "reports.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// /api/old-tokens counts requests with a JWT, and no others.
func TestOldTokensCountsJWTs(t *testing.T) {
	t.Parallel()
	s, _, bob := goOver(t)
	alice := s.signIn(t, "alice")
	s.expect(t, alice, "GET", "/api/old-tokens", "", 200, "{}")
	s.expect(t, bob.Token, "GET", "/api/old-tokens", "", 403, forbidden)
	s.expect(t, bob.Token, "GET", "/api/me", "", 200, "")
	s.expect(t, s.signIn(t, "bob"), "GET", "/api/me", "", 200, "")
	s.expect(t, "eyJ.rubbish.x", "GET", "/api/me", "", 401, unauthorized)
	var users map[string]struct {
		Requests int
		Last     time.Time
	}
	a := s.expect(t, alice, "GET", "/api/old-tokens", "", 200, "")
	if err := json.Unmarshal([]byte(a.body), &users); err != nil {
		t.Fatal(err)
	}
	if len(users) != 1 || users["bob"].Requests != 2 || time.Since(users["bob"].Last) > time.Minute {
		t.Errorf("old tokens are %s, want 2 requests of bob", a.body)
	}
}

// From the time of -fallback-until on, JWTs are rejected and tokens are not.
func TestJWTsEndAtFallbackUntil(t *testing.T) {
	t.Parallel()
	data, _, bob := leave(t)
	end := time.Now().Add(8 * time.Second).Truncate(time.Second)
	s := start(t, "after", data, "-fallback-until", end.UTC().Format(time.RFC3339))
	s.expectValidUntil(t, bob.Token, end)
	s.expect(t, s.signIn(t, "bob"), "GET", "/api/me", "", 200, "")
	if out, _ := s.Stop(syscall.SIGTERM); strings.Contains(out, "without an end date") {
		t.Errorf("logged a warning about a missing end date, though it has one: %s", out)
	}
}

// A database error is a 503. A JWT is still accepted while only the tokens cannot
// be read.
func TestDatabaseErrorsAre503(t *testing.T) {
	t.Parallel()
	s, alice, bob := goOver(t)
	token := s.signIn(t, "bob")
	rename := func(from, to string) { s.change(t, "ALTER TABLE "+from+" RENAME TO "+to) }
	rename("tokenauth_tokens", "away")
	if a := s.expect(t, token, "GET", "/api/me", "", 503, later); a.Header.Get("Retry-After") == "" {
		t.Error("got a 503 without Retry-After")
	}
	s.expect(t, "", "POST", "/login", `{"username":"bob","password":"`+trialPassword+`"}`, 503, later)
	s.expect(t, bob.Token, "POST", "/api/refresh", "", 503, later)
	s.expect(t, bob.Token, "GET", "/api/me", "", 200, "")
	s.expect(t, alice.Token, "PUT", "/api/users/"+bob.User.ID+"/disabled", "true", 503, later)
	s.expect(t, alice.Token, "PUT", "/api/users/"+bob.User.ID+"/disabled", "false", 503, later)
	rename("away", "tokenauth_tokens")
	s.expect(t, token, "GET", "/api/me", "", 200, "")

	rename("users", "away")
	s.expect(t, token, "GET", "/api/me", "", 503, later)
	s.expect(t, bob.Token, "GET", "/api/me", "", 503, later)
	s.expect(t, "", "GET", "/api/me", "", 401, unauthorized)
	rename("away", "users")
	s.expect(t, bob.Token, "GET", "/api/me", "", 200, "")
}

// Guesses at the old login route are throttled, as those at /Token are.
func TestGuessingIsThrottled(t *testing.T) {
	t.Parallel()
	s, _, bob := goOver(t)
	for i := range 7 {
		a := s.call(t, "", "POST", "/login", "application/json", fmt.Sprintf(`{"username":"bob","password":"guess %d"}`, i))
		if a.StatusCode == 429 {
			if a.body != `{"error":"too many failed logins"}` || a.Header.Get("Retry-After") == "" {
				t.Errorf("got a 429 with %s and Retry-After %q, want the old form and a time", a.body, a.Header.Get("Retry-After"))
			}
			s.expect(t, bob.Token, "GET", "/api/me", "", 200, "")
			return
		}
	}
	t.Error("seven guesses were not throttled")
}
