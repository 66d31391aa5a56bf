package ginadapter_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// sources is an Authenticator that sends the client address of each sign-in to
// its channel.
type sources chan netip.Addr

func (s sources) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	s <- c.RemoteAddr
	return tokenauth.Principal{}, tokenauth.ErrRejected
}

// Gin trusts every proxy by default. The Service trusts only the proxies in
// Options.TrustedProxies, and ignores Gin's setting.
func TestTrustsOnlyTheServicesProxies(t *testing.T) {
	t.Parallel()
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, test := range map[string]struct {
		trusted   []netip.Prefix
		forwarded []string
		want      string
	}{
		"no trusted proxy":                   {nil, []string{"203.0.113.9"}, "127.0.0.1"},
		"one trusted proxy":                  {loopback, []string{"203.0.113.9"}, "203.0.113.9"},
		"address forged by the client":       {loopback, []string{"10.9.9.9, 203.0.113.9"}, "203.0.113.9"},
		"two header lines of two proxies":    {loopback, []string{"203.0.113.9", "127.0.0.2"}, "203.0.113.9"},
		"last entry is not an address":       {loopback, []string{"203.0.113.9, unknown"}, "127.0.0.1"},
		"trusted proxy sends no header":      {loopback, nil, "127.0.0.1"},
		"IPv4 address in the notation of v6": {loopback, []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := make(sources, 1)
			auth, err := tokenauth.New(new(memory.Store), seen, &tokenauth.Options{TrustedProxies: test.trusted, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			r := gin.Default()
			ginadapter.Mount(r, auth)
			request := httptest.NewRequest("POST", "/Token", strings.NewReader("grant_type=password&username=alice&password=x"))
			request.RemoteAddr = "127.0.0.1:4711"
			for _, name := range []string{"X-Real-IP", "CF-Connecting-IP"} {
				request.Header.Set(name, "198.51.100.1")
			}
			request.Header.Set("Forwarded", "for=198.51.100.1")
			request.Header["X-Forwarded-For"] = test.forwarded
			w := httptest.NewRecorder()
			r.ServeHTTP(w, request)
			if w.Code != http.StatusBadRequest {
				t.Fatalf("sign-in with a wrong password: got %d %s, want 400", w.Code, w.Body)
			}
			if got := <-seen; got != netip.MustParseAddr(test.want) {
				t.Errorf("Credentials.RemoteAddr is %v, want %v", got, test.want)
			}
		})
	}
}
