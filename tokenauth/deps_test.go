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

// leaves are the packages that the core is made of. They import nothing of it.
var leaves = []string{self + "/event", self + "/throttle", self + "/internal"}

// goList runs go list and returns its words.
func goList(t *testing.T, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...).Output()
	if err != nil {
		t.Fatalf("go list %v: %v", args, err)
	}
	return strings.Fields(string(out))
}

// below reports whether a package is one of the given ones or in a folder of
// theirs.
func below(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}

// A host that embeds the core, or a package below it, compiles what is listed
// here and no more.
func TestPackagesImportOnlyWhatIsListed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pkg string
		allowed   []string // beside the standard library and what is of this module
		has       []string // what must be listed, or the list tells nothing; all that is of this module
	}{
		{"the core is standard library only", self, nil, []string{self}},
		{
			"passwords add x/crypto and what that needs, and Unicode's forms", self + "/password",
			[]string{"golang.org/x/crypto", "golang.org/x/sys", "golang.org/x/text/transform", "golang.org/x/text/unicode/norm"},
			[]string{self, self + "/password", "golang.org/x/crypto/argon2"},
		},
		{"the description and its page add nothing", self + "/openapi", nil, []string{self, self + "/openapi"}},
		{
			"metrics add Prometheus' client and what that needs", self + "/prommetrics",
			[]string{
				"github.com/beorn7/perks", "github.com/cespare/xxhash/v2", "github.com/munnerz/goautoneg",
				"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_model/go",
				"github.com/prometheus/common/expfmt", "github.com/prometheus/common/internal", "github.com/prometheus/common/model", "github.com/prometheus/procfs",
				"golang.org/x/sys", "google.golang.org/protobuf",
			},
			[]string{self, self + "/prommetrics", "github.com/prometheus/client_golang/prometheus"},
		},
		{
			"spans add OpenTelemetry's API and what that needs", self + "/oteltrace",
			[]string{
				"go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes", "go.opentelemetry.io/otel/internal",
				"go.opentelemetry.io/otel/trace", "github.com/cespare/xxhash/v2",
			},
			[]string{self, self + "/oteltrace", "go.opentelemetry.io/otel/trace"},
		},
		{
			"what is for tests adds a storage", self + "/tokenauthtest", nil,
			[]string{self, self + "/tokenauthtest", module + "/storage/memory"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			foreign := goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", test.pkg)
			for _, path := range foreign {
				if !below(path, slices.Concat(test.allowed, leaves)) && !slices.Contains(test.has, path) {
					t.Errorf("imports %s", path)
				}
			}
			for _, path := range test.has {
				if !slices.Contains(foreign, path) {
					t.Errorf("the list lacks %s, so it tells nothing: %v", path, foreign)
				}
			}
		})
	}
}

// The core does not import the packages below it that are for hosts.
func TestCoreImportsOnlyItsLeaves(t *testing.T) {
	t.Parallel()
	imports := goList(t, "-f", `{{join .Imports "\n"}}`, self)
	for _, path := range imports {
		if domain, _, _ := strings.Cut(path, "/"); strings.Contains(domain, ".") && !below(path, leaves) {
			t.Errorf("imports %s", path)
		}
	}
	if !slices.Contains(imports, "net/http") {
		t.Errorf("the list lacks net/http, so it tells nothing: %v", imports)
	}
}

// Package testing registers flags and has no business in a host's binary.
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
			t.Errorf("the list lacks %s, so it tells nothing: %v", path, deps)
		}
	}
}
