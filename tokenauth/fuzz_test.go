package tokenauth

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// referenceParse parses a token request rule by rule, as the contract states it. It
// shares no code with the service. It returns the user name and the password,
// or false.
func referenceParse(r *http.Request, body []byte) (userName, password string, ok bool) {
	if r.Method != "GET" && r.Method != "POST" {
		return "", "", false
	}
	query := strings.NewReplacer(";", "&").Replace(r.URL.RawQuery)
	for _, pair := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if unescaped, err := url.QueryUnescape(name); err == nil {
			name = unescaped
		}
		for _, secret := range []string{"grant_type", "username", "password", "client_id", "client_secret", "token", "access_token"} {
			if asciiLower(name) == secret {
				return "", "", false
			}
		}
	}
	if len(body) > 8192 || strings.Contains(string(body[:min(4, len(body))]), "\x00") {
		return "", "", false
	}
	pairs := slices.DeleteFunc(strings.Split(strings.TrimPrefix(string(body), "\ufeff"), "&"), func(pair string) bool { return pair == "" })
	if len(pairs) > 32 {
		return "", "", false
	}
	values := make(map[string][]string)
	for _, pair := range pairs {
		for name, value := range lenient(pair) {
			if !utf8.ValidString(name+value[0]) || strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(value[0], "\x00") || strings.HasPrefix(name, "\ufeff") {
				return "", "", false
			}
			values[asciiLower(name)] = append(values[asciiLower(name)], value...)
		}
	}
	one := func(name string) string {
		if len(values[name]) == 1 {
			return values[name][0]
		}
		return ""
	}
	for _, name := range []string{"grant_type", "username", "password", "client_id", "client_secret"} {
		if len(values[name]) > 1 {
			return "", "", false
		}
	}
	userName, password = one("username"), one("password")
	if basic := r.Header.Get("Authorization"); userName == "" && password == "" && strings.EqualFold(basic[:min(6, len(basic))], "Basic ") {
		userName, password, _ = r.BasicAuth()
		if !utf8.ValidString(userName + password) {
			latin1 := func(s string) string {
				var b strings.Builder
				for i := range len(s) {
					b.WriteRune(rune(s[i]))
				}
				return b.String()
			}
			userName, password = latin1(userName), latin1(password)
		}
	}
	ok = one("grant_type") == "password" && userName != "" && password != "" && len(userName) <= 256 &&
		!strings.ContainsFunc(userName, unicode.IsControl)
	return userName, password, ok
}

// For any bytes that a client sends, the service reads the same user name and
// password as referenceParse does, or refuses the request.
func FuzzTokenRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /Token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 43\r\n\r\ngrant_type=password&username=u&password=p%2B",
		"POST /Token?utm=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2b\r\ngrant_type=password&UserName=u&password=p+q\r\n0\r\n\r\n",
		"POST /Token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dTpw\r\nContent-Length: 19\r\n\r\ngrant_type=password",
		"POST /Token?password=x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"POST /Token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dToK\r\nContent-Length: 19\r\n\r\ngrant_type=password",
		"POST /Token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic undefined\r\nContent-Length: 48\r\n\r\n\ufeffgrant_type=password&username=u;v&password=%zz",
		"POST /Token HTTP/1.0\r\nContent-Length: 50\r\n\r\ngrant_type=password&username=%ff&password=p&a;b=c&&",
	} {
		f.Add([]byte(seed))
	}
	s, err := New(anyStorage{}, anyAuthenticator{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		request, err := s.readTokenRequest(httptest.NewRecorder(), r)
		userName, password, ok := referenceParse(r, body)
		if err != nil {
			// referenceParse does not check the headers that the service
			// refuses, and accepts more kinds of Basic authentication.
			var refusal *ErrorResponse
			if ok && !(errors.As(err, &refusal) && (refusal.Description == wire.AuthorizationMalformed && r.Header.Get("Authorization") != "" || refusal.early && (r.Header.Get("Content-Encoding") != "" || r.Header.Get("Content-Type") != ""))) {
				t.Errorf("refused %q: %v", raw, err)
			}
			return
		}
		c := &request.credentials
		if !ok || c.UserName != userName || c.Password.Reveal() != password {
			t.Errorf("read %q and %q from %q, want %q and %q, %v", c.UserName, c.Password.Reveal(), raw, userName, password, ok)
		}
		if c.ClientID != "" {
			t.Errorf("read the client ID %q, want none", c.ClientID)
		}
	})
}

// An error response contains constants only: nothing that a client or a driver
// said.
func FuzzErrorResponse(f *testing.F) {
	f.Add("canary", "POST", "/Token?canary=1", "grant_type=password&username=canary&password=canary", "Basic Y2FuYXJ5")
	f.Add("<script>", "GET", "/me", "", "Bearer canary")
	f.Add("\xff\x00\"\\", "PUT", "/Token", "canary", "")
	f.Fuzz(func(t *testing.T, cause, method, target, body, authorization string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		s, err := New(anyStorage{}, failingUsers(cause), nil)
		if err != nil {
			t.Fatal(err)
		}
		mux := http.NewServeMux()
		s.Mount(mux)
		mux.Handle("/me", s.RequireBearer(http.NotFoundHandler()))
		r := httptest.NewRequest("GET", "/", strings.NewReader(body))
		r.Method, r.URL = method, u
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		s.TokenHandler().ServeHTTP(w, r)
		known := []string{
			wire.InvalidRequest, wire.InvalidGrant, wire.UnsupportedGrantType, wire.TemporarilyUnavailable, wire.ServerError,
		}
		var answer struct {
			Error       string `json:"error"`
			Description string `json:"error_description"`
		}
		decoder := json.NewDecoder(w.Body)
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&answer); err != nil || !slices.Contains(known, answer.Error) || answer.Description == "" {
			t.Fatalf("the response to %s %s is %+v, error %v", method, target, answer, err)
		}
		for _, said := range []string{cause, body, authorization} {
			if len(said) > 12 && strings.Contains(answer.Description, said) {
				t.Errorf("the response repeats %q: %s", said, answer.Description)
			}
		}
	})
}

// failingUsers is an Authenticator that fails with the given text.
type failingUsers string

func (s failingUsers) Authenticate(context.Context, Credentials) (Principal, error) {
	return Principal{}, errors.New(string(s))
}
