package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A record holds requests, byte for byte, and the responses of the original.
// "{x*3}" stands for xxx, and "{alice}" for the token of a sign-in as alice. In
// "{alice:expired}" the word says what happens to the token before the request.
type record struct {
	Recorded []string
	Users    []recordedUser
	Cases    []exchange
}

type recordedUser struct {
	UserName, UserID, Password string
	PasswordHash               *string // in the format of Identity
	Roles                      []string
}

type exchange struct {
	Name string
	Send struct {
		After   string // action before the request, such as "3 wrong passwords of alice"
		Request string
		Headers []string
		Chunked bool
		Body    *string
		Base64  []byte // the body, if it is not text
	}
	Answer recordedAnswer
}

// A recordedAnswer is a response with "…" in place of tokens and dates.
type recordedAnswer struct {
	Status  int
	Headers []string
	Content string
}

func readRecord(t *testing.T) (r record) {
	t.Helper()
	text, err := os.ReadFile("testdata/katana.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A replay is the service with the users of the record.
type replay struct {
	*site
	record  record
	address string // of the client
}

func newReplay(t *testing.T, refresh bool) *replay {
	t.Helper()
	p := &replay{site: newSite(t, engines["sqlite"].store(t), "sqlite", "2", true), record: readRecord(t)}
	roles := map[string]bool{"Administrator": true, "Reader": true}
	for _, u := range p.record.Users {
		p.exec(t, `INSERT INTO "AspNetUsers" ("Id", "UserName", "PasswordHash", "SecurityStamp", "LockoutEnabled", "EmailConfirmed", "PhoneNumberConfirmed", "TwoFactorEnabled", "AccessFailedCount") VALUES (?, ?, ?, ?, TRUE, TRUE, FALSE, FALSE, 0)`,
			u.UserID, u.UserName, u.PasswordHash, "stamp of "+u.UserName)
		for _, role := range u.Roles {
			if !roles[role] {
				p.exec(t, `INSERT INTO "AspNetRoles" ("Id", "Name") VALUES (?, ?)`, role, role)
				roles[role] = true
			}
			p.exec(t, `INSERT INTO "AspNetUserRoles" ("UserId", "RoleId") SELECT ?, "Id" FROM "AspNetRoles" WHERE "Name" = ?`, u.UserID, role)
		}
	}
	auth, err := newAuth(t.Context(), p.db, layouts["2"], true, refresh)
	if err != nil {
		t.Fatal(err)
	}
	handler := routes(auth)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = p.address // each case has its own address, so that guesses do not throttle other cases
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p.url = server.URL
	return p
}

var placeholder = regexp.MustCompile(`\{(x\*([0-9]+)|([a-z]+)(:[a-z]+)?)\}`)

// answer sends a request of the record and returns the response.
func (p *replay) answer(t *testing.T, e exchange) recordedAnswer {
	t.Helper()
	tokens := map[string]string{}
	fill := func(text string) string {
		return placeholder.ReplaceAllStringFunc(text, func(s string) string {
			m := placeholder.FindStringSubmatch(s)
			if m[2] != "" {
				n, _ := strconv.Atoi(m[2])
				return strings.Repeat("x", n)
			}
			if tokens[s] == "" {
				tokens[s] = p.token(t, m[3], m[4])
			}
			return tokens[s]
		})
	}
	var guesses int
	var guessed string
	if _, err := fmt.Sscanf(e.Send.After, "%d wrong passwords of %s", &guesses, &guessed); e.Send.After != "" && err != nil {
		t.Fatal(err)
	}
	for i := range guesses { // different ones: the throttle does not count a repeated password
		p.signIn(t, guessed, fmt.Sprint("x", i))
	}

	lines := []string{fill(e.Send.Request), "Host: 127.0.0.1", "Connection: close"}
	for _, h := range e.Send.Headers {
		lines = append(lines, fill(h))
	}
	body := string(e.Send.Base64)
	if e.Send.Body != nil {
		body = fill(*e.Send.Body)
	}
	switch method, _, _ := strings.Cut(e.Send.Request, " "); {
	case e.Send.Chunked:
		lines = append(lines, "Transfer-Encoding: chunked")
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	case body != "" || e.Send.Body != nil || method == "POST" || method == "PUT":
		lines = append(lines, fmt.Sprint("Content-Length: ", len(body)))
	}
	response, content := p.raw(t, strings.Join(lines, "\r\n")+"\r\n\r\n"+body)
	for _, token := range tokens {
		content = strings.ReplaceAll(content, token, "…")
	}
	got := recordedAnswer{Status: response.StatusCode, Content: varying.ReplaceAllString(content, "$1…$2")}
	for _, name := range visible {
		for _, value := range response.Header.Values(name) {
			got.Headers = append(got.Headers, name+": "+value)
		}
	}
	return got
}

var varying = regexp.MustCompile(`("(?:access_token|\.issued|\.expires)":")[^"]+(")`)

// visible are the response headers that the tests compare.
var visible = []string{"Content-Type", "Cache-Control", "Pragma", "Expires", "WWW-Authenticate", "Allow", "Set-Cookie", "Location", "Retry-After", "Vary", "Access-Control-Allow-Origin"}

// raw sends the bytes of a request, and returns the response and its body.
func (p *replay) raw(t *testing.T, bytes string) (*http.Response, string) {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go io.WriteString(conn, bytes) // the server may respond before it has read all bytes
	method, _, _ := strings.Cut(bytes, " ")
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err == nil && response.StatusCode == http.StatusContinue {
		response, err = http.ReadResponse(reader, &http.Request{Method: method})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(content)
}

// token signs in and returns the token. since is the rest of the placeholder,
// such as ":expired": it names a change that token makes after the sign-in.
func (p *replay) token(t *testing.T, userName, since string) string {
	t.Helper()
	password := map[string]string{"bob": "password"}[userName]
	if password == "" {
		password = "my password"
	}
	token := p.signIn(t, userName, password).token(t).AccessToken
	switch since {
	case "":
	case ":first":
		p.signIn(t, userName, password).token(t)
	case ":changed":
		changed := "A"
		if token[40] == 'A' {
			changed = "B"
		}
		return token[:40] + changed + token[41:]
	case ":short":
		return token[:len(token)-8]
	case ":upper":
		return strings.ToUpper(token)
	case ":expired":
		p.exec(t, `UPDATE "tokenauth_tokens" SET "expires_at" = "issued_at"`)
	case ":deleted":
		p.exec(t, `DELETE FROM "AspNetUsers" WHERE "UserName" = ?`, userName)
	case ":password":
		p.exec(t, `UPDATE "AspNetUsers" SET "PasswordHash" = 'another', "SecurityStamp" = 'another' WHERE "UserName" = ?`, userName)
	case ":locked":
		p.lock(t, userName, "9999-12-31 23:59:59")
	case ":roles":
		p.exec(t, `DELETE FROM "AspNetUserRoles" WHERE "UserId" IN (SELECT "Id" FROM "AspNetUsers" WHERE "UserName" = ?)`, userName)
	default:
		t.Fatalf("unknown placeholder {%s%s}", userName, since)
	}
	return token
}
