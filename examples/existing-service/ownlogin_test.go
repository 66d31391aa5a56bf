package existingservice_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startOwnLogin starts the service with its own login handler on a new database.
func startOwnLogin(t *testing.T) (p *server, database string) {
	t.Helper()
	database = filepath.Join(t.TempDir(), "ownlogin.db")
	return start(t, "ownlogin", database), database
}

func user(email, password string) string {
	return fmt.Sprintf(`{"user":{"email":%q,"password":%q}}`, email, password)
}

func refused(message string) string { return fmt.Sprintf(`{"code":7,"msg":%q}`, message) }

// ownLogin signs in at the service's own login handler.
func (p *server) ownLogin(t *testing.T, email, password string) *browser {
	t.Helper()
	b := p.browser()
	a := b.expect(t, "POST", "/api/users/login", user(email, password), 200, "")
	var in struct {
		Code int
		Data struct{ Token string }
	}
	a.decode(t, &in)
	if in.Code != 0 || !strings.HasPrefix(in.Data.Token, "tat_") {
		t.Fatalf("login of %s: got %s, want a token", email, a.body)
	}
	b.bearer = in.Data.Token
	return b
}

func TestOwnLogin(t *testing.T) {
	t.Parallel()
	p, _ := startOwnLogin(t)
	a := p.browser().expect(t, "POST", "/api/users/login", user("BOB@example.com", trialPassword), 200, "")
	var in struct {
		Code int
		Data struct {
			ID           json.Number
			Email, Token string
			Expires      time.Time
		}
	}
	a.decode(t, &in)
	if in.Code != 0 || in.Data.ID != "2" || in.Data.Email != "bob@example.com" || !in.Data.Expires.After(time.Now()) {
		t.Errorf("got %s, want the user 2", a.body)
	}
	if got := a.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", got)
	}
	bob := p.browser()
	bob.bearer = in.Data.Token
	bob.expect(t, "GET", "/api/user", "", 200, `{"code":0,"data":{"id":2,"email":"bob@example.com","admin":false}}`)

	alice := p.ownLogin(t, "alice@example.com", trialPassword)
	alice.expect(t, "DELETE", "/api/users/bob/tokens", "", 200, refused("There is no such user."))
	bob.expect(t, "GET", "/api/user", "", 200, "")
	alice.expect(t, "DELETE", "/api/users/2/tokens", "", 200, `{"code":0}`)
	bob.expect(t, "GET", "/api/user", "", 200, refused("Please sign in."))
	alice.expect(t, "POST", "/api/users/logout", "", 200, `{"code":0}`)
	alice.expect(t, "GET", "/api/user", "", 200, refused("Please sign in."))
}

// Errors are in the service's envelope with the status 200, which has no headers
// that ask for a password.
func TestOwnLoginErrors(t *testing.T) {
	t.Parallel()
	p, _ := startOwnLogin(t)
	bob := p.ownLogin(t, "bob@example.com", trialPassword)
	const malformed = "The request needs a user with an email and a password."
	for _, test := range []struct{ name, bearer, route, body, message string }{
		{"wrong password", "", "POST /api/users/login", user("alice@example.com", "wrong"), "The email or the password is wrong."},
		{"unknown user", "", "POST /api/users/login", user("carol@example.com", "wrong"), "The email or the password is wrong."},
		{"no email", "", "POST /api/users/login", user("", "wrong"), malformed},
		{"NUL in the email", "", "POST /api/users/login", `{"user":{"email":"a\u0000@example.com","password":"wrong"}}`, malformed},
		{"no password", "", "POST /api/users/login", user("alice@example.com", ""), malformed},
		{"not JSON", "", "POST /api/users/login", "email=alice", malformed},
		{"large body", "", "POST /api/users/login", user("alice@example.com", strings.Repeat("x", 1<<20)), malformed},
		{"no token", "", "GET /api/user", "", "Please sign in."},
		{"invalid token", "tat_rubbish", "GET /api/user", "", "Please sign in."},
		{"two tokens", "a b", "GET /api/user", "", "The request needs one Authorization header with one bearer token."},
		{"no role", bob.bearer, "DELETE /api/users/1/tokens", "", "You are not allowed to do this."},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := p.browser()
			b.bearer = test.bearer
			method, path, _ := strings.Cut(test.route, " ")
			a := b.expect(t, method, path, test.body, 200, refused(test.message))
			for _, name := range []string{"WWW-Authenticate", "Retry-After"} {
				if got := a.Header.Get(name); got != "" {
					t.Errorf("got %s: %s, want no such header beside the status 200", name, got)
				}
			}
		})
	}
}

// The service's own login handler is throttled like /Token. The client learns how
// long it must wait.
func TestOwnLoginIsThrottled(t *testing.T) {
	t.Parallel()
	p, _ := startOwnLogin(t)
	for i := range 20 {
		a := p.browser().do(t, "POST", "/api/users/login", "application/json", user("bob@example.com", fmt.Sprint("guess ", i)))
		if a.StatusCode == 200 {
			continue
		}
		wait := a.Header.Get("Retry-After")
		if want := refused("Please try again in " + wait + " s."); a.StatusCode != 429 || wait == "" || a.body != want {
			t.Errorf("got %d %s with Retry-After %q, want 429 and %s", a.StatusCode, a.body, wait, want)
		}
		return
	}
	t.Error("20 guesses were not throttled")
}

func TestOwnLoginOfUnavailableDatabase(t *testing.T) {
	t.Parallel()
	p, database := startOwnLogin(t)
	bob := p.ownLogin(t, "bob@example.com", trialPassword)
	change(t, database, "ALTER TABLE tokenauth_tokens RENAME TO away")
	for path, body := range map[string]string{"/api/users/login": user("bob@example.com", trialPassword), "/api/users/logout": ""} {
		a := bob.expect(t, "POST", path, body, 503, refused("Please try again in 2 s."))
		if got := a.Header.Get("Retry-After"); got != "2" {
			t.Errorf("%s: got Retry-After %q, want 2", path, got)
		}
	}
	change(t, database, "ALTER TABLE away RENAME TO tokenauth_tokens")
	bob.expect(t, "GET", "/api/user", "", 200, "")
}
