package oteltrace_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A host that has spans compiles the core, OpenTelemetry's API, and what that
// needs.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}} {{.ImportPath}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const self = "github.com/bearerkit/bearerkit"
	modules := []string{"go.opentelemetry.io/otel", "go.opentelemetry.io/otel/trace", "github.com/cespare/xxhash/v2"}
	for _, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		module, path, _ := strings.Cut(line, " ")
		switch {
		case path == "testing":
			t.Error("imports testing")
		case module == self && path != self+"/tokenauth" && path != self+"/tokenauth/oteltrace",
			module != "" && module != self && !slices.Contains(modules, module):
			t.Errorf("imports %s", path)
		}
	}
	for _, path := range []string{self + "/tokenauth", "go.opentelemetry.io/otel/trace"} {
		if !strings.Contains(string(out), " "+path+"\n") {
			t.Errorf("the list lacks %s, so it tells nothing", path)
		}
	}
}
