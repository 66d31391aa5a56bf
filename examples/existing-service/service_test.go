// Package existingservice_test runs the programs: the service before and after it
// mounted the Token API, and the two programs that show a single subject.
package existingservice_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	trialPassword = "correct horse battery staple"
	otherPassword = "another horse, another battery"
	form          = "application/x-www-form-urlencoded"
)

// Bodies of errors in the format of the service.
const (
	unauthenticated = `{"title":"Unauthorized","status":401,"code":"unauthenticated","detail":"Sign in first."}`
	forbidden       = `{"title":"Forbidden","status":403,"code":"forbidden","detail":"Your role does not allow this."}`
	notFound        = `{"title":"Not Found","status":404,"code":"not_found","detail":"There is nothing here."}`
)

// both runs a test on each version of the service, on a new database.
func both(t *testing.T, test func(t *testing.T, p *server)) {
	t.Parallel()
	for _, version := range []string{"before", "after"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			test(t, start(t, version, filepath.Join(t.TempDir(), "orders.db")))
		})
	}
}

// login signs in on the login page. It returns false for wrong credentials.
func (b *browser) login(t *testing.T, email, password string) bool {
	t.Helper()
	a := b.do(t, "POST", "/login", form, url.Values{"email": {email}, "password": {password}}.Encode())
	switch a.StatusCode {
	case http.StatusSeeOther:
		return true
	case http.StatusUnauthorized:
		return false
	}
	t.Fatalf("POST /login: got %d %s, want 303 or 401", a.StatusCode, a.body)
	return false
}

// session returns a browser that is signed in with a session.
func (p *server) session(t *testing.T, email string) *browser {
	t.Helper()
	b := p.browser()
	if !b.login(t, email, trialPassword) {
		t.Fatalf("login of %s was refused", email)
	}
	return b
}

func TestPages(t *testing.T) {
	both(t, func(t *testing.T, p *server) {
		b := p.browser()
		if a := b.do(t, "GET", "/", "", ""); a.StatusCode != 303 || a.Header.Get("Location") != "/login" {
			t.Errorf("GET / without a session: got %d with Location %q, want 303 and /login", a.StatusCode, a.Header.Get("Location"))
		}
		for _, wrong := range [][2]string{{"alice@example.com", "wrong"}, {"nobody@example.com", trialPassword}, {"", ""}} {
			if b.login(t, wrong[0], wrong[1]) {
				t.Errorf("login with %q succeeded, want a refusal", wrong)
			}
		}
		if !b.login(t, "Alice@example.com", trialPassword) {
			t.Fatal("login of alice was refused")
		}
		if a := b.do(t, "GET", "/", "", ""); a.StatusCode != 200 || !strings.Contains(a.body, "Signed in as alice@example.com.") {
			t.Errorf("GET / with a session: got %d %s, want 200 with alice's email", a.StatusCode, a.body)
		}
		stale := p.browser()
		address := &url.URL{Scheme: "http", Host: p.Addr}
		stale.client.Jar.SetCookies(address, b.client.Jar.Cookies(address))
		if a := b.do(t, "POST", "/logout", form, ""); a.StatusCode != 303 {
			t.Errorf("POST /logout: got %d %s, want 303", a.StatusCode, a.body)
		}
		if a := stale.do(t, "GET", "/", "", ""); a.StatusCode != 303 {
			t.Errorf("GET / with an ended session: got %d %s, want 303", a.StatusCode, a.body)
		}
	})
}

func TestAPIWithSession(t *testing.T) {
	both(t, func(t *testing.T, p *server) {
		alice, bob, nobody := p.session(t, "alice@example.com"), p.session(t, "bob@example.com"), p.browser()
		bob.expect(t, "GET", "/api/orders", "", 200, `[]`)
		order := `{"id":1,"item":"tea","count":2,"takenBy":"bob@example.com"}`
		bob.expect(t, "POST", "/api/orders", `{"item":"tea","count":2}`, 201, order)
		bob.expect(t, "POST", "/api/orders", `{"item":"tea"`, 400, `{"title":"Bad Request","status":400,"code":"bad_request","detail":"The body must be the JSON that this route takes."}`)
		alice.expect(t, "GET", "/api/orders", "", 200, "["+order+"]")

		for _, route := range []string{"GET /api/orders", "POST /api/orders", "DELETE /api/orders/1", "PUT /api/password", "GET /api/users", "PUT /api/users/1/disabled"} {
			method, path, _ := strings.Cut(route, " ")
			a := nobody.expect(t, method, path, "", 401, unauthenticated)
			if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("%s: got Content-Type %s, want application/problem+json", route, got)
			}
		}
		for _, route := range []string{"DELETE /api/orders/1", "GET /api/users", "PUT /api/users/1/disabled"} {
			method, path, _ := strings.Cut(route, " ")
			a := bob.expect(t, method, path, "", 403, forbidden)
			if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("%s: got Content-Type %s, want application/problem+json", route, got)
			}
		}
		alice.expect(t, "DELETE", "/api/orders/1", "", 204, "")
		alice.expect(t, "DELETE", "/api/orders/1", "", 404, "")
		nobody.expect(t, "GET", "/nowhere", "", 404, notFound)
		nobody.expect(t, "GET", "/healthz", "", 200, `{"status":"ok"}`)
	})
}

func TestChangePassword(t *testing.T) {
	both(t, func(t *testing.T, p *server) {
		bob, elsewhere := p.session(t, "bob@example.com"), p.session(t, "bob@example.com")
		bob.expect(t, "PUT", "/api/password", `{"old":"wrong","new":"`+otherPassword+`"}`, 403, "")
		bob.expect(t, "PUT", "/api/password", `{"old":"`+trialPassword+`","new":"short"}`, 400, "")
		elsewhere.expect(t, "GET", "/api/orders", "", 200, "")
		bob.expect(t, "PUT", "/api/password", `{"old":"`+trialPassword+`","new":"`+otherPassword+`"}`, 204, "")
		bob.expect(t, "GET", "/api/orders", "", 401, unauthenticated)
		elsewhere.expect(t, "GET", "/api/orders", "", 401, unauthenticated)
		if bob.login(t, "bob@example.com", trialPassword) || !bob.login(t, "bob@example.com", otherPassword) {
			t.Error("after the change, the old password signs in or the new one does not")
		}
	})
}

// bobs returns bob's user ID, which an administrator can list.
func (b *browser) bobs(t *testing.T) string {
	t.Helper()
	var users []struct{ ID, Email string }
	b.expect(t, "GET", "/api/users", "", 200, "").decode(t, &users)
	if len(users) != 2 || users[1].Email != "bob@example.com" {
		t.Fatalf("got users %v, want two with bob last", users)
	}
	return users[1].ID
}

func TestDisable(t *testing.T) {
	both(t, func(t *testing.T, p *server) {
		alice, bob := p.session(t, "alice@example.com"), p.session(t, "bob@example.com")
		path := "/api/users/" + alice.bobs(t) + "/disabled"
		alice.expect(t, "PUT", "/api/users/nobody/disabled", "true", 404, "")
		alice.expect(t, "PUT", path, "true", 204, "")
		bob.expect(t, "GET", "/api/orders", "", 401, unauthenticated)
		if bob.login(t, "bob@example.com", trialPassword) {
			t.Error("login of a disabled user succeeded, want a refusal")
		}
		alice.expect(t, "PUT", path, "false", 204, "")
		if !bob.login(t, "bob@example.com", trialPassword) {
			t.Error("login of an enabled user was refused")
		}
		alice.expect(t, "GET", "/api/orders", "", 200, "")
	})
}

// A request in progress at SIGTERM gets its response.
func TestGracefulShutdown(t *testing.T) {
	both(t, func(t *testing.T, p *server) {
		bob := p.session(t, "bob@example.com")
		cookie := bob.client.Jar.Cookies(&url.URL{Scheme: "http", Host: p.Addr})[0]
		inFlight := p.begin(t, "/api/orders", "application/json", "Cookie: "+cookie.String(), `{"item":"tea","count":1}`)
		p.refuse(t)
		if a := inFlight(); a.StatusCode != 201 {
			t.Errorf("request in progress at SIGTERM: got %d %s, want 201", a.StatusCode, a.body)
		}
		if out, err := p.Stop(syscall.SIGTERM); err != nil {
			t.Errorf("the service failed after SIGTERM: %v: %s", err, out)
		}
	})
}

// begin sends the headers of a request and waits until the handler reads the
// body. The returned function sends the body and reads the response.
func (p *server) begin(t *testing.T, path, contentType, header, body string) func() answer {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n%s\r\n\r\n", path, p.Addr, contentType, len(body), header)
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("first line is %q (error %v), want 100 Continue", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return func() answer {
		t.Helper()
		if _, err := fmt.Fprint(conn, body); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{response, string(text)}
	}
}

// refuse sends SIGTERM and waits until the process accepts no connections.
func (p *server) refuse(t *testing.T) {
	t.Helper()
	p.Signal(syscall.SIGTERM)
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.DialTimeout("tcp", p.Addr, time.Second)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("the process accepts connections 20 seconds after SIGTERM")
		}
	}
}
