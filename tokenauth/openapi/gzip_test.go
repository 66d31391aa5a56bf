package openapi_test

import (
	"os"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// The page works behind gin-contrib/gzip, although both compress. The handler of
// Prometheus compresses, too, and is garbled unless its compression is disabled.
//
// The host is its own module, because gin-contrib/gzip requires a newer Gin.
func TestPageBehindGinContribGzip(t *testing.T) {
	t.Parallel()
	program, err := os.ReadFile("testdata/gzip/main.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"v1.2.2", "v1.2.5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			run := throwaway.Module(t, "../..", "github.com/gin-contrib/gzip "+version, map[string]string{"main.go": string(program)})
			out, err := run("run", ".")
			if err != nil {
				t.Fatalf("go run: %v\n%s", err, out)
			}
			for _, line := range []string{
				"/openapi.json is the same unpacked", "/docs/ is the same unpacked",
				"/docs/swagger-ui.css is the same unpacked", "/docs/swagger-ui-bundle.js is the same unpacked",
				"/docs/page.css is the same unpacked", "/docs/page.js is the same unpacked",
				"/Token is the same", "/me is the same",
				"/metrics is garbled", "/metrics-plain is the same unpacked",
				"/openapi.json again is 304",
			} {
				if !strings.Contains(string(out), line) {
					t.Errorf("the output lacks %q:\n%s", line, out)
				}
			}
		})
	}
}
