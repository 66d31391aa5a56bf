package tokenauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A login handler of the host answers with the status, the code, the
// description and the headers of the token endpoint.
func TestErrorResponseOfIsThatOfTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		users, storage error
		clientID       string
		before         int // sign-ins with wrong passwords
		want           int
	}{
		"wrong password":    {tokenauth.ErrRejected, nil, "app", 0, 400},
		"throttled":         {tokenauth.ErrRejected, nil, "app", 20, 429},
		"unknown client":    {nil, nil, "nobody", 0, 400},
		"too many sign-ins": {tokenauth.ErrBusy, nil, "app", 0, 503},
		"failed look-up":    {io.ErrUnexpectedEOF, nil, "app", 0, 503},
		"failed storage":    {nil, io.ErrUnexpectedEOF, "app", 0, 503},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
			storage := &scripted{before: func(context.Context, string) error { return test.storage }}
			auth := newService(t, storage, &staff{err: test.users}, &tokenauth.Options{
				Clients: registry{}, Now: func() time.Time { return now },
			})
			client := "&client_secret=s3cret&client_id=" + test.clientID
			for i := range test.before {
				post(auth, "", fmt.Sprint("grant_type=password&username=alice&password=", i, client))
			}
			want := post(auth, "", passwordGrant+client)
			var body struct {
				Code        string `json:"error"`
				Description string `json:"error_description"`
			}
			if err := json.Unmarshal(want.Body.Bytes(), &body); err != nil || want.Code != test.want {
				t.Fatalf("the token endpoint answers %d %s, want %d; error %v", want.Code, want.Body, test.want, err)
			}

			c := auth.RequestCredentials(httptest.NewRequest("POST", "/login", nil))
			c.UserName, c.Password = "alice", tokenauth.NewSecret("secret")
			c.ClientID, c.ClientSecret = test.clientID, tokenauth.NewSecret("s3cret")
			_, err := auth.SignIn(t.Context(), c)
			e := tokenauth.ErrorResponseOf(err)
			if e == nil || !errors.Is(e, err) {
				t.Fatalf("ErrorResponseOf(%v) is %v", err, e)
			}
			if e.Status != want.Code || e.Code != body.Code || e.Description != body.Description {
				t.Errorf("got %v, want %d %+v", e, want.Code, body)
			}
			got := make(http.Header)
			e.SetHeaders(got)
			for _, name := range []string{"Cache-Control", "Pragma", "Retry-After", "WWW-Authenticate"} {
				if got.Get(name) != want.Header().Get(name) {
					t.Errorf("%s is %q, want %q", name, got.Get(name), want.Header().Get(name))
				}
			}
			if (e.RetryAfter > 0) != (test.want > 400) {
				t.Errorf("RetryAfter is %d with status %d", e.RetryAfter, e.Status)
			}
		})
	}
}

// ErrorResponseOf accepts any error, since a host passes on what it got.
func TestErrorResponseOfAnyError(t *testing.T) {
	t.Parallel()
	if e := tokenauth.ErrorResponseOf(nil); e != nil {
		t.Errorf("of nil: %v", e)
	}
	auth := newService(t, new(memory.Store), new(staff), &tokenauth.Options{Devices: new(tokenauth.DeviceOptions)})
	_, badDevice := auth.SignIn(t.Context(), tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret("right"), Device: "\n"})
	_, refusal := auth.Authorizer(tokenauth.Requirement{})(httptest.NewRequest("GET", "/", nil))
	for _, test := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("sign-in: %w", tokenauth.ErrRejected), 400, "invalid_grant"},
		{tokenauth.ErrInvalidToken, 401, "invalid_token"},
		{tokenauth.ErrExpiredToken, 401, "invalid_token"},
		{tokenauth.ErrReplacedToken, 401, "invalid_token"},
		{tokenauth.ErrInvalidPrincipal, 500, "server_error"},
		{&tokenauth.ThrottledError{RetryAfter: time.Minute}, 429, "temporarily_unavailable"},
		{context.Canceled, 503, "temporarily_unavailable"},
		{io.EOF, 503, "temporarily_unavailable"},
		{refusal, 401, ""},
		{fmt.Errorf("sign-in: %w", badDevice), 400, "invalid_request"},
	} {
		e := tokenauth.ErrorResponseOf(test.err)
		if e.Status != test.status || e.Code != test.code || !errors.Is(e, test.err) {
			t.Errorf("of %v: %d %q", test.err, e.Status, e.Code)
		}
		if test.err != error(refusal) && e.Challenge != "" {
			t.Errorf("of %v: challenge %q, want none", test.err, e.Challenge)
		}
	}
}

// A login handler of the host gets the same address and the same mark as the
// token endpoint, so both count for the same source.
func TestRequestCredentialsAreThoseOfTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	var seen tokenauth.Credentials
	auth := newService(t, new(scripted), authenticatorFunc(func(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
		seen = c
		return alice(), nil
	}), &tokenauth.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	for _, test := range []struct {
		peer      string
		header    http.Header
		addr      string
		crossSite bool
	}{
		{"192.0.2.1:1234", nil, "192.0.2.1", false},
		{"192.0.2.1:1234", http.Header{"X-Forwarded-For": {"198.51.100.7"}}, "192.0.2.1", false},
		{"127.0.0.1:1234", http.Header{"X-Forwarded-For": {"203.0.113.9, 198.51.100.7"}}, "198.51.100.7", false},
		{"192.0.2.1:1234", http.Header{"Sec-Fetch-Site": {"cross-site"}}, "192.0.2.1", true},
		{"192.0.2.1:1234", http.Header{"Origin": {"https://elsewhere.example"}}, "192.0.2.1", true},
		{"@", nil, "invalid IP", false},
	} {
		r := httptest.NewRequest("POST", "/Token", strings.NewReader(passwordGrant))
		r.RemoteAddr = test.peer
		for name, lines := range test.header {
			r.Header[name] = lines
		}
		got := auth.RequestCredentials(r)
		if got.RemoteAddr.String() != test.addr || got.CrossSite != test.crossSite {
			t.Errorf("from %s with %v: %v, cross-site: %v; want %s, %v", test.peer, test.header, got.RemoteAddr, got.CrossSite, test.addr, test.crossSite)
		}
		auth.TokenHandler().ServeHTTP(httptest.NewRecorder(), r)
		if seen.RemoteAddr != got.RemoteAddr || seen.CrossSite != got.CrossSite {
			t.Errorf("from %s with %v: the token endpoint sees %v, cross-site: %v", test.peer, test.header, seen.RemoteAddr, seen.CrossSite)
		}
	}
	for _, r := range []*http.Request{nil, new(http.Request)} {
		if c := auth.RequestCredentials(r); c.RemoteAddr.IsValid() || c.CrossSite {
			t.Errorf("of an empty request: %v, cross-site: %v", c.RemoteAddr, c.CrossSite)
		}
	}
}
