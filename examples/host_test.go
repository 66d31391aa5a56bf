package examples_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// A host that requires these versions keeps them when it imports this module.
// The comments in go.mod say why not older ones.
const hostRequires = `
github.com/gin-gonic/gin v1.9.1
github.com/go-sql-driver/mysql v1.8.1
github.com/jackc/pgx/v5 v5.5.5
github.com/prometheus/client_golang v1.19.1
github.com/redis/rueidis v1.0.74
go.opentelemetry.io/otel v1.20.0
go.opentelemetry.io/otel/trace v1.20.0
gorm.io/driver/mysql v1.5.7
gorm.io/driver/postgres v1.5.11
gorm.io/gorm v1.25.12
`

const hostImports = `package host

import (
	_ "github.com/bearerkit/bearerkit/ginadapter"
	_ "github.com/bearerkit/bearerkit/storage/gormstore"
	_ "github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	_ "github.com/bearerkit/bearerkit/storage/redisstore"
	_ "github.com/bearerkit/bearerkit/tokenauth"
	_ "github.com/bearerkit/bearerkit/tokenauth/oteltrace"
	_ "github.com/bearerkit/bearerkit/tokenauth/password"
	_ "github.com/bearerkit/bearerkit/tokenauth/prommetrics"
	_ "go.opentelemetry.io/otel"
	_ "gorm.io/driver/mysql"
	_ "gorm.io/driver/postgres"
)
`

func TestHostKeepsItsVersions(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":  fmt.Sprintf("module host\n\ngo 1.26.0\n\nreplace github.com/bearerkit/bearerkit => %q\n\nrequire (\ngithub.com/bearerkit/bearerkit v0.0.0%s)\n", root, hostRequires),
		"go.sum":  string(sums),
		"host.go": hostImports,
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
	if out, err := run("build", "."); err != nil {
		t.Errorf("go build: %v\n%s", err, out)
	}
	for required := range strings.Lines(strings.TrimSpace(hostRequires)) {
		module, version, _ := strings.Cut(strings.TrimSpace(required), " ")
		out, err := run("list", "-m", "-f", "{{.Version}}", module)
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, out)
		}
		if got := strings.TrimSpace(string(out)); got != version {
			t.Errorf("%s %s becomes %s", module, version, got)
		}
	}
}
