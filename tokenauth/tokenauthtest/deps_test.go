package tokenauthtest_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// It imports the core, storage/memory and nothing else.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/bearerkit/bearerkit"
	got := strings.Fields(string(out))
	slices.Sort(got)
	if want := []string{module + "/storage/memory", module + "/tokenauth", module + "/tokenauth/tokenauthtest"}; !slices.Equal(got, want) {
		t.Errorf("imports %v, want %v", got, want)
	}
}
