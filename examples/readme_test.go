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
	for i, rest := range blocks {
		code, _, closed := strings.Cut(rest, "\n```")
		if !closed {
			t.Fatalf("block %d has no end", i)
		}
		t.Run(fmt.Sprint("block", i), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "block.go")
			if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
				t.Fatal(err)
			}
			folder := fmt.Sprint("readme", i)
			overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
				filepath.Join(here, folder, "block.go"): file,
			}})
			if err != nil {
				t.Fatal(err)
			}
			overlayFile := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
				t.Fatal(err)
			}
			args := []string{"build", "-overlay=" + overlayFile, "-o", filepath.Join(dir, "block"), "./" + folder}
			if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
				t.Errorf("go build: %v\n%s", err, out)
			}
		})
	}
}
