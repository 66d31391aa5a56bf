package tokenauth_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/bearerkit/bearerkit"
	self   = module + "/tokenauth"
)

// leaves are the packages that tokenauth itself may import. They must not
// import tokenauth.
var leaves = []string{self + "/event", self + "/place", self + "/throttle", self + "/internal"}

// goList runs go list and returns the words of its output.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

// below reports whether a package is one of roots, or in a folder below one.
func below(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// A host that imports tokenauth, or a package below it, compiles the packages
// listed here and no others.
func TestPackagesImportOnlyWhatIsListed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pkg string
		allowed   []string // besides the standard library, the leaves and has
		has       []string // must be imported; if go list misses one, the test proves nothing
	}{
		{"the core needs only the standard library", self, nil, []string{self}},
		{
			"passwords add x/crypto with its dependencies, and Unicode normalization", self + "/password",
			[]string{"golang.org/x/crypto", "golang.org/x/sys", "golang.org/x/text/transform", "golang.org/x/text/unicode/norm"},
			[]string{self, self + "/password", "golang.org/x/crypto/argon2"},
		},
		{"OpenAPI adds nothing", self + "/openapi", nil, []string{self, self + "/openapi"}},
		{
			"metrics add Prometheus' client with its dependencies", self + "/prommetrics",
			[]string{
				"github.com/beorn7/perks", "github.com/cespare/xxhash/v2", "github.com/munnerz/goautoneg",
				"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_model/go",
				"github.com/prometheus/common/expfmt", "github.com/prometheus/common/internal", "github.com/prometheus/common/model", "github.com/prometheus/procfs",
				"golang.org/x/sys", "google.golang.org/protobuf",
			},
			[]string{self, self + "/prommetrics", "github.com/prometheus/client_golang/prometheus"},
		},
		{
			"spans add OpenTelemetry's API with its dependencies", self + "/oteltrace",
			[]string{
				"go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/internal",
				"go.opentelemetry.io/otel/trace", "github.com/cespare/xxhash/v2",
			},
			[]string{self, self + "/oteltrace", "go.opentelemetry.io/otel/trace"},
		},
		{
			"tokenauthtest adds a storage", self + "/tokenauthtest", nil,
			[]string{self, self + "/tokenauthtest", module + "/storage/memory"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			foreign := goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", test.pkg)
			for _, path := range foreign {
				if !below(path, slices.Concat(test.allowed, leaves)) && !slices.Contains(test.has, path) {
					t.Errorf("imports %s, which is not allowed", path)
				}
			}
			for _, path := range test.has {
				if !slices.Contains(foreign, path) {
					t.Errorf("go list does not name %s, so the test proves nothing: %v", path, foreign)
				}
			}
		})
	}
}

// The core does not import the packages below it that hosts use.
func TestCoreImportsOnlyItsLeaves(t *testing.T) {
	t.Parallel()
	imports := goList(t, "-f", `{{join .Imports "\n"}}`, self)
	for _, path := range imports {
		if domain, _, _ := strings.Cut(path, "/"); strings.Contains(domain, ".") && !below(path, leaves) {
			t.Errorf("imports %s, want only the standard library and its leaves", path)
		}
	}
	if !slices.Contains(imports, "net/http") {
		t.Errorf("go list does not name net/http, so the test proves nothing: %v", imports)
	}
}

// Package testing registers flags, which do not belong in a host's binary.
func TestNoPackageImportsTesting(t *testing.T) {
	t.Parallel()
	packages := []string{self, self + "/password", self + "/openapi", self + "/prommetrics", self + "/oteltrace"}
	deps := goList(t, append([]string{"-deps"}, packages...)...)
	for _, path := range deps {
		if below(path, []string{"testing"}) {
			t.Errorf("imports %s", path)
		}
	}
	for _, path := range packages {
		if !slices.Contains(deps, path) {
			t.Errorf("go list does not name %s, so the test proves nothing: %v", path, deps)
		}
	}
}
