// Package examples_test builds what the README shows.
package examples_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every Go block of the README compiles as it stands, each as a package of its
// own, without a file being written into the module.
func TestREADMECompiles(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "```go\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the README has no Go block")
	}
	dir := t.TempDir()
	replace := make(map[string]string)
	args := []string{"list", "-export", "-overlay=" + filepath.Join(dir, "overlay.json")} // compiles, and does not link
	for i, rest := range blocks {
		code, _, closed := strings.Cut(rest, "\n```")
		if !closed {
			t.Fatalf("block %d has no end", i)
		}
		folder := fmt.Sprint("block", i)
		file := filepath.Join(dir, folder+".go")
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(here, folder, "block.go")] = file
		args = append(args, "./"+folder)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Errorf("go list -export: %v\n%s", err, out)
	}
}
