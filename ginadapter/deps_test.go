package ginadapter_test

import (
	"os/exec"
	"strings"
	"testing"
)

// A host that imports the adapter compiles Gin and package tokenauth. It does not
// compile databases, storages, metrics, traces or the OpenAPI description.
func TestImportsOnlyGinAndTheCore(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		for _, part := range []string{"gorm", "database/sql", "redis", "/storage/", "sqlite", "pgx", "prometheus", "opentelemetry", "openapi", "/password", "embed"} {
			if strings.Contains(path, part) {
				t.Errorf("ginadapter imports %s, directly or indirectly", path)
			}
		}
	}
	if !strings.Contains(string(out), "github.com/gin-gonic/gin\n") {
		t.Error("go list does not name Gin, so this test would miss other imports too")
	}
}
