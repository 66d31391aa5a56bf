package ginadapter_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A host that mounts the adapter compiles Gin and the core: no database, no
// metrics, no traces, no page.
func TestImportsOnlyGinAndTheCore(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		for _, part := range []string{"gorm", "database/sql", "redis", "/storage/", "sqlite", "pgx", "prometheus", "opentelemetry", "openapi", "/password", "embed"} {
			if strings.Contains(path, part) {
				t.Errorf("imports %s", path)
			}
		}
	}
	if !strings.Contains(string(out), "github.com/gin-gonic/gin\n") {
		t.Error("the list of imports lacks Gin, so it tells nothing")
	}
}
