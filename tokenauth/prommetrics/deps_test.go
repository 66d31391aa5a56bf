package prommetrics_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// A host that has metrics compiles the core, Prometheus' client, and what that
// needs.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}} {{.ImportPath}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	const self = "github.com/bearerkit/bearerkit"
	modules := []string{
		"github.com/beorn7/perks", "github.com/cespare/xxhash/v2", "github.com/munnerz/goautoneg",
		"github.com/prometheus/client_golang", "github.com/prometheus/client_model", "github.com/prometheus/common",
		"github.com/prometheus/procfs", "golang.org/x/sys", "google.golang.org/protobuf",
	}
	for _, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
		module, path, _ := strings.Cut(line, " ")
		switch {
		case path == "testing":
			t.Error("imports testing")
		case module == self && path != self+"/tokenauth" && path != self+"/tokenauth/prommetrics",
			module != "" && module != self && !slices.Contains(modules, module):
			t.Errorf("imports %s", path)
		}
	}
	for _, path := range []string{self + "/tokenauth", "github.com/prometheus/client_golang/prometheus"} {
		if !strings.Contains(string(out), " "+path+"\n") {
			t.Errorf("the list lacks %s, so it tells nothing", path)
		}
	}
}
