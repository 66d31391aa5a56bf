// Package examples_test checks the Go code, links and diffs of all Markdown files.
package examples_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// Each Go block in a README of an example is an excerpt of the example's code.
// Each other Go block compiles as a package of the module. The test writes no
// files into the module.
func TestREADMECode(t *testing.T) {
	t.Parallel()
	repository := os.DirFS("..")
	files, err := markdownFiles(repository)
	if err != nil {
		t.Fatal(err)
	}
	guides, excerpts := 0, 0
	for _, file := range files {
		text, err := fs.ReadFile(repository, file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := goBlock.FindAllSubmatch(text, -1)
		if n := strings.Count(string(text), "```go"); n != len(blocks) {
			t.Errorf("%s: %d Go blocks begin, but %d end", file, n, len(blocks))
		}
		for i, block := range blocks {
			check := compile
			if path.Dir(path.Dir(file)) == "examples" {
				check = isExcerpt
				excerpts++
			} else {
				guides++
			}
			t.Run(fmt.Sprint(file, " block ", i), func(t *testing.T) {
				t.Parallel()
				check(t, path.Dir(file), string(block[1]))
			})
		}
	}
	if guides == 0 || excerpts == 0 {
		t.Errorf("found %d Go blocks outside of examples and %d in examples, want some of both", guides, excerpts)
	}
}

func compile(t *testing.T, _, code string) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "block.go")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(here, "block", "block.go"): file,
	}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"list", "-export", "-overlay=" + overlayFile, "./block"} // compiles without linking
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Errorf("go list -export: %v\n%s", err, out)
	}
}

func isExcerpt(t *testing.T, folder, code string) {
	found := false
	example := os.DirFS(filepath.Join("..", folder))
	err := fs.WalkDir(example, ".", func(file string, _ fs.DirEntry, err error) error {
		if err != nil || found || path.Ext(file) != ".go" {
			return err
		}
		source, err := fs.ReadFile(example, file)
		found = strings.Contains(string(source), "\n"+code)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		t.Errorf("no Go file of %s contains this block of its README:\n%s", folder, code)
	}
}
