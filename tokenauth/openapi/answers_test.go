package openapi_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A call is a request and its expected response.
type call struct {
	status int
	name   string // of the example; "" for bodies that differ each time
	body   string
	header http.Header
	query  string
	method string // replaces the method of the operation
	raw    string // replaces headers and body
	slow   bool   // the body never arrives
}

// TestAnswers checks both directions: each response of the running service is in
// the description, and the service sends each response in the description.
func TestAnswers(t *testing.T) {
	t.Parallel()
	everything := tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect", Issuer: "https://api.example.com"}
	without := everything
	without.Introspection = ""
	for name, on := range mounts {
		for _, test := range []struct {
			name string
			o    tokenauth.Options
			e    tokenauth.Endpoints
		}{
			{"one application", tokenauth.Options{}, without},
			{"clients", tokenauth.Options{Clients: registry{}, ResponseAttributes: []string{"tenant", "absent"}, Realm: "staff", Lifetime: 90 * time.Minute}, everything},
			{"devices", tokenauth.Options{Devices: &tokenauth.DeviceOptions{Parameter: "Installation"}}, tokenauth.Endpoints{}},
			{"clients with devices", tokenauth.Options{Clients: registry{}, Devices: &tokenauth.DeviceOptions{Parameter: "device"}}, tokenauth.Endpoints{}},
			{"further parameters", tokenauth.Options{Clients: registry{}, Parameters: []string{"otp", "Recovery.Code"}}, everything},
			{"refresh tokens", tokenauth.Options{Refresh: new(tokenauth.RefreshOptions)}, without},
			{"clients with refresh tokens", tokenauth.Options{Clients: registry{}, Refresh: &tokenauth.RefreshOptions{Prefix: "r_"}, Lifetime: 15 * time.Minute}, everything},
			{"API keys", tokenauth.Options{Keys: new(tokenauth.KeyOptions)}, without},
			{"POST only", tokenauth.Options{DisableGET: true}, tokenauth.Endpoints{Token: []string{"/oauth/token"}}},
		} {
			t.Run(name+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				test.o.BodyTimeout = time.Second
				h := newHost(t, on, test.o, test.e, nil)
				c := newChecker(t, h)
				paths := c.doc["paths"].(map[string]any)
				for _, path := range slices.DeleteFunc([]string{"/Token", "/token", "/oauth/token"}, func(p string) bool { return paths[p] == nil }) {
					for _, method := range []string{"post", "get"} {
						if at(c.doc, "paths", path, method) != nil {
							c.token(path, method)
						}
					}
				}
				if test.e.Revocation != "" {
					c.revocation()
				}
				if test.e.Introspection != "" {
					c.introspection()
				}
				if test.e.Issuer != "" {
					c.metadata()
				}
				c.protected()
				c.allSeen()
			})
		}
	}
}

// A checker compares responses of a host with its description.
type checker struct {
	*testing.T
	h    *host
	doc  map[string]any
	v    validator.Validator
	seen map[string]bool // "post /Token 400 invalid_grant"
}

func newChecker(t *testing.T, h *host) *checker {
	t.Helper()
	parsed, err := libopenapi.NewDocument(h.d.JSON())
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(parsed)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return &checker{t, h, document(t, h.d.JSON()), v, make(map[string]bool)}
}

func (c *checker) try(path, method string, calls ...call) {
	c.Helper()
	for _, call := range calls {
		r, response := c.send(path, method, call)
		body := readAll(c.T, response)
		what := fmt.Sprintf("%s %s %+v", method, path, call)
		if response.StatusCode != call.status {
			c.Errorf("%s: got %d %s", what, response.StatusCode, body)
			continue
		}
		c.check(what, r, response, path, method, call, body)
	}
}

func (c *checker) send(path, method string, call call) (*http.Request, *http.Response) {
	c.Helper()
	var reader io.Reader = strings.NewReader(call.body)
	if call.slow {
		pipe, w := io.Pipe()
		defer w.Close()
		reader = pipe
	}
	sent := strings.ToUpper(method)
	if call.method != "" {
		sent = call.method
	}
	r, err := http.NewRequestWithContext(c.Context(), sent, c.h.url+path+call.query, reader)
	if err != nil {
		c.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, values := range call.header {
		r.Header[name] = values
	}
	if call.raw != "" {
		return r, c.sendRaw(r, call.raw)
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		c.Fatal(err)
	}
	return r, response
}

func (c *checker) sendRaw(r *http.Request, rest string) *http.Response {
	c.Helper()
	conn, err := net.Dial("tcp", r.URL.Host)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", r.Method, r.URL.Path, r.URL.Host, rest)
	response, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		c.Fatal(err)
	}
	return response
}

func (c *checker) check(what string, r *http.Request, response *http.Response, path, method string, call call, body string) {
	c.Helper()
	// A method that is not allowed has no operation. The operations of the path
	// describe its response.
	r.Method = strings.ToUpper(method)
	response.Body = io.NopCloser(strings.NewReader(body))
	if ok, errs := c.v.ValidateHttpResponse(r, response); !ok {
		for _, err := range errs {
			c.Errorf("%s: the response does not match the description: %v; %s", what, err, body)
		}
		return
	}
	status := fmt.Sprint(call.status)
	described := at(c.doc, "paths", path, method, "responses", status)
	c.checkHeaders(what, response.Header, described)
	examples, _ := at(c.doc, "paths", path, method, "responses", status, "content", "application/json", "examples").(map[string]any)
	if call.name == "" {
		for name := range examples {
			c.seen[strings.Join([]string{method, path, status, name}, " ")] = true
		}
		return
	}
	want := at(c.doc, "paths", path, method, "responses", status, "content", "application/json", "examples", call.name, "value")
	var got any
	if err := json.Unmarshal([]byte(body), &got); err != nil || !reflect.DeepEqual(got, want) {
		c.Errorf("%s: got %s, want the example %v", what, body, want)
	}
	c.seen[strings.Join([]string{method, path, status, call.name}, " ")] = true
}

// checkHeaders checks that the described headers are sent with the described
// values, and that no relevant header is sent undescribed.
func (c *checker) checkHeaders(what string, got http.Header, response any) {
	c.Helper()
	headers, _ := at(response, "headers").(map[string]any)
	for name := range headers {
		header := deref(c.doc, headers[name])
		schema, _ := at(header, "schema").(map[string]any)
		value := got.Get(name)
		if constant, ok := schema["const"]; ok && value != constant {
			c.Errorf("%s: got the header %s: %q, described as %q", what, name, value, constant)
		}
		if values, ok := schema["enum"].([]any); ok && !slices.Contains(values, any(value)) {
			c.Errorf("%s: got the header %s: %q, described as one of %q", what, name, value, values)
		}
		if value == "" {
			c.Errorf("%s: the header %s is described but not sent", what, name)
		}
	}
	for _, name := range []string{"Cache-Control", "Pragma", "X-Content-Type-Options", "WWW-Authenticate", "Retry-After", "Allow", "Accept-Encoding"} {
		if got.Get(name) != "" && headers[name] == nil {
			c.Errorf("%s: the header %s is sent but not described", what, name)
		}
	}
}

// allSeen fails for each described response that no call received.
func (c *checker) allSeen() {
	c.Helper()
	paths, _ := c.doc["paths"].(map[string]any)
	for path, item := range paths {
		for method := range item.(map[string]any) {
			responses, _ := at(c.doc, "paths", path, method, "responses").(map[string]any)
			for status := range responses {
				examples, _ := at(c.doc, "paths", path, method, "responses", status, "content", "application/json", "examples").(map[string]any)
				for name := range examples {
					if key := strings.Join([]string{method, path, status, name}, " "); !c.seen[key] && !neverHere(path, status, name) {
						c.Errorf("no call received the described response %s", key)
					}
				}
			}
		}
	}
}

// neverHere reports whether a described response is tested elsewhere: /admin and
// /reports send the same ones as /me, except 403. A 403 for a client needs a route
// for certain clients.
func neverHere(path, status, name string) bool {
	return path == "/reports" && status != "200" || path == "/admin" && (status != "403" || name == "client")
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

func basic(user, pass string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass))}}
}

// badForms returns the calls that every endpoint with a form rejects. The
// argument valid is a valid form without the client's credentials.
func (c *checker) badForms(valid, parameter string) []call {
	client := ""
	if c.h.clients {
		client = "&" + form("client_id", "client", "client_secret", c.h.secret)
	}
	calls := []call{
		{status: 400, name: "not_urlencoded", body: `{"grant_type":"password"}`},
		{status: 400, name: "credentials_in_query", body: valid, query: "?Token=x"},
		{status: 400, name: "long_query", body: valid, query: "?" + strings.Repeat("x", 8193)},
		{status: 400, name: "doubled_parameter", body: valid + "&" + strings.ToUpper(parameter) + "=x"},
		{status: 400, name: "too_many_parameters", body: strings.Repeat("x=y&", 33)},
		{status: 400, name: "control_characters", body: valid + "&x%01=y"},
		{status: 400, name: "not_utf8", body: valid + "&x=%ff"},
		{status: 400, name: "not_utf8", body: valid + "&x=\xe9", header: http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=iso-8859-1"}}},
		{status: 400, name: "byte_order_mark", body: valid + "&\ufeffx=y"},
		{status: 400, name: "no_body", raw: "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		{status: 400, name: "authorization", body: valid, header: http.Header{"Authorization": {"Basic ?", "Basic ?"}}},
		{status: 400, name: "unreadable_body", raw: "Transfer-Encoding: chunked\r\n\r\nnot a chunk\r\n"},
		{status: 408, name: "timeout", slow: true},
		{status: 413, name: "too_large", body: strings.Repeat("x", 8193)},
		{status: 413, name: "over_limit", body: valid, header: http.Header{limitHeader: {"10"}}},
		{status: 415, name: "encoded", body: valid, header: http.Header{"Content-Encoding": {"gzip"}}},
		{status: 405, name: "method_not_allowed", method: "PUT"},
		{status: 405, name: "method_not_allowed", method: "DELETE"},
	}
	if c.h.clients {
		calls = append(calls, call{status: 400, name: "client_twice", body: valid + client, header: basic("client", c.h.secret)})
	}
	return calls
}

func (c *checker) token(path, method string) {
	c.Helper()
	user := func(name, password string) string {
		pairs := []string{"grant_type", "password", "username", name, "password", password}
		if c.h.clients {
			pairs = append(pairs, "client_id", "client", "client_secret", c.h.secret)
		}
		return form(pairs...)
	}
	valid := form("grant_type", "password", "username", "alice", "password", "password")
	c.try(path, method, c.badForms(valid, "username")...)
	c.try(path, method,
		call{status: 200, body: user("alice", "password")},
		call{status: 200, body: user("alice", "password"), header: http.Header{"Content-Type": {"application/json"}}},
		call{status: 400, name: "invalid_grant", body: user("alice", "guess "+path+method)},
		call{status: 400, name: "invalid_grant", body: user("nobody", "guess "+path+method)},
		call{status: 400, name: "unsupported_grant_type", body: "grant_type=client_credentials"},
		call{status: 400, name: "no_grant_type"},
		call{status: 400, name: "no_username", body: "grant_type=password&password=x"},
		call{status: 400, name: "no_password", body: "grant_type=password&username=x"},
		call{status: 400, name: "long_username", body: form("grant_type", "password", "password", "x", "username", strings.Repeat("x", 257))},
		call{status: 400, name: "control_in_username", body: form("grant_type", "password", "password", "x", "username", "a\tb")},
		call{status: 500, name: "server_error", body: user("panic", "x")},
		call{status: 503, name: "unavailable", body: user("outage", "x")},
	)
	if o := c.h.auth.Options(); o.Devices != nil {
		device, name := o.Devices.Parameter, o.Devices.Parameter+"_name"
		with := func(pairs ...string) string { return user("alice", "password") + "&" + form(pairs...) }
		c.try(path, method,
			call{status: 200, body: with(device, "phone", name, "Zoë's phone")},
			call{status: 200, body: with(device, "", name, "")}, // as the page sends empty fields
			call{status: 400, name: "device", body: with(device, strings.Repeat("x", 65))},
			call{status: 400, name: "device_name", body: with(device, "phone", name, strings.Repeat("x", 101))},
		)
	}
	if o := c.h.auth.Options(); len(o.Parameters) > 0 {
		with := func(pairs ...string) string { return user("alice", "password") + "&" + form(pairs...) }
		c.try(path, method,
			call{status: 200, body: with("OTP", "123456", "recovery.code", "Zoë's")},
			call{status: 200, body: with("otp", "", "Recovery.Code", "")}, // as the page sends empty fields
			call{status: 400, name: "long_parameter", body: with("otp", strings.Repeat("x", 1025))},
			call{status: 400, name: "doubled_parameter", body: with("otp", "123456", "OTP", "123456")},
			call{status: 400, name: "credentials_in_query", query: "?recovery.code=x", body: with("otp", "123456")},
		)
	}
	if c.h.auth.Options().Refresh != nil {
		with := func(refreshToken string) string {
			return strings.Replace(user("alice", "password"), "grant_type=password", form("grant_type", "refresh_token", "refresh_token", refreshToken), 1)
		}
		issued := c.issued("alice", "client")
		c.try(path, method,
			call{status: 200, body: with(issued.RefreshToken)},
			call{status: 200, body: with(issued.RefreshToken)},                     // a repetition
			call{status: 200, body: user("alice", "password") + "&refresh_token="}, // as the page sends empty fields
			call{status: 400, name: "invalid_refresh_token", body: with(issued.RefreshToken)},
			call{status: 400, name: "invalid_refresh_token", body: with("guess")},
			call{status: 400, name: "no_refresh_token", body: with("")},
			call{status: 400, name: "credentials_in_query", query: "?refresh_token=x", body: with("x")},
		)
	}
	if c.h.clients {
		c.try(path, method,
			call{status: 200, body: valid, header: basic("client", c.h.secret)},
			call{status: 200, body: valid + "&client_id=public"},
			call{status: 400, name: "invalid_client", body: valid + "&client_id=nobody"},
			call{status: 400, name: "invalid_client", body: valid},
			call{status: 401, name: "invalid_client", body: valid, header: basic("client", "guess")},
			call{status: 503, name: "unavailable", body: valid + "&client_id=outage"},
		)
	}
	for i := range 20 {
		r, response := c.send(path, method, call{body: user("guessed", fmt.Sprint(i, path, method))})
		body := readAll(c.T, response)
		if response.StatusCode == http.StatusTooManyRequests {
			c.check("throttled", r, response, path, method, call{status: 429, name: "throttled"}, body)
			return
		}
	}
	c.Errorf("%s %s: 20 wrong passwords were not throttled", method, path)
}

// signIn returns an access token.
func (c *checker) signIn(user, client string) string {
	c.Helper()
	return c.issued(user, client).AccessToken
}

type issued struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
}

func (c *checker) issued(user, client string) (answer issued) {
	c.Helper()
	body := form("grant_type", "password", "username", user, "password", "password")
	if c.h.clients {
		body += "&" + form("client_id", client, "client_secret", c.h.secret)
	}
	path := "/Token"
	if at(c.doc, "paths", path) == nil {
		path = "/oauth/token"
	}
	_, response := c.send(path, "post", call{body: body})
	if text := readAll(c.T, response); json.Unmarshal([]byte(text), &answer) != nil || answer.AccessToken == "" {
		c.Fatalf("sign-in: got status %d", response.StatusCode)
	}
	return answer
}

func (c *checker) about(token, client string) string {
	if !c.h.clients {
		return form("token", token)
	}
	return form("token", token, "client_id", client, "client_secret", c.h.secret)
}

// tokenForm makes the calls that revocation and introspection share.
func (c *checker) tokenForm(path, token string) {
	c.Helper()
	c.try(path, "post", c.badForms(form("token", token), "token")...)
	c.try(path, "post", call{status: 400, name: "no_token", body: strings.Replace(c.about(token, "client"), "token=", "other=", 1)})
	c.h.storage.fails.Store(true)
	c.try(path, "post", call{status: 503, name: "unavailable", body: c.about(token, "client")})
	c.h.storage.fails.Store(false)
	c.h.storage.panics.Store(true)
	c.try(path, "post", call{status: 500, name: "server_error", body: c.about(token, "client")})
	c.h.storage.panics.Store(false)
	if c.h.clients {
		c.try(path, "post",
			call{status: 400, name: "invalid_client", body: form("token", token)},
			call{status: 400, name: "invalid_client", body: form("token", token, "client_id", "client", "client_secret", "guess")},
			call{status: 401, name: "invalid_client", body: form("token", token), header: basic("client", "guess")},
		)
	}
}

func (c *checker) revocation() {
	c.Helper()
	const path = "/revoke"
	token := c.signIn("bob", "client")
	c.tokenForm(path, token)
	if c.h.clients {
		c.try(path, "post", call{status: 400, name: "unauthorized_client", body: c.about(token, "other")})
	}
	if c.h.auth.Options().Refresh != nil {
		c.try(path, "post", call{status: 200, name: "revoked", body: c.about(c.issued("bob", "client").RefreshToken, "client")})
	}
	c.try(path, "post",
		call{status: 200, name: "revoked", body: c.about(token, "client")},
		call{status: 200, name: "revoked", body: c.about(token, "client")},
		call{status: 200, name: "revoked", body: c.about("never was one", "client")},
	)
}

func (c *checker) introspection() {
	c.Helper()
	const path = "/introspect"
	token := c.signIn("carol", "client")
	c.tokenForm(path, token)
	if c.h.auth.Options().Refresh != nil {
		refreshToken := c.issued("frank", "client").RefreshToken
		c.try(path, "post",
			call{status: 200, body: c.about(refreshToken, "client") + "&token_type_hint=refresh_token"},
			call{status: 200, body: c.about(refreshToken, "resource") + "&token_type_hint=refresh_token"},
			call{status: 200, name: "inactive", body: c.about(refreshToken, "client")},
		)
	}
	c.try(path, "post",
		call{status: 200, body: c.about(token, "client")},
		call{status: 200, body: c.about(token, "resource")},
		call{status: 200, name: "inactive", body: c.about("never was one", "client")},
		call{status: 200, name: "inactive", body: c.about(c.signIn("carol", "other"), "client")},
		call{status: 400, name: "unauthorized_client", body: c.about(token, "other")},
		call{status: 400, name: "invalid_client", body: form("token", token, "client_id", "public")},
		call{status: 401, name: "invalid_client", body: form("token", token), header: basic("public", "")},
	)
}

func (c *checker) metadata() {
	c.Helper()
	const path = "/.well-known/oauth-authorization-server"
	c.try(path, "get", call{status: 200, name: "metadata"}, call{status: 405, method: "POST"})
}

// key returns an API key of the user with the access token.
func (c *checker) key(accessToken string) string {
	c.Helper()
	owner, err := c.h.auth.Validate(c.Context(), accessToken)
	if err != nil {
		c.Fatal(err)
	}
	keys, err := tokenauth.NewKeys(c.h.auth)
	if err != nil {
		c.Fatal(err)
	}
	key, _, err := keys.Create(c.Context(), owner, tokenauth.Key{Name: "a script"})
	if err != nil {
		c.Fatal(err)
	}
	return key.Reveal()
}

func (c *checker) protected() {
	c.Helper()
	bearer := func(tokens ...string) http.Header {
		var lines []string
		for _, token := range tokens {
			lines = append(lines, "Bearer "+token)
		}
		return http.Header{"Authorization": lines}
	}
	replaced := c.signIn("dave", "client")
	token := c.signIn("dave", "client")
	c.try("/me", "get",
		call{status: 200, header: bearer(token)},
		call{status: 400, name: "malformed", header: bearer(token, token)},
		call{status: 401, name: "none"},
		call{status: 401, name: "invalid", header: bearer("x")},
		call{status: 401, name: "replaced", header: bearer(replaced)},
	)
	c.try("/admin", "get", call{status: 403, name: "role", header: bearer(token)}, call{status: 401, name: "none"})
	if c.h.auth.Options().Keys != nil {
		key := c.key(token)
		c.try("/admin", "get", call{status: 403, name: "key", header: bearer(key)})
		c.try("/reports", "get", call{status: 200, header: bearer(key)}, call{status: 200, header: bearer(token)}, call{status: 401, name: "none"})
	}
	c.h.storage.fails.Store(true)
	c.try("/me", "get", call{status: 503, name: "unavailable", header: bearer(token)})
	c.h.storage.fails.Store(false)
	c.h.storage.panics.Store(true)
	c.try("/me", "get", call{status: 500, name: "server_error", header: bearer(token)})
	c.h.storage.panics.Store(false)
	c.h.ahead.Store(int64(15 * 24 * time.Hour))
	c.try("/me", "get", call{status: 401, name: "expired", header: bearer(token)})
}
