package throwaway

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Module makes a module that requires the one in the folder root as it is, and the
// modules that requires lists as go.mod does. Files are its further files. It returns
// a func that runs the go command in it. The modules come from a module proxy, or the
// module cache; else the test is skipped, or fails if "modules" is required (Need).
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
		Need(tb, "modules", fmt.Errorf("needs a module proxy, or what it has in the module cache: go list: %w\n%s", err, out))
	}
	return run
}
