package abuse_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/tokenauth"
)

func init() {
	gin.SetMode(gin.ReleaseMode)
	gin.DefaultWriter, gin.DefaultErrorWriter = io.Discard, io.Discard
}

// people is an Authenticator with three users. It does not hash passwords.
type people struct{}

var errDirectory = errors.New("the directory is down")

func (people) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	switch c.UserName {
	case "outage":
		return tokenauth.Principal{}, errDirectory
	case "panic":
		panic("secret-in-a-panic")
	case "admin", "reader", "ü b&<":
		if p := c.Password.Reveal(); p == "pass word+%" || p == "pä:ss" || len(p) > 1024 {
			role := map[string]string{"admin": "Administrator"}[c.UserName]
			if role == "" {
				role = "Reader"
			}
			return tokenauth.Principal{
				UserID: "17", UserName: c.UserName, Roles: []string{role, "Staff"},
				Attributes: map[string]string{"tenant": "a<b>", "private": "x"},
			}, nil
		}
	}
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

var start = time.Date(2020, 9, 13, 9, 35, 33, 500_000_000, time.UTC)

// onBoth runs a test on net/http and on a default Gin engine, with the users of
// people and a storage that can fail.
func onBoth(t *testing.T, o tokenauth.Options, test func(t *testing.T, h *abuseHost)) {
	t.Parallel()
	if o.ResponseAttributes == nil {
		o.ResponseAttributes = []string{"tenant", "absent"}
	}
	onEngines(func(t *testing.T, on engine) {
		o, storage := o, new(abuseStore)
		var h *abuseHost
		o.Now = func() time.Time { return h.time() }
		h = on.host(t, storage, people{}, o)
		h.storage = storage
		test(t, h)
	})(t)
}

// An answer is a response whose body was read.
type answer struct {
	*http.Response
	body string
}

// do sends a request and reads the answer.
func do(t *testing.T, client *http.Client, method, url, body string, headers ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	a, err := readAnswer(client.Do(r))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const goodBody = "grant_type=password&username=admin&password=pass+word%2B%25"

const json8 = "application/json;charset=UTF-8"

func (a answer) expectHeaders(t *testing.T, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := strings.Join(a.Header.Values(name), "|"); got != value {
			t.Errorf("header %s is %q, want %q", name, got, value)
		}
	}
}

func (a answer) expectNoStore(t *testing.T) {
	t.Helper()
	a.expectHeaders(t, map[string]string{
		"Content-Type": json8, "Cache-Control": "no-store", "Pragma": "no-cache",
		"X-Content-Type-Options": "nosniff", "Content-Length": fmt.Sprint(len(a.body)),
		"Set-Cookie": "", "Access-Control-Allow-Origin": "",
	})
}

func (a answer) expectError(t *testing.T, status int, code string) {
	t.Helper()
	a.expectNoStore(t)
	if a.StatusCode != status {
		t.Errorf("status is %d, want %d; body is %s", a.StatusCode, status, a.body)
	}
	if !regexp.MustCompile(`^\{"error":"` + code + `","error_description":"[^"]+"\}$`).MatchString(a.body) {
		t.Errorf("body is %s, want error %s", a.body, code)
	}
}

func TestTokenAnswerIsTheDocumentedJSON(t *testing.T) {
	onBoth(t, tokenauth.Options{}, func(t *testing.T, h *abuseHost) {
		for _, request := range []struct{ method, path, contentType string }{
			{"GET", "/Token", "application/json"}, // the documented call
			{"POST", "/Token", "application/x-www-form-urlencoded"},
			{"POST", "/token", "text/plain"},
			{"GET", "/token", ""},
			{"POST", "/Token", ";;;"},
			{"POST", "/Token", "application/x-www-form-urlencoded; charset=UTF-8"},
			{"POST", "/Token?utm=1&x=%zz", "text/plain; charset=us-ascii"},
		} {
			a := h.do(t, request.method, request.path, goodBody, "Content-Type", request.contentType)
			a.expectNoStore(t)
			want := regexp.MustCompile(`^\{"access_token":"tat_[A-Za-z0-9_-]{92}","token_type":"bearer","expires_in":1209599,` +
				`"userName":"admin","userId":"17","role":"Administrator,Staff",` +
				`".issued":"Sun, 13 Sep 2020 09:35:33 GMT",".expires":"Sun, 27 Sep 2020 09:35:33 GMT","tenant":"a<b>"\}$`)
			if a.StatusCode != 200 || !want.MatchString(a.body) {
				t.Errorf("request %v: got %d %s, want the documented token response", request, a.StatusCode, a.body)
			}
		}
	})
}

func TestTokenRequestsGetTheirStatusAndCode(t *testing.T) {
	const ok = ""
	basic := func(userpass string) string {
		r, _ := http.NewRequest("GET", "/", nil)
		user, pass, _ := strings.Cut(userpass, ":")
		r.SetBasicAuth(user, pass)
		return r.Header.Get("Authorization")
	}
	const grant = "grant_type=password"
	tests := []struct {
		name         string
		method, path string
		body         string
		headers      []string
		status       int
		code         string
	}{
		{"unknown user", "POST", "/Token", grant + "&username=nobody&password=x", nil, 400, "invalid_grant"},
		{"wrong password", "POST", "/Token", grant + "&username=admin&password=x", nil, 400, "invalid_grant"},
		{"password of 1025 bytes", "POST", "/Token", grant + "&username=admin&password=" + strings.Repeat("x", 1025), nil, 400, "invalid_grant"},
		{"empty body", "POST", "/Token", "", nil, 400, "invalid_request"},
		{"JSON", "POST", "/Token", `{"grant_type":"password","username":"admin","password":"pass word+%"}`, []string{"Content-Type", "application/json"}, 400, "invalid_request"},
		{"no grant type", "POST", "/Token", "username=admin&password=x", nil, 400, "invalid_request"},
		{"empty grant type", "POST", "/Token", "grant_type=&username=admin&password=x", nil, 400, "invalid_request"},
		{"grant type in upper case", "POST", "/Token", "grant_type=PASSWORD&username=admin&password=x", nil, 400, "unsupported_grant_type"},
		{"another grant type", "POST", "/Token", "grant_type=refresh_token", nil, 400, "unsupported_grant_type"},
		{"no username", "POST", "/Token", grant + "&password=x", nil, 400, "invalid_request"},
		{"empty username", "POST", "/Token", grant + "&username=&password=x", nil, 400, "invalid_request"},
		{"no password", "POST", "/Token", grant + "&username=admin", nil, 400, "invalid_request"},
		{"empty password", "POST", "/Token", grant + "&username=admin&password=", nil, 400, "invalid_request"},
		{"username of 257 bytes", "POST", "/Token", grant + "&password=x&username=" + strings.Repeat("x", 257), nil, 400, "invalid_request"},
		{"grant type twice", "POST", "/Token", goodBody + "&grant_type=password", nil, 400, "invalid_request"},
		{"username twice", "POST", "/Token", goodBody + "&username=admin", nil, 400, "invalid_request"},
		{"username twice, once empty", "POST", "/Token", goodBody + "&username=", nil, 400, "invalid_request"},
		{"username twice in two spellings", "POST", "/Token", goodBody + "&USERNAME=admin", nil, 400, "invalid_request"},
		{"names in any case", "POST", "/Token", "Grant_Type=password&UserName=admin&PASSWORD=pass+word%2B%25", nil, 200, ok},
		{"a long s is not an s", "POST", "/Token", grant + "&username=admin&pa%C5%BF%C5%BFword=x", nil, 400, "invalid_request"},
		{"unknown parameters", "POST", "/Token", goodBody + "&scope=admin&role=root&expires_in=9&scope=x&client_id=a&client_secret=b", nil, 200, ok},
		{"client ID twice", "POST", "/Token", goodBody + "&client_id=a&client_id=a", nil, 400, "invalid_request"},
		{"32 parameters", "POST", "/Token", goodBody + strings.Repeat("&a=b", 29), nil, 200, ok},
		{"33 parameters", "POST", "/Token", goodBody + strings.Repeat("&a=b", 30), nil, 400, "invalid_request"},
		{"bad percent-encoding", "POST", "/Token", goodBody + "&x=%zz", nil, 200, ok},
		{"a lone percent sign", "POST", "/Token", grant + "&username=admin&password=pass+word%2B%", nil, 200, ok},
		{"doubly encoded username", "POST", "/Token", grant + "&username=%2561dmin&password=pass+word%2B%25", nil, 400, "invalid_grant"},
		{"semicolons", "POST", "/Token", strings.ReplaceAll(goodBody, "&", ";"), nil, 400, "unsupported_grant_type"},
		{"NUL in the username", "POST", "/Token", grant + "&username=a%00&password=x", nil, 400, "invalid_request"},
		{"NUL in the password", "POST", "/Token", grant + "&username=admin&password=%00", nil, 400, "invalid_request"},
		{"line break in the username", "POST", "/Token", grant + "&username=a%0d%0a&password=x", nil, 400, "invalid_request"},
		{"DEL in the username", "POST", "/Token", grant + "&username=a%7f&password=x", nil, 400, "invalid_request"},
		{"invalid UTF-8", "POST", "/Token", grant + "&username=%ff%fe&password=x", nil, 400, "invalid_request"},
		{"overlong UTF-8", "POST", "/Token", grant + "&username=%c0%80&password=x", nil, 400, "invalid_request"},
		{"surrogate", "POST", "/Token", grant + "&username=%ed%a0%80&password=x", nil, 400, "invalid_request"},
		{"byte order mark", "POST", "/Token", "\xef\xbb\xbf" + goodBody, nil, 200, ok},
		{"two byte order marks", "POST", "/Token", "\xef\xbb\xbf\xef\xbb\xbf" + goodBody, nil, 400, "invalid_request"},
		{"user name is not trimmed", "POST", "/Token", grant + "&username=admin+&password=pass+word%2B%25", nil, 400, "invalid_grant"},
		{"non-ASCII", "POST", "/Token", grant + "&username=%C3%BC+b%26%3C&password=p%C3%A4:ss", nil, 200, ok},
		{"8192 bytes", "POST", "/Token", goodBody + "&x=" + strings.Repeat("y", 8192-len(goodBody)-3), nil, 200, ok},
		{"8193 bytes", "POST", "/Token", goodBody + "&x=" + strings.Repeat("y", 8193-len(goodBody)-3), nil, 413, "invalid_request"},
		{"multipart", "POST", "/Token", goodBody, []string{"Content-Type", "multipart/form-data; boundary=x"}, 400, "invalid_request"},
		{"labelled UTF-16", "POST", "/Token", goodBody, []string{"Content-Type", "text/plain; charset=utf-16"}, 200, ok},
		{"two content types", "POST", "/Token", goodBody, []string{"Content-Type", "multipart/form-data; boundary=x", "Content-Type", "text/plain"}, 200, ok},
		{"compressed", "POST", "/Token", goodBody, []string{"Content-Encoding", "gzip"}, 415, "invalid_request"},
		{"username in the query", "POST", "/Token?username=admin", goodBody, nil, 400, "invalid_request"},
		{"everything in the query", "GET", "/Token?" + goodBody, "", nil, 400, "invalid_request"},
		{"token in the query", "POST", "/Token?a=b&token=x", goodBody, nil, 400, "invalid_request"},
		{"escaped name in the query", "POST", "/Token?%70assword", goodBody, nil, 400, "invalid_request"},
		{"upper case in the query", "POST", "/Token?Access_Token=", goodBody, nil, 400, "invalid_request"},
		{"semicolon in the query", "POST", "/Token?a;client_secret=x", goodBody, nil, 400, "invalid_request"},
		{"PUT", "PUT", "/Token", goodBody, nil, 405, "invalid_request"},
		{"PATCH", "PATCH", "/Token", goodBody, nil, 405, "invalid_request"},
		{"DELETE", "DELETE", "/Token", "", nil, 405, "invalid_request"},
		{"OPTIONS", "OPTIONS", "/Token", "", nil, 405, "invalid_request"},
		{"TRACE", "TRACE", "/Token", "", nil, 405, "invalid_request"},
		{"PUT with X-HTTP-Method-Override", "PUT", "/Token", goodBody, []string{"X-HTTP-Method-Override", "POST"}, 405, "invalid_request"},
		{"Basic authentication names the user", "POST", "/Token", grant, []string{"Authorization", basic("admin:pass word+%")}, 200, ok},
		{"Basic with colons", "POST", "/Token", grant, []string{"Authorization", basic("admin:pä:ss")}, 200, ok},
		{"Basic in ISO-8859-1", "POST", "/Token", grant, []string{"Authorization", basic("admin:p\xe4:ss")}, 200, ok},
		{"Basic scheme in lower case", "POST", "/Token", grant, []string{"Authorization", "basic" + basic("admin:pass word+%")[5:]}, 200, ok},
		{"Basic without grant type", "GET", "/Token", "", []string{"Authorization", basic("admin:pass word+%")}, 400, "invalid_request"},
		{"Basic with a wrong password", "POST", "/Token", grant, []string{"Authorization", basic("admin:x")}, 400, "invalid_grant"},
		{"Basic with an empty password", "POST", "/Token", grant, []string{"Authorization", basic("admin:")}, 400, "invalid_request"},
		{"body takes precedence over Basic", "POST", "/Token", goodBody, []string{"Authorization", basic("client:None")}, 200, ok},
		{"no fall-back to Basic", "POST", "/Token", grant + "&username=admin&password=x", []string{"Authorization", basic("admin:pass word+%")}, 400, "invalid_grant"},
		{"password only in Basic", "POST", "/Token", grant + "&username=admin", []string{"Authorization", basic("admin:pass word+%")}, 400, "invalid_request"},
		{"username only in Basic", "POST", "/Token", grant + "&password=x", []string{"Authorization", basic("admin:pass word+%")}, 400, "invalid_request"},
		{"Basic without colon", "POST", "/Token", grant, []string{"Authorization", "Basic YWRtaW4="}, 400, "invalid_request"},
		{"Basic without colon beside the user in the body", "POST", "/Token", goodBody, []string{"Authorization", "Basic YWRtaW4="}, 200, ok},
		{"Basic in bad base64", "POST", "/Token", grant, []string{"Authorization", "Basic !"}, 400, "invalid_request"},
		{"Basic in bad base64 beside the user in the body", "POST", "/Token", goodBody, []string{"Authorization", "Basic !"}, 200, ok},
		{"Basic in URL-safe base64", "POST", "/Token", grant, []string{"Authorization", "Basic Pz8_Ojo6"}, 400, "invalid_request"},
		{"Basic in URL-safe base64 beside the user in the body", "POST", "/Token", goodBody, []string{"Authorization", "Basic Pz8_Ojo6"}, 200, ok},
		{"Basic with control characters", "POST", "/Token", grant, []string{"Authorization", basic("a\r\n:b")}, 400, "invalid_request"},
		{"Basic with control characters beside the user in the body", "POST", "/Token", goodBody, []string{"Authorization", basic("a\r\n:b")}, 200, ok},
		{"Basic without credentials", "POST", "/Token", grant, []string{"Authorization", "Basic"}, 400, "invalid_request"},
		{"Basic without credentials beside the user in the body", "POST", "/Token", goodBody, []string{"Authorization", "Basic"}, 200, ok},
		{"two Authorization headers", "POST", "/Token", goodBody, []string{"Authorization", "Bearer x", "Authorization", "Bearer x"}, 400, "invalid_request"},
		{"an old bearer token", "POST", "/Token", goodBody, []string{"Authorization", "Bearer x"}, 200, ok},
		{"another scheme", "POST", "/Token", goodBody, []string{"Authorization", "Basically x"}, 200, ok},
		{"the directory is down", "POST", "/Token", grant + "&username=outage&password=x", nil, 503, "temporarily_unavailable"},
		{"a panic in the host's code", "POST", "/Token", grant + "&username=panic&password=x", nil, 500, "server_error"},
	}
	onBoth(t, tokenauth.Options{}, func(t *testing.T, h *abuseHost) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				before := h.signIn(t, goodBody)
				a := h.do(t, test.method, test.path, test.body, test.headers...)
				kept := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+before).StatusCode == 200
				if test.code == ok {
					if a.StatusCode != 200 || kept {
						t.Errorf("got %d %s, want 200; the earlier token is still valid: %v, want false", a.StatusCode, a.body, kept)
					}
					return
				}
				a.expectError(t, test.status, test.code)
				if !kept {
					t.Error("a refused request ended the earlier token")
				}
				want := map[string]string{"Allow": "", "Retry-After": "", "WWW-Authenticate": "", "Accept-Encoding": ""}
				switch test.status {
				case 405:
					want["Allow"] = "GET, POST"
				case 503:
					want["Retry-After"] = "2"
				case 415:
					want["Accept-Encoding"] = "identity"
				}
				a.expectHeaders(t, want)
				if test.code == "invalid_grant" && a.body != `{"error":"invalid_grant","error_description":"The user name or password is incorrect."}` {
					t.Errorf("body is %s, want the constant text for wrong credentials", a.body)
				}
				if test.name == "JSON" && !strings.Contains(a.body, "urlencoded") {
					t.Errorf("body is %s, want a hint to send the parameters urlencoded", a.body)
				}
			})
		}
		for _, secret := range []string{"pass word", "secret-in-a-panic", "tat_"} {
			if strings.Contains(h.log.String(), secret) {
				t.Errorf("the log contains %q: %s", secret, h.log)
			}
		}
	})
}

func TestHeadIs405AndTrailingSlashIs404(t *testing.T) {
	onBoth(t, tokenauth.Options{}, func(t *testing.T, h *abuseHost) {
		a := h.do(t, "HEAD", "/Token", "")
		if a.StatusCode != 405 || a.Header.Get("Allow") != "GET, POST" || a.body != "" {
			t.Errorf("HEAD: got %d with Allow %q and body %q, want 405 with GET, POST and no body", a.StatusCode, a.Header.Get("Allow"), a.body)
		}
		for _, method := range []string{"GET", "POST"} {
			for _, path := range []string{"/Token/", "/token/"} {
				if a := h.do(t, method, path, goodBody); a.StatusCode != 404 {
					t.Errorf("%s %s: got %d, want 404", method, path, a.StatusCode)
				}
			}
		}
	})
}

func TestDisableGETAnswers405(t *testing.T) {
	onBoth(t, tokenauth.Options{DisableGET: true}, func(t *testing.T, h *abuseHost) {
		a := h.do(t, "GET", "/Token", goodBody)
		a.expectError(t, 405, "invalid_request")
		a.expectHeaders(t, map[string]string{"Allow": "POST"})
		h.signIn(t, goodBody)
	})
}

// raw writes the parts to a connection and reads until the server closes it.
func (h *abuseHost) raw(t *testing.T, parts ...string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	for _, part := range parts {
		if _, err := io.WriteString(conn, part); err != nil {
			break
		}
	}
	all, err := io.ReadAll(conn)
	if err != nil && len(all) == 0 {
		t.Fatalf("read %q before the error %v", all, err)
	}
	return string(all)
}

func TestUnreadBodyClosesTheConnection(t *testing.T) {
	const pipelined = "GET /open HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	const head = " /Token HTTP/1.1\r\nHost: x\r\n"
	tests := []struct{ name, request, status string }{
		{"405", "PUT" + head + "Content-Length: " + fmt.Sprint(len(pipelined)) + "\r\n\r\n", "405"},
		{"413", "POST" + head + "Content-Length: 100000\r\n\r\n", "413"},
		{"413 instead of 100", "POST" + head + "Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n", "413"},
		{"413 for chunks", "POST" + head + "Transfer-Encoding: chunked\r\n\r\n2001\r\n" + strings.Repeat("a", 0x2001) + "\r\n", "413"},
		{"400 for a bad chunk", "POST" + head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "400"},
		{"405 for a body that never comes", "PUT" + head + "Content-Length: 5000\r\n\r\n", "405"},
		{"408", "POST" + head + "Content-Length: 5000\r\n\r\n", "408"},
	}
	onBoth(t, tokenauth.Options{BodyTimeout: 2 * time.Second}, func(t *testing.T, h *abuseHost) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				handled := h.handled.Load()
				all := h.raw(t, test.request, pipelined)
				if !strings.HasPrefix(all, "HTTP/1.1 "+test.status+" ") || !strings.Contains(all, "\r\nConnection: close\r\n") {
					t.Errorf("got %s, want status %s and Connection: close", all, test.status)
				}
				if strings.Count(all, "HTTP/1.1 ") != 1 || h.handled.Load() != handled {
					t.Errorf("the server took a part of the body for another request: %s", all)
				}
			})
		}
		// The deadline ends with the body: the connection stays usable.
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		reader := bufio.NewReader(conn)
		for range 2 {
			fmt.Fprintf(conn, "POST%sContent-Length: %d\r\n\r\n%s", head, len(goodBody), goodBody)
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, response.Body)
			if response.StatusCode != 200 {
				t.Errorf("got %d, want 200", response.StatusCode)
			}
		}
	})
}

func TestGuardsAnswerWithChallengeAndBody(t *testing.T) {
	const bearer = `Bearer realm="` + abuseRealm + `"`
	const denied = `"Message":"Authorization has been denied for this request."}`
	invalid := func(description string) (challenge, body string) {
		return bearer + `, error="invalid_token", error_description="` + description + `"`,
			`{"error":"invalid_token","error_description":"` + description + `",` + denied
	}
	onBoth(t, tokenauth.Options{}, func(t *testing.T, h *abuseHost) {
		replaced := h.signIn(t, goodBody)
		good := h.signIn(t, goodBody)
		const malformed = "The request needs one Authorization header with one bearer token."
		malformedChallenge := bearer + `, error="invalid_request", error_description="` + malformed + `"`
		malformedBody := `{"error":"invalid_request","error_description":"` + malformed + `","Message":"` + malformed + `"}`
		invalidChallenge, invalidBody := invalid("The access token is invalid.")
		replacedChallenge, replacedBody := invalid("The access token was replaced by a newer sign-in.")
		flipped := good[:len(good)-30] + string(good[len(good)-30]^2) + good[len(good)-29:] // not the code of a separator
		tests := []struct {
			name            string
			path            string
			headers         []string
			status          int
			challenge, body string
		}{
			{"no header", "/me", nil, 401, bearer, "{" + denied},
			{"another scheme", "/me", []string{"Authorization", "Basic YTpi"}, 401, bearer, "{" + denied},
			{"scheme that begins with Bearer", "/me", []string{"Authorization", "BearerX " + good}, 401, bearer, "{" + denied},
			{"token in the query", "/me?access_token=" + good, nil, 401, bearer, "{" + denied},
			{"token in a cookie", "/me", []string{"Cookie", "access_token=" + good}, 401, bearer, "{" + denied},
			{"proxy header", "/me", []string{"Proxy-Authorization", "Bearer " + good}, 401, bearer, "{" + denied},
			{"valid token", "/me", []string{"Authorization", "Bearer " + good}, 200, "", "admin"},
			{"scheme in lower case", "/me", []string{"Authorization", "bearer " + good}, 200, "", "admin"},
			{"several spaces", "/me", []string{"Authorization", "BEARER   " + good}, 200, "", "admin"},
			{"tab before the token", "/me", []string{"Authorization", "Bearer\t" + good}, 400, malformedChallenge, malformedBody},
			{"space and tab before the token", "/me", []string{"Authorization", "Bearer \t" + good}, 400, malformedChallenge, malformedBody},
			{"scheme without a token", "/me", []string{"Authorization", "Bearer"}, 401, bearer, "{" + denied},
			{"two tokens", "/me", []string{"Authorization", "Bearer " + good + " " + good}, 400, malformedChallenge, malformedBody},
			{"two tokens with a comma", "/me", []string{"Authorization", "Bearer " + good + ",Bearer " + good}, 400, malformedChallenge, malformedBody},
			{"two headers", "/me", []string{"Authorization", "Bearer " + good, "Authorization", "Basic YTpi"}, 400, malformedChallenge, malformedBody},
			{"header and query", "/me?access_token=x", []string{"Authorization", "Bearer " + good}, 200, "", "admin"},
			{"Optional with header and query", "/open?access_token=" + good, []string{"Authorization", "Bearer " + good}, 200, "", "admin"},
			{"malformed token", "/me", []string{"Authorization", "Bearer x"}, 401, invalidChallenge, invalidBody},
			{"token of 500 kB", "/me", []string{"Authorization", "Bearer " + strings.Repeat("a", 500_000)}, 401, invalidChallenge, invalidBody},
			{"one bit changed", "/me", []string{"Authorization", "Bearer " + flipped}, 401, invalidChallenge, invalidBody},
			{"token with padding", "/me", []string{"Authorization", "Bearer " + good + "="}, 401, invalidChallenge, invalidBody},
			{"replaced token", "/me", []string{"Authorization", "Bearer " + replaced}, 401, replacedChallenge, replacedBody},
			{"required role", "/admin", []string{"Authorization", "Bearer " + good}, 200, "", "admin"},
			{"role behind another guard", "/staff", []string{"Authorization", "Bearer " + good}, 200, "", "admin"},
			{"role without token", "/admin", nil, 401, bearer, "{" + denied},
			{"Optional without a token", "/open", nil, 200, "", "anonymous"},
			{"Optional with a replaced token", "/open", []string{"Authorization", "Bearer " + replaced}, 200, "", "anonymous"},
			{"Optional with an empty token", "/open", []string{"Authorization", "Bearer"}, 200, "", "anonymous"},
			{"Optional with a malformed header", "/open", []string{"Authorization", "Bearer x y"}, 200, "", "anonymous"},
			{"Optional with a valid token", "/open", []string{"Authorization", "Bearer " + good}, 200, "", "admin"},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				handled := h.handled.Load()
				a := h.do(t, "GET", test.path, "", test.headers...)
				if a.StatusCode != test.status || a.body != test.body {
					t.Errorf("got %d %s, want %d %s", a.StatusCode, a.body, test.status, test.body)
				}
				a.expectHeaders(t, map[string]string{"WWW-Authenticate": test.challenge, "Retry-After": ""})
				if reached := h.handled.Load() > handled; reached != (test.status == 200) {
					t.Errorf("the handler was called: %v, want %v", reached, test.status == 200)
				}
				if test.status != 200 {
					a.expectNoStore(t)
				}
			})
		}

		t.Run("role missing", func(t *testing.T) {
			reader := h.signIn(t, strings.Replace(goodBody, "admin", "reader", 1)) // the same user ID, so this replaces the admin's token
			a := h.do(t, "GET", "/admin", "", "Authorization", "Bearer "+reader)
			a.expectHeaders(t, map[string]string{"WWW-Authenticate": bearer + `, error="insufficient_scope"`})
			if a.StatusCode != 403 || !strings.HasPrefix(a.body, `{"error":"insufficient_scope",`) || !strings.HasSuffix(a.body, denied) {
				t.Errorf("without the role: got %d %s, want 403 insufficient_scope", a.StatusCode, a.body)
			}
		})
		t.Run("storage failure", func(t *testing.T) {
			good := h.signIn(t, goodBody)
			h.storage.meet(fails)
			for _, path := range []string{"/me", "/admin", "/open"} {
				handled := h.handled.Load()
				a := h.do(t, "GET", path, "", "Authorization", "Bearer "+good)
				a.expectHeaders(t, map[string]string{"WWW-Authenticate": "", "Retry-After": "2"})
				if a.StatusCode != 503 || strings.Contains(a.body, "10.0.0.7") || h.handled.Load() != handled {
					t.Errorf("GET %s while the storage fails: got %d %s, want 503", path, a.StatusCode, a.body)
				}
			}
			h.do(t, "POST", "/Token", goodBody).expectError(t, 503, "temporarily_unavailable")
			h.storage.meet(func(context.Context, string) error { return tokenauth.ErrCorrupt })
			if a := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+good); a.StatusCode != 401 {
				t.Errorf("GET /me with a corrupt row: got %d, want 401", a.StatusCode)
			}
			h.storage.meet(func(context.Context, string) error { panic("secret-in-a-panic") })
			if a := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+good); a.StatusCode != 500 || !a.Close {
				t.Errorf("GET /me with a panic in the storage: got %d with Close %v, want 500 with true", a.StatusCode, a.Close)
			}
			h.storage.meet(nil)
			if a := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+good); a.StatusCode != 200 {
				t.Errorf("GET /me after the failures: got %d, want 200", a.StatusCode)
			}
			if strings.Contains(h.log.String(), "secret-in-a-panic") || strings.Contains(h.log.String(), good) {
				t.Errorf("the log contains a secret: %s", h.log)
			}
		})
		t.Run("expired", func(t *testing.T) {
			good := h.signIn(t, goodBody)
			h.wait(start.Truncate(time.Second).Add(14*24*time.Hour - time.Nanosecond).Sub(h.time()))
			if a := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+good); a.StatusCode != 200 {
				t.Errorf("a nanosecond before the token expires: got %d, want 200", a.StatusCode)
			}
			h.wait(time.Nanosecond)
			challenge, body := invalid("The access token has expired.")
			a := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+good)
			a.expectHeaders(t, map[string]string{"WWW-Authenticate": challenge})
			if a.StatusCode != 401 || a.body != body {
				t.Errorf("after the token expired: got %d %s, want 401 %s", a.StatusCode, a.body, body)
			}
		})
	})
}
