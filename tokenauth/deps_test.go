package tokenauth_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const self = "github.com/bearerkit/bearerkit/tokenauth"

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

// A host that embeds the core compiles what is listed here and no more.
func TestImports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pkg string
		allowed   []string // beside the standard library
		has       []string // what must be listed, or the list tells nothing
	}{
		{"the core is standard library only", self, []string{self}, []string{self}},
		{
			"passwords add x/crypto and what that needs", self + "/password",
			[]string{self, "golang.org/x/crypto", "golang.org/x/sys"},
			[]string{self, self + "/password", "golang.org/x/crypto/argon2"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			foreign := goList(t, "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", test.pkg)
			for _, path := range foreign {
				if !below(path, test.allowed) {
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

// The core itself does not know the packages below it either.
func TestCoreImportsNothingOfThisModule(t *testing.T) {
	t.Parallel()
	imports := goList(t, "-f", `{{join .Imports "\n"}}`, self)
	for _, path := range imports {
		if domain, _, _ := strings.Cut(path, "/"); strings.Contains(domain, ".") {
			t.Errorf("imports %s", path)
		}
	}
	if !slices.Contains(imports, "net/http") {
		t.Errorf("the list lacks net/http, so it tells nothing: %v", imports)
	}
}

// Package testing registers flags and has no business in a host's binary.
func TestTestingStaysInTests(t *testing.T) {
	t.Parallel()
	deps := goList(t, "-deps", self, self+"/password")
	for _, path := range deps {
		if below(path, []string{"testing"}) {
			t.Errorf("imports %s", path)
		}
	}
	if !slices.Contains(deps, self+"/password") {
		t.Errorf("the list lacks the packages themselves, so it tells nothing: %v", deps)
	}
}
