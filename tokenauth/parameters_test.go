package tokenauth_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// The Authenticator gets the further parameters by their names as listed, and
// nothing else. The endpoint bounds them like its own.
func TestFurtherParameters(t *testing.T) {
	t.Parallel()
	const credentials = "grant_type=password&username=alice&password=right"
	const invalid = "invalid_request"
	long := strings.Repeat("x", 1024)
	for name, test := range map[string]struct {
		query, further, want string // want is a description of the error, or "" for none
		parameters           map[string]string
	}{
		"none":                   {parameters: map[string]string{}},
		"two":                    {further: "&OTP=123+456&device.Code=%C3%B6", parameters: map[string]string{"OTP": "123 456", "device.code": "ö"}},
		"in another case":        {further: "&otp=123456", parameters: map[string]string{"OTP": "123456"}},
		"empty":                  {further: "&otp=&device.code", parameters: map[string]string{}},
		"not listed":             {further: "&recovery=x&otp2=x", parameters: map[string]string{}},
		"a line break":           {further: "&otp=a%0Ab", parameters: map[string]string{"OTP": "a\nb"}},
		"1024 bytes":             {further: "&otp=" + long, parameters: map[string]string{"OTP": long}},
		"1025 bytes":             {further: "&otp=x" + long, want: "A parameter has more than 1024 bytes."},
		"twice":                  {further: "&otp=1&otp=1", want: "A parameter is given twice."},
		"twice in another case":  {further: "&otp=1&OTP=1", want: "A parameter is given twice."},
		"twice, the first empty": {further: "&otp=&otp=1", want: "A parameter is given twice."},
		"NUL":                    {further: "&otp=1%00", want: "The parameters have control characters."},
		"not UTF-8":              {further: "&otp=%ff", want: "The parameters are not UTF-8."},
		"in the query":           {query: "?otp=1", want: "Credentials belong in the body, never in the query."},
		"in the query, escaped":  {query: "?x&Device%2ECode", further: "&otp=1", want: "Credentials belong in the body, never in the query."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got map[string]tokenauth.Secret
			users := authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
				got = c.Parameters
				if text := fmt.Sprintf("%v %+v %#v", c, &c, c); strings.Contains(text, "123") {
					t.Errorf("the parameters are printed: %s", text)
				}
				return alice(), nil
			})
			auth := newService(t, new(memory.Store), users, &tokenauth.Options{Parameters: []string{"OTP", "device.code"}})
			r := httptest.NewRequest("POST", "/Token"+test.query, strings.NewReader(credentials+test.further))
			w := httptest.NewRecorder()
			auth.TokenHandler().ServeHTTP(w, r)
			if test.want != "" {
				if body := w.Body.String(); w.Code != http.StatusBadRequest || !strings.Contains(body, invalid) || !strings.Contains(body, test.want) || got != nil {
					t.Errorf("got %d %s, want 400 %s", w.Code, body, test.want)
				}
				return
			}
			revealed := make(map[string]string)
			for name, value := range got {
				revealed[name] = value.Reveal()
			}
			if w.Code != http.StatusOK || !maps.Equal(revealed, test.parameters) {
				t.Errorf("got %d with the parameters %q, want 200 with %q", w.Code, revealed, test.parameters)
			}
		})
	}
}

// Without the option, the endpoint ignores every further parameter, also twice
// and in the query.
func TestUnknownParametersAreIgnored(t *testing.T) {
	t.Parallel()
	users := authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
		if len(c.Parameters) > 0 {
			t.Errorf("got the parameters %v, want none", c.Parameters)
		}
		return alice(), nil
	})
	auth := newService(t, new(memory.Store), users, nil)
	r := httptest.NewRequest("POST", "/Token?otp=1", strings.NewReader("grant_type=password&username=alice&password=right&otp=1&otp=2"))
	w := httptest.NewRecorder()
	auth.TokenHandler().ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		t.Errorf("got %d %s, want 200", w.Code, w.Body)
	}
}
