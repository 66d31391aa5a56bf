package existingservice_test

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"
)

// startAfter starts the service with the Token API on a new database.
func startAfter(t *testing.T) *server {
	t.Helper()
	return start(t, "after", filepath.Join(t.TempDir(), "orders.db"))
}

// A grant is the response to a sign-in.
type grant struct {
	AccessToken string `json:"access_token"`
	UserName    string `json:"userName"`
	UserID      string `json:"userId"`
	Role        string `json:"role"`
}

func credentials(email, password string) string {
	return url.Values{"grant_type": {"password"}, "username": {email}, "password": {password}}.Encode()
}

// signIn returns a client with an access token instead of a cookie.
func (p *server) signIn(t *testing.T, email, password string) (*browser, grant) {
	t.Helper()
	b := p.browser()
	a := b.do(t, "POST", "/Token", form, credentials(email, password))
	if a.StatusCode != 200 {
		t.Fatalf("POST /Token: got %d %s, want 200", a.StatusCode, a.body)
	}
	var g grant
	a.decode(t, &g)
	b.bearer = g.AccessToken
	return b, g
}

// invalidToken returns the body of a refused token, in the format of the service.
func invalidToken(detail string) string {
	return fmt.Sprintf(`{"title":"Unauthorized","status":401,"code":"invalid_token","detail":%q}`, detail)
}

var (
	ended    = invalidToken("The access token is invalid.")
	replaced = invalidToken("The access token was replaced by a newer sign-in.")
)

func TestSignInReplacesToken(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	bob, g := p.signIn(t, "BOB@example.com", trialPassword)
	if g.UserName != "bob@example.com" || g.Role != "clerk" || g.UserID == "" {
		t.Errorf("signed in as %+v, want bob, a clerk", g)
	}
	bob.expect(t, "POST", "/api/orders", `{"item":"tea","count":2}`, 201, `{"id":1,"item":"tea","count":2,"takenBy":"bob@example.com"}`)

	// /Token answers in the format of RFC 6749, not in that of the service.
	a := p.browser().do(t, "POST", "/Token", form, credentials("bob@example.com", "wrong"))
	if want := `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}`; a.StatusCode != 400 || a.body != want {
		t.Errorf("wrong password: got %d %s, want 400 %s", a.StatusCode, a.body, want)
	}

	again, _ := p.signIn(t, "bob@example.com", trialPassword)
	bob.expect(t, "GET", "/api/orders", "", 401, replaced)
	again.expect(t, "GET", "/api/orders", "", 200, "")
}

func TestRoles(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	alice, _ := p.signIn(t, "alice@example.com", trialPassword)
	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	bob.expect(t, "POST", "/api/orders", `{"item":"tea","count":2}`, 201, "")
	for _, route := range []string{"DELETE /api/orders/1", "GET /api/users", "GET /api/users/1/tokens", "DELETE /api/users/1/tokens", "DELETE /api/users/1/tokens/2"} {
		method, path, _ := strings.Cut(route, " ")
		bob.expect(t, method, path, "", 403, forbidden)
		p.browser().expect(t, method, path, "", 401, unauthenticated)
	}
	alice.expect(t, "DELETE", "/api/orders/1", "", 204, "")
}

// A user without a role can call routes that need no role, with a session and
// with a token.
func TestUserWithoutRole(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "orders.db")
	p := start(t, "after", database)
	change(t, database, "UPDATE users SET role = '' WHERE email = 'bob@example.com'")
	bob, g := p.signIn(t, "bob@example.com", trialPassword)
	if g.Role != "" {
		t.Errorf("signed in as %+v, want no role", g)
	}
	for _, b := range []*browser{bob, p.session(t, "bob@example.com")} {
		b.expect(t, "GET", "/api/orders", "", 200, `[]`)
		b.expect(t, "GET", "/api/users", "", 403, forbidden)
	}
}

// change executes a statement on the database of the running service.
func change(t *testing.T, database, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+database+"?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// Refusals have a body in the format of the service and the headers of RFC 6750.
func TestRefusals(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	valid := bob.bearer
	for _, test := range []struct {
		name, bearer, path string
		status             int
		body, challenge    string
	}{
		{"no token", "", "/api/orders", 401, unauthenticated, `Bearer realm="api"`},
		{"invalid token", "tat_rubbish", "/api/orders", 401, ended, `Bearer realm="api", error="invalid_token", error_description="The access token is invalid."`},
		{"JWT", "eyJ.a.b", "/api/orders", 401, ended, `Bearer realm="api", error="invalid_token", error_description="The access token is invalid."`},
		{"two tokens", valid + " " + valid, "/api/orders", 400,
			`{"title":"Bad Request","status":400,"code":"invalid_request","detail":"The request needs one Authorization header with one bearer token."}`,
			`Bearer realm="api", error="invalid_request", error_description="The request needs one Authorization header with one bearer token."`},
		{"missing role", valid, "/api/users", 403, forbidden, `Bearer realm="api", error="insufficient_scope"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := p.browser()
			b.bearer = test.bearer
			a := b.expect(t, "GET", test.path, "", test.status, test.body)
			if got := a.Header.Get("WWW-Authenticate"); got != test.challenge {
				t.Errorf("got WWW-Authenticate %s, want %s", got, test.challenge)
			}
			if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("got Content-Type %s, want application/problem+json", got)
			}
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("got Cache-Control %s, want no-store", got)
			}
		})
	}
}

// The handlers that change a user end the user's tokens.
func TestChangesEndTokens(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	alice, _ := p.signIn(t, "alice@example.com", trialPassword)
	bob, g := p.signIn(t, "bob@example.com", trialPassword)
	path := "/api/users/" + g.UserID + "/disabled"
	alice.expect(t, "PUT", path, "true", 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)
	if a := bob.do(t, "POST", "/Token", form, credentials("bob@example.com", trialPassword)); a.StatusCode != 400 {
		t.Errorf("sign-in of a disabled user: got %d %s, want 400", a.StatusCode, a.body)
	}
	alice.expect(t, "PUT", path, "false", 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)

	bob, _ = p.signIn(t, "bob@example.com", trialPassword)
	page := p.session(t, "bob@example.com")
	bob.expect(t, "PUT", "/api/password", `{"old":"`+trialPassword+`","new":"`+otherPassword+`"}`, 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)
	page.expect(t, "GET", "/api/orders", "", 401, unauthenticated)
	bob, _ = p.signIn(t, "bob@example.com", otherPassword)
	bob.expect(t, "GET", "/api/orders", "", 200, "")
	if !page.login(t, "bob@example.com", otherPassword) {
		t.Error("the login page refused the new password, want a session")
	}
}

func TestLogout(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	page := p.session(t, "bob@example.com")
	bob.expect(t, "POST", "/api/logout", "", 204, "")
	bob.expect(t, "POST", "/api/logout", "", 401, ended)
	page.expect(t, "POST", "/api/logout", "", 400, `{"title":"Bad Request","status":400,"code":"no_token","detail":"This is a session; POST /logout ends it."}`)
	page.expect(t, "GET", "/api/orders", "", 200, "")
}

func TestAdministratorEndsTokens(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	alice := p.session(t, "alice@example.com") // an administrator with a session
	path := "/api/users/" + alice.bobs(t) + "/tokens"
	alice.expect(t, "GET", path, "", 200, "[]")

	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	var tokens []struct{ ID, Issued, Expires string }
	a := alice.expect(t, "GET", path, "", 200, "")
	a.decode(t, &tokens)
	if len(tokens) != 1 || len(tokens[0].ID) != 16 || tokens[0].Issued >= tokens[0].Expires || strings.Contains(a.body, bob.bearer) {
		t.Fatalf("got tokens %s, want one of bob without its secret", a.body)
	}
	alice.expect(t, "DELETE", path+"/0123456789abcdef", "", 404, "")
	bob.expect(t, "GET", "/api/orders", "", 200, "")
	alice.expect(t, "DELETE", path+"/"+tokens[0].ID, "", 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)
	alice.expect(t, "GET", path, "", 200, "[]")

	bob, _ = p.signIn(t, "bob@example.com", trialPassword)
	alice.expect(t, "DELETE", path, "", 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	bob.expect(t, "GET", "/api/orders", "", 200, "")
	p.session(t, "bob@example.com").expect(t, "GET", "/api/orders", "", 200, "")
	p.browser().do(t, "POST", "/Token", form, credentials("bob@example.com", "wrong"))
	a := p.browser().expect(t, "GET", "/metrics", "", 200, "")
	for _, line := range []string{
		`tokenauth_events_total{kind="issued",reason=""} 1`,
		`tokenauth_events_total{kind="sign_in_refused",reason="credentials"} 1`,
		`tokenauth_events_total{kind="validated",reason=""} 1`,
		`tokenauth_events_total{kind="validated",reason="fallback"} 1`,
		`tokenauth_event_duration_seconds_count{kind="issued"} 1`,
	} {
		if !strings.Contains(a.body, line+"\n") {
			t.Errorf("/metrics has no line %s", line)
		}
	}
}

// Sessions that before started are valid in after, and tokens are valid after a
// restart.
func TestSessionsAndTokensSurviveTheMigration(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "orders.db")
	p := start(t, "before", database)
	page := p.session(t, "bob@example.com")
	page.expect(t, "POST", "/api/orders", `{"item":"tea","count":2}`, 201, "")
	cookies := page.client.Jar.Cookies(&url.URL{Scheme: "http", Host: p.Addr})
	if out, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err, out)
	}

	p = start(t, "after", database)
	const order = `[{"id":1,"item":"tea","count":2,"takenBy":"bob@example.com"}]`
	page = p.browser()
	page.client.Jar.SetCookies(&url.URL{Scheme: "http", Host: p.Addr}, cookies)
	page.expect(t, "GET", "/api/orders", "", 200, order)
	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	bob.expect(t, "GET", "/api/orders", "", 200, order)
	if out, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Fatal(err, out)
	}

	p = start(t, "after", database)
	bob.server = p
	bob.expect(t, "GET", "/api/orders", "", 200, order)
}

// If the tokens' table cannot be read, requests with a token get 503 and requests
// with a session succeed.
func TestDatabaseErrorsAre503(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "orders.db")
	p := start(t, "after", database)
	bob, g := p.signIn(t, "bob@example.com", trialPassword)
	alice := p.session(t, "alice@example.com")
	rename := func(from, to string) { change(t, database, "ALTER TABLE "+from+" RENAME TO "+to) }
	rename("tokenauth_tokens", "away")
	const later = `{"title":"Service Unavailable","status":503,"code":"temporarily_unavailable","detail":"The server is temporarily unable to handle the request. Try again later."}`
	if a := bob.expect(t, "GET", "/api/orders", "", 503, later); a.Header.Get("Retry-After") == "" {
		t.Error("got a 503 without Retry-After")
	}
	p.browser().expect(t, "GET", "/healthz", "", 503, `{"title":"Service Unavailable","status":503,"code":"unavailable","detail":"The database does not answer."}`)
	alice.expect(t, "GET", "/api/orders", "", 200, "")
	disable := "/api/users/" + g.UserID + "/disabled"
	alice.expect(t, "PUT", disable, "true", 503, `{"title":"Service Unavailable","status":503,"code":"tokens_not_ended","detail":"The change was saved, but earlier access tokens may still be valid. An administrator can end them."}`)
	rename("away", "tokenauth_tokens")

	p.browser().expect(t, "GET", "/healthz", "", 200, "")
	alice.expect(t, "PUT", disable, "true", 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)
}

// A sign-in in progress at SIGTERM gets its response, and its token is valid in
// the next process.
func TestGracefulShutdownOfSignIn(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "orders.db")
	p := start(t, "after", database)
	alice, _ := p.signIn(t, "alice@example.com", trialPassword)
	order := p.begin(t, "/api/orders", "application/json", "Authorization: Bearer "+alice.bearer, `{"item":"tea","count":1}`)
	signIn := p.begin(t, "/Token", form, "Accept: */*", credentials("bob@example.com", trialPassword))
	p.refuse(t)
	if a := order(); a.StatusCode != 201 {
		t.Errorf("order in progress at SIGTERM: got %d %s, want 201", a.StatusCode, a.body)
	}
	var g grant
	a := signIn()
	a.decode(t, &g)
	if out, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("the service failed after SIGTERM: %v: %s", err, out)
	}

	bob := start(t, "after", database).browser()
	bob.bearer = g.AccessToken
	bob.expect(t, "GET", "/api/orders", "", 200, `[{"id":1,"item":"tea","count":1,"takenBy":"alice@example.com"}]`)
}
