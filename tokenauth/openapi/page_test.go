package openapi_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/openapi"
	"github.com/bearerkit/bearerkit/tokenauth/tokenauthtest"
)

func get(t *testing.T, h http.Handler, method, path, acceptEncoding string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Accept-Encoding", acceptEncoding)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

var assetLink = regexp.MustCompile(`(?:href|src)="([^":,]+)"`)

func TestPageHasSafeHeadersAndFiles(t *testing.T) {
	t.Parallel()
	page := mustDescribe(t, nil, tokenauth.Endpoints{}, &openapi.Options{Title: "Reports <script>"}).Page()
	response := get(t, page, "GET", "/docs/", "")
	html := readAll(t, response)
	for name, want := range map[string]string{
		"Content-Type":           "text/html; charset=utf-8",
		"Cache-Control":          "no-store",
		"X-Content-Type-Options": "nosniff",
		"Referrer-Policy":        "no-referrer",
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
			"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("got %s: %q, want %q", name, got, want)
		}
	}
	if strings.Contains(html, "<script>") || !strings.Contains(html, "<title>Reports &lt;script&gt;</title>") {
		t.Errorf("the title is not escaped: %s", html)
	}

	links := assetLink.FindAllStringSubmatch(html, -1)
	if len(links) < 5 {
		t.Fatalf("got the links %v, want at least 5", links)
	}
	for _, link := range links {
		name := link[1]
		if name == "openapi.json" {
			continue
		}
		plain := get(t, page, "GET", "/docs/"+name, "")
		zipped := get(t, page, "GET", "/docs/"+name, "br, gzip;q=0.5")
		if got := plain.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
			t.Errorf("%s: got Cache-Control %q", name, got)
		}
		if plain.Header.Get("Content-Encoding") != "" || zipped.Header.Get("Content-Encoding") != "gzip" || zipped.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: got Content-Encoding %q without and %q with gzip accepted", name, plain.Header.Get("Content-Encoding"), zipped.Header.Get("Content-Encoding"))
		}
		if got := readAll(t, zipped); len(got) == 0 || gunzip(t, strings.NewReader(got)) != readAll(t, plain) {
			t.Errorf("%s: the plain and the unpacked gzip body differ", name)
		}
		for _, refused := range []string{"identity", "gzip;q=0", "gzip;q=none", "x-gzip"} {
			if got := get(t, page, "GET", "/docs/"+name, refused).Header.Get("Content-Encoding"); got != "" {
				t.Errorf("%s: got Content-Encoding %q for Accept-Encoding %s", name, got, refused)
			}
		}
	}
}

// The Vary header of a guard in front of the page is kept beside the page's own.
func TestPageKeepsVaryOfGuard(t *testing.T) {
	t.Parallel()
	auth := tokenauthtest.New(t, nil)
	d, err := openapi.New(auth.Service, tokenauth.Endpoints{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	guarded := auth.RequireBearer(d.Page())
	r := auth.As(tokenauth.Principal{UserID: "17", UserName: "alice"}, httptest.NewRequest("GET", "/docs/", nil))
	w := httptest.NewRecorder()
	guarded.ServeHTTP(w, r)
	if got := strings.Join(w.Header()["Vary"], ", "); w.Code != 200 || got != "Authorization, Accept-Encoding" {
		t.Errorf("got %d, Vary: %s", w.Code, got)
	}
}

func gunzip(t *testing.T, r io.Reader) string {
	t.Helper()
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The relative links of the page work at any path.
func TestPagePaths(t *testing.T) {
	t.Parallel()
	d := mustDescribe(t, nil, tokenauth.Endpoints{}, nil)
	page := d.Page()
	for path, want := range map[string]struct {
		status   int
		location string
	}{
		"/":                       {200, ""},
		"/docs/":                  {200, ""},
		"/a/b/docs/":              {200, ""},
		"/docs":                   {308, "./docs/"},
		"/a/b/docs":               {308, "./docs/"},
		"//example.com":           {404, ""},
		"//example":               {308, "./example/"},
		"/docs/page.css":          {404, ""}, // without its hash
		"/docs/openapi.json":      {200, ""},
		"/docs/../assets/page.js": {404, ""},
	} {
		response := get(t, page, "GET", path, "")
		if response.StatusCode != want.status || response.Header.Get("Location") != want.location {
			t.Errorf("%s: got %d %q, want %v", path, response.StatusCode, response.Header.Get("Location"), want)
		}
	}
	if got := readAll(t, get(t, page, "GET", "/docs/openapi.json", "")); got != string(d.JSON()) {
		t.Error("openapi.json beside the page differs from the description")
	}
	if got := get(t, page, "POST", "/docs/", ""); got.StatusCode != 405 || got.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d, want 405", got.StatusCode)
	}
}

// Besides the host itself, the page may call only Options.Server.
func TestPageCallsServer(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{
		"":                               "connect-src 'self';",
		"/v1":                            "connect-src 'self';",
		"https://api.example.com:444/v1": "connect-src 'self' https://api.example.com:444;",
	} {
		page := mustDescribe(t, nil, tokenauth.Endpoints{}, &openapi.Options{Server: server}).Page()
		if got := get(t, page, "GET", "/docs/", "").Header.Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("server %q: got the policy %s", server, got)
		}
	}
}

// The embedded files equal those of the npm package, byte for byte.
func TestEmbeddedFilesMatchNPMPackage(t *testing.T) {
	t.Parallel()
	from := nodeModule(t, "swagger-ui-dist")
	for _, name := range []string{"swagger-ui.css", "swagger-ui-bundle.js", "LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"} {
		want, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if b, err := os.ReadFile(filepath.Join("assets", name)); err == nil {
			got = string(b)
		} else if b, err := os.ReadFile(filepath.Join("assets", name+".gz")); err == nil {
			got = gunzip(t, bytes.NewReader(b))
		}
		if got != string(want) {
			t.Errorf("assets/%s differs from the npm package; run go generate", name)
		}
	}
}

// nodeModule returns the folder of an npm package. It skips the test if the
// package is not installed.
func nodeModule(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join("testdata", "node_modules", name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		throwaway.Need(t, "chromium", errors.New("needs npm packages; to get them: npm ci --prefix tokenauth/openapi/testdata"))
	} else if err != nil {
		t.Fatal(err)
	}
	return dir
}
