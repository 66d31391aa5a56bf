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

// startAfter starts the service with the Token API on a database of its own.
func startAfter(t *testing.T) *server {
	t.Helper()
	return start(t, "after", filepath.Join(t.TempDir(), "orders.db"))
}

// A grant is the answer to a sign-in.
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
		t.Fatalf("/Token answered %d %s", a.StatusCode, a.body)
	}
	var g grant
	a.decode(t, &g)
	b.bearer = g.AccessToken
	return b, g
}

// A refusal in the service's own format.
func invalidToken(detail string) string {
	return fmt.Sprintf(`{"title":"Unauthorized","status":401,"code":"invalid_token","detail":%q}`, detail)
}

var (
	ended    = invalidToken("The access token is invalid.")
	replaced = invalidToken("The access token was replaced by a newer sign-in.")
)

func TestToken(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	bob, g := p.signIn(t, "BOB@example.com", trialPassword)
	if g.UserName != "bob@example.com" || g.Role != "clerk" || g.UserID == "" {
		t.Errorf("it is %+v", g)
	}
	bob.expect(t, "POST", "/api/orders", `{"item":"tea","count":2}`, 201, `{"id":1,"item":"tea","count":2,"takenBy":"bob@example.com"}`)

	// /Token speaks as its clients expect it, whatever the service's format is.
	a := p.browser().do(t, "POST", "/Token", form, credentials("bob@example.com", "wrong"))
	if want := `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}`; a.StatusCode != 400 || a.body != want {
		t.Errorf("answered %d %s, want %s", a.StatusCode, a.body, want)
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

// A user without a role is let in, with a session and with a token, and may
// what needs none.
func TestUserWithoutRoleMayDoWhatNeedsNone(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "orders.db")
	p := start(t, "after", database)
	change(t, database, "UPDATE users SET role = '' WHERE email = 'bob@example.com'")
	bob, g := p.signIn(t, "bob@example.com", trialPassword)
	if g.Role != "" {
		t.Errorf("it is %+v", g)
	}
	for _, b := range []*browser{bob, p.session(t, "bob@example.com")} {
		b.expect(t, "GET", "/api/orders", "", 200, `[]`)
		b.expect(t, "GET", "/api/users", "", 403, forbidden)
	}
}

// change changes the database behind the service's back.
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

// Refusals have the service's body and the headers of RFC 6750.
func TestRefusals(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	good := bob.bearer
	for _, test := range []struct {
		name, bearer, path string
		status             int
		body, challenge    string
	}{
		{"nobody", "", "/api/orders", 401, unauthenticated, `Bearer realm="api"`},
		{"rubbish", "tat_rubbish", "/api/orders", 401, ended, `Bearer realm="api", error="invalid_token", error_description="The access token is invalid."`},
		{"another's", "eyJ.a.b", "/api/orders", 401, ended, `Bearer realm="api", error="invalid_token", error_description="The access token is invalid."`},
		{"two", good + " " + good, "/api/orders", 400,
			`{"title":"Bad Request","status":400,"code":"invalid_request","detail":"The request needs one Authorization header with one bearer token."}`,
			`Bearer realm="api", error="invalid_request", error_description="The request needs one Authorization header with one bearer token."`},
		{"role", good, "/api/users", 403, forbidden, `Bearer realm="api", error="insufficient_scope"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := p.browser()
			b.bearer = test.bearer
			a := b.expect(t, "GET", test.path, "", test.status, test.body)
			if got := a.Header.Get("WWW-Authenticate"); got != test.challenge {
				t.Errorf("the challenge is %s, want %s", got, test.challenge)
			}
			if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("it is %s", got)
			}
			if got := a.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control is %s", got)
			}
		})
	}
}

// The service's own handlers end tokens.
func TestChangesEndTokens(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	alice, _ := p.signIn(t, "alice@example.com", trialPassword)
	bob, g := p.signIn(t, "bob@example.com", trialPassword)
	path := "/api/users/" + g.UserID + "/disabled"
	alice.expect(t, "PUT", path, "true", 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)
	if a := bob.do(t, "POST", "/Token", form, credentials("bob@example.com", trialPassword)); a.StatusCode != 400 {
		t.Errorf("a disabled user got %d %s", a.StatusCode, a.body)
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
		t.Error("the login page reads the hash no more")
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

func TestOperators(t *testing.T) {
	t.Parallel()
	p := startAfter(t)
	alice := p.session(t, "alice@example.com") // by a session, too
	path := "/api/users/" + alice.bobs(t) + "/tokens"
	alice.expect(t, "GET", path, "", 200, "[]")

	bob, _ := p.signIn(t, "bob@example.com", trialPassword)
	var tokens []struct{ ID, Issued, Expires string }
	a := alice.expect(t, "GET", path, "", 200, "")
	a.decode(t, &tokens)
	if len(tokens) != 1 || len(tokens[0].ID) != 16 || tokens[0].Issued >= tokens[0].Expires || strings.Contains(a.body, bob.bearer) {
		t.Fatal("listed are ", a.body)
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
			t.Errorf("the metrics lack %s", line)
		}
	}
}

// The service goes over in place: what is in the database stays good.
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

// Trouble with the tokens' table is 503, for sessions nothing, and over when it
// is over.
func TestDatabaseErrorsAre503(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "orders.db")
	p := start(t, "after", database)
	bob, g := p.signIn(t, "bob@example.com", trialPassword)
	alice := p.session(t, "alice@example.com")
	rename := func(from, to string) { change(t, database, "ALTER TABLE "+from+" RENAME TO "+to) }
	rename("tokenauth_tokens", "away")
	const trouble = `{"title":"Service Unavailable","status":503,"code":"temporarily_unavailable","detail":"The server is temporarily unable to handle the request. Try again later."}`
	if a := bob.expect(t, "GET", "/api/orders", "", 503, trouble); a.Header.Get("Retry-After") == "" {
		t.Error("it does not tell when to try again")
	}
	p.browser().expect(t, "GET", "/healthz", "", 503, `{"title":"Service Unavailable","status":503,"code":"unavailable","detail":"The database does not answer."}`)
	alice.expect(t, "GET", "/api/orders", "", 200, "")
	disable := "/api/users/" + g.UserID + "/disabled"
	alice.expect(t, "PUT", disable, "true", 503, `{"title":"Service Unavailable","status":503,"code":"tokens_not_ended","detail":"The change is made, but access tokens from before may still be good. An administrator can end them."}`)
	rename("away", "tokenauth_tokens")

	p.browser().expect(t, "GET", "/healthz", "", 200, "")
	alice.expect(t, "PUT", disable, "true", 204, "")
	bob.expect(t, "GET", "/api/orders", "", 401, ended)
}

// A sign-in that has begun when the service is told to stop is answered, and
// the token is good with the next process.
func TestGracefulShutdownOfSignIn(t *testing.T) {
	t.Parallel()
	database := filepath.Join(t.TempDir(), "orders.db")
	p := start(t, "after", database)
	alice, _ := p.signIn(t, "alice@example.com", trialPassword)
	order := p.begin(t, "/api/orders", "application/json", "Authorization: Bearer "+alice.bearer, `{"item":"tea","count":1}`)
	signIn := p.begin(t, "/Token", form, "Accept: */*", credentials("bob@example.com", trialPassword))
	p.refuse(t)
	if a := order(); a.StatusCode != 201 {
		t.Errorf("answered %d %s", a.StatusCode, a.body)
	}
	var g grant
	a := signIn()
	a.decode(t, &g)
	if out, err := p.Stop(syscall.SIGTERM); err != nil {
		t.Errorf("it ended with %v: %s", err, out)
	}

	bob := start(t, "after", database).browser()
	bob.bearer = g.AccessToken
	bob.expect(t, "GET", "/api/orders", "", 200, `[{"id":1,"item":"tea","count":1,"takenBy":"alice@example.com"}]`)
}
