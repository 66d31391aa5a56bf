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

// sent has the values of a token request.
type sent struct{ userName, password, device, deviceName, otp, recovery string }

// referenceParse parses a token request rule by rule, as the contract states it. It
// shares no code with the service. The argument devices says whether the parameter
// "device" names the device, and further whether there are the parameters "OTP" and
// "recovery.code". It returns the values, or false.
func referenceParse(r *http.Request, body []byte, devices, further bool) (v sent, ok bool) {
	if r.Method != "GET" && r.Method != "POST" {
		return v, false
	}
	query := strings.NewReplacer(";", "&").Replace(r.URL.RawQuery)
	for _, pair := range strings.Split(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if unescaped, err := url.QueryUnescape(name); err == nil {
			name = unescaped
		}
		secrets := []string{"grant_type", "username", "password", "client_id", "client_secret", "token", "access_token"}
		if further {
			secrets = append(secrets, "otp", "recovery.code")
		}
		if slices.Contains(secrets, asciiLower(name)) {
			return v, false
		}
	}
	if len(body) > 8192 || strings.Contains(string(body[:min(4, len(body))]), "\x00") {
		return v, false
	}
	pairs := slices.DeleteFunc(strings.Split(strings.TrimPrefix(string(body), "\ufeff"), "&"), func(pair string) bool { return pair == "" })
	if len(pairs) > 32 {
		return v, false
	}
	values := make(map[string][]string)
	for _, pair := range pairs {
		for name, value := range lenient(pair) {
			if !utf8.ValidString(name+value[0]) || strings.ContainsFunc(name, unicode.IsControl) || strings.Contains(value[0], "\x00") || strings.HasPrefix(name, "\ufeff") {
				return v, false
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
	once := []string{"grant_type", "username", "password", "client_id", "client_secret"}
	if devices {
		once = append(once, "device", "device_name")
		v.device, v.deviceName = one("device"), one("device_name")
	}
	if further {
		once = append(once, "otp", "recovery.code")
		v.otp, v.recovery = one("otp"), one("recovery.code")
	}
	for _, name := range once {
		if len(values[name]) > 1 {
			return v, false
		}
	}
	v.userName, v.password = one("username"), one("password")
	if basic := r.Header.Get("Authorization"); v.userName == "" && v.password == "" && strings.EqualFold(basic[:min(6, len(basic))], "Basic ") {
		v.userName, v.password, _ = r.BasicAuth()
		if !utf8.ValidString(v.userName + v.password) {
			latin1 := func(s string) string {
				var b strings.Builder
				for i := range len(s) {
					b.WriteRune(rune(s[i]))
				}
				return b.String()
			}
			v.userName, v.password = latin1(v.userName), latin1(v.password)
		}
	}
	printable := func(r rune) bool { return r >= 0x20 && r <= 0x7E }
	ok = one("grant_type") == "password" && v.userName != "" && v.password != "" && len(v.userName) <= 256 &&
		!strings.ContainsFunc(v.userName, unicode.IsControl) &&
		len(v.device) <= 64 && strings.IndexFunc(v.device, func(r rune) bool { return !printable(r) }) < 0 &&
		len(v.otp) <= 1024 && len(v.recovery) <= 1024 &&
		len(v.deviceName) <= 100 && !strings.ContainsFunc(v.deviceName, unicode.IsControl)
	return v, ok
}

// For any bytes that a client sends, the service reads the same values as
// referenceParse does, or refuses the request. That holds with and without the
// parameters of a device, and with further parameters.
func FuzzTokenRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /Token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 43\r\n\r\ngrant_type=password&username=u&password=p%2B",
		"POST /Token?utm=1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2b\r\ngrant_type=password&UserName=u&password=p+q\r\n0\r\n\r\n",
		"POST /Token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dTpw\r\nContent-Length: 19\r\n\r\ngrant_type=password",
		"POST /Token?password=x HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"POST /Token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic dToK\r\nContent-Length: 19\r\n\r\ngrant_type=password",
		"POST /Token HTTP/1.1\r\nHost: x\r\nAuthorization: Basic undefined\r\nContent-Length: 48\r\n\r\n\ufeffgrant_type=password&username=u;v&password=%zz",
		"POST /Token?device=x HTTP/1.1\r\nHost: x\r\nContent-Length: 77\r\n\r\ngrant_type=password&username=u&password=p&Device=phone&DEVICE_NAME=Zo%C3%AB&x",
		"POST /Token HTTP/1.1\r\nHost: x\r\nContent-Length: 60\r\n\r\ngrant_type=password&username=u&password=p&device=a&device=%0A",
		"POST /Token HTTP/1.1\r\nHost: x\r\nContent-Length: 74\r\n\r\ngrant_type=password&username=u&password=p&otp=123456&Recovery%2ECode=a+b%01",
		"POST /Token?recovery.code=x HTTP/1.1\r\nHost: x\r\nContent-Length: 53\r\n\r\ngrant_type=password&username=u&password=p&otp=1&OTP=1",
		"POST /Token HTTP/1.0\r\nContent-Length: 50\r\n\r\ngrant_type=password&username=%ff&password=p&a;b=c&&",
	} {
		f.Add([]byte(seed))
	}
	var services [3]*Service
	for i, o := range []Options{{}, {Devices: &DeviceOptions{Parameter: "device"}}, {Parameters: []string{"OTP", "recovery.code"}}} {
		s, err := New(listedStorage{}, anyAuthenticator{}, &o)
		if err != nil {
			f.Fatal(err)
		}
		services[i] = s
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
		for i, s := range services {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			request, err := s.readTokenRequest(httptest.NewRecorder(), r)
			want, ok := referenceParse(r, body, i == 1, i == 2)
			if err != nil {
				// referenceParse does not check the headers that the service
				// refuses, and accepts more kinds of Basic authentication.
				var refusal *ErrorResponse
				if ok && !(errors.As(err, &refusal) && (refusal.Description == wire.AuthorizationMalformed && r.Header.Get("Authorization") != "" || refusal.early && (r.Header.Get("Content-Encoding") != "" || r.Header.Get("Content-Type") != ""))) {
					t.Errorf("refused %q: %v", raw, err)
				}
				continue
			}
			c := &request.credentials
			if got := (sent{c.UserName, c.Password.Reveal(), c.Device, c.DeviceName, c.Parameters["OTP"].Reveal(), c.Parameters["recovery.code"].Reveal()}); !ok || got != want {
				t.Errorf("read %q from %q, want %q, %v", got, raw, want, ok)
			}
			if c.ClientID != "" {
				t.Errorf("read the client ID %q, want none", c.ClientID)
			}
		}
	})
}

// listedStorage is an anyStorage that is a [Lister], which devices need.
type listedStorage struct{ anyStorage }

func (listedStorage) List(context.Context, UserKey) ([]Token, error) { return nil, nil }

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
