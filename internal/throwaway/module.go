package throwaway

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Module makes a temporary Go module that uses this project from the folder
// root. The argument requires contains the lines for the require block of its
// go.mod file, one for each other module that it uses. The map files holds the
// contents of its other files, by file name. Module returns a function that
// runs the go command in the temporary module.
//
// The go command takes the other modules from the module cache or a module
// proxy. If they are not available, the test is skipped, or fails if
// TOKENAUTH_REQUIRE contains "modules": see [Need].
func Module(tb testing.TB, root, requires string, files map[string]string) (run func(args ...string) ([]byte, error)) {
	tb.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		tb.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	write("go.mod", fmt.Sprintf("module host\n\ngo 1.26.0\n\nreplace github.com/bearerkit/bearerkit => %q\n\nrequire (\ngithub.com/bearerkit/bearerkit v0.0.0\n%s\n)\n", root, requires))
	write("go.sum", string(sums))
	for name, text := range files {
		write(name, text)
	}
	run = func(args ...string) ([]byte, error) {
		cmd := exec.CommandContext(tb.Context(), "go", args...)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if out, err := run("list", "-mod=mod", "-deps", "."); err != nil {
		Need(tb, "modules", fmt.Errorf("needs modules that are neither in the module cache nor on the module proxy: go list: %w\n%s", err, out))
	}
	return run
}
