package tokenauth

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"
)

func TestCrossSiteFollowsTheBrowsersHeaders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		host          string
		fetch, origin []string
		want          bool
	}{
		{host: "api.example.com"},
		{host: "api.example.com", fetch: []string{"same-origin"}},
		{host: "api.example.com", fetch: []string{"none"}},
		{host: "api.example.com", fetch: []string{"cross-site"}, want: true},
		{host: "api.example.com", fetch: []string{"same-site"}, want: true},
		{host: "api.example.com", fetch: []string{""}, want: true},
		{host: "api.example.com", fetch: []string{"same-origin", "cross-site"}, want: true},
		// Sec-Fetch-Site takes precedence over Origin: a proxy may have changed
		// the host.
		{host: "10.0.0.7:8080", fetch: []string{"same-origin"}, origin: []string{"https://api.example.com"}},
		{host: "api.example.com", origin: []string{"https://api.example.com"}},
		{host: "API.example.com", origin: []string{"https://api.EXAMPLE.com"}},
		{host: "api.example.com:443", origin: []string{"https://api.example.com"}},
		{host: "api.example.com:80", origin: []string{"http://api.example.com"}},
		{host: "api.example.com", origin: []string{"https://api.example.com:443"}},
		{host: "api.example.com:8443", origin: []string{"https://api.example.com:8443"}},
		{host: "[::1]:8080", origin: []string{"http://[::1]:8080"}},
		{host: "api.example.com", origin: []string{"https://api.example.com:8443"}, want: true},
		{host: "api.example.com:443", origin: []string{"http://api.example.com"}, want: true},
		{host: "api.example.com", origin: []string{"https://evil.example"}, want: true},
		{host: "api.example.com", origin: []string{"https://api.example.com.evil.example"}, want: true},
		{host: "api.example.com", origin: []string{"null"}, want: true},
		{host: "api.example.com", origin: []string{""}, want: true},
		{host: "api.example.com", origin: []string{"%"}, want: true},
		{host: "", origin: []string{"null"}, want: true}, // a proxy may remove Host
		{host: "api.example.com", origin: []string{"https://api.example.com", "https://api.example.com"}, want: true},
	} {
		r := httptest.NewRequest("POST", "/Token", nil)
		r.Host = test.host
		if test.fetch != nil {
			r.Header["Sec-Fetch-Site"] = test.fetch
		}
		if test.origin != nil {
			r.Header["Origin"] = test.origin
		}
		if got := crossSite(r); got != test.want {
			t.Errorf("host %s, Sec-Fetch-Site %q, Origin %q: %v, want %v", test.host, test.fetch, test.origin, got, test.want)
		}
	}
}

// An attacker on the network can write a page with the host's name over plain
// HTTP. Browsers send no Sec-Fetch-Site with the handshake of its WebSocket.
func TestPlainOriginIsAnotherSiteForTLS(t *testing.T) {
	t.Parallel()
	for origin, want := range map[string]bool{
		"https://api.example.com": false,
		"http://api.example.com":  true,
		"http://api.example.com:": true,
	} {
		r := httptest.NewRequest("GET", "/feed", nil)
		r.Host, r.TLS = "api.example.com", new(tls.ConnectionState)
		r.Header.Set("Origin", origin)
		if got := crossSite(r); got != want {
			t.Errorf("over TLS, Origin %s: %v, want %v", origin, got, want)
		}
	}
}
