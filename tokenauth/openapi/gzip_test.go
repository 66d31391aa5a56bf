package openapi_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// gin-contrib/gzip in front compresses what the page's handler would compress, too.
// The metrics are those of Prometheus' own handler, which the guide tells about.
//
// The host is a module of its own: gin-contrib/gzip requires a newer Gin.
func TestPageBehindGinContribGzip(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"v1.2.2", "v1.2.5"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			program, err := os.ReadFile("testdata/gzip/main.go")
			if err != nil {
				t.Fatal(err)
			}
			sums, err := os.ReadFile("../../go.sum")
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{
				"go.mod": fmt.Sprintf("module host\n\ngo 1.26.0\n\nreplace github.com/bearerkit/bearerkit => %q\n\nrequire (\ngithub.com/bearerkit/bearerkit v0.0.0\ngithub.com/gin-contrib/gzip %s\n)\n", root, version),
				"go.sum": string(sums), "main.go": string(program),
			} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run := func(args ...string) ([]byte, error) {
				cmd := exec.CommandContext(t.Context(), "go", args...)
				cmd.Dir = dir
				return cmd.CombinedOutput()
			}
			if out, err := run("list", "-mod=mod", "-deps", "."); err != nil {
				throwaway.Need(t, "modules", fmt.Errorf("needs a module proxy, or what it has in the module cache: go list: %w\n%s", err, out))
			}
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
					t.Errorf("it does not say %q:\n%s", line, out)
				}
			}
		})
	}
}
