package throwaway

import (
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// nginx can reach a Unix socket in a folder of the test, also if root runs the
// test.
func TestNginxPassesRequestsToASocketOfTheTest(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "socket")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	backend := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("X-From")+" "+r.RequestURI)
	})}
	go backend.Serve(listener)
	t.Cleanup(func() { backend.Close() })

	var url string
	t.Run("while its test runs", func(t *testing.T) {
		url = Nginx(t, `location / { proxy_pass http://unix:`+socket+`; proxy_set_header X-From $from; proxy_cache z; }`,
			`map $host $from { default nginx; }`, `proxy_cache_path cache keys_zone=z:1m;`)
		if !strings.HasPrefix(url, "http://127.0.0.1:") {
			t.Errorf("nginx listens on %s, want 127.0.0.1", url)
		}
		response, err := http.Get(url + "/a?b")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, _ := io.ReadAll(response.Body); string(body) != "nginx /a?b" {
			t.Errorf("nginx answers %d %s, want the answer of the backend", response.StatusCode, body)
		}
	})
	if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
		t.Error("nginx still listens after its test")
	}
}

// An invalid configuration fails the test, with nginx's message.
func TestNginxWithAnInvalidConfigurationFailsTheTest(t *testing.T) {
	t.Parallel()
	Nginx(t, "") // skips the test if nginx is not installed
	r := record(t, func(tb testing.TB) { Nginx(tb, "proxy_pas x;") })
	if r.skipped != "" || !strings.Contains(r.failed, `unknown directive "proxy_pas"`) {
		t.Errorf("skipped with %q, failed with %q", r.skipped, r.failed)
	}
}

func TestMissingNginxSkipsUnlessRequired(t *testing.T) {
	uninstall(t)
	for _, require := range []string{"", "postgres", "nginx"} {
		t.Setenv("TOKENAUTH_REQUIRE", require)
		r := record(t, func(tb testing.TB) { Nginx(tb, "") })
		if (r.failed != "") != (require == "nginx") || !strings.Contains(r.skipped+r.failed, "apt-get install nginx-light") {
			t.Errorf("with TOKENAUTH_REQUIRE=%q: skipped with %q, failed with %q", require, r.skipped, r.failed)
		}
	}
}
