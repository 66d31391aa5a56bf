package examples_test

import (
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

// hostRequires are the oldest versions that a host can keep when it imports this
// module. The comments in go.mod say why older ones do not work.
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
	run := throwaway.Module(t, "..", hostRequires, map[string]string{"host.go": hostImports})
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
			t.Errorf("the import changes %s from %s to %s", module, version, got)
		}
	}
}
