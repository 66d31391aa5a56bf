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
				limitsBody(t, string(block[1]))
			})
		}
	}
	if guides == 0 || excerpts == 0 {
		t.Errorf("found %d Go blocks outside of examples and %d in examples, want some of both", guides, excerpts)
	}
}

// limitsBody reports code that reads the body of a request without a limit. Anyone
// can send a body that fills the memory or the disk.
func limitsBody(t *testing.T, code string) {
	t.Helper()
	for _, reads := range []string{"PostForm(", "PostFormValue(", "ShouldBind", "ParseForm(", ".Request.Body)", "r.Body)"} {
		if strings.Contains(code, reads) && !strings.Contains(code, "MaxBytesReader(") {
			t.Errorf("the code has %s…, but no http.MaxBytesReader", reads)
		}
	}
}

func compile(t *testing.T, _, code string) {
	args := []string{"list", "-export", "-overlay=" + overlay(t, "block", map[string]string{"block.go": code}), "./block"} // compiles without linking
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Errorf("go list -export: %v\n%s", err, out)
	}
}

// overlay returns the path of a file for the flag -overlay, with which the folder
// has these files. The folder does not exist.
func overlay(t *testing.T, folder string, files map[string]string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	replace := make(map[string]string)
	for name, code := range files {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(here, folder, name)] = file
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The programs of these guides work: the tests in testdata test them. A program has
// the blocks of its package.
func TestGuidesWork(t *testing.T) {
	t.Parallel()
	for _, program := range []struct{ guide, name, test string }{
		{"../tokenauth/password/README.md", "staff", "TestChangePassword"},
		{"../tokenauth/password/README.md", "members", "TestSecondFactor"},
		{"../tokenauth/README.md", "devices", "TestSignIns"},
		{"../tokenauth/README.md", "stay", "TestStaySignedIn"},
		{"../tokenauth/README.md", "refresh", "TestStayWithoutThePassword"},
		{"../tokenauth/README.md", "places", "TestBrowserAndApp"},
		{"../ginadapter/README.md", "tenant", "TestRequire"},
		{"../ginadapter/README.md", "guests", "TestGuests"},
	} {
		t.Run(program.name, func(t *testing.T) {
			t.Parallel()
			guide, err := os.ReadFile(program.guide)
			if err != nil {
				t.Fatal(err)
			}
			testFile := program.name + "_test.go"
			test, err := os.ReadFile(filepath.Join("testdata", program.name, testFile))
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{testFile: string(test)}
			for i, block := range goBlock.FindAllSubmatch(guide, -1) {
				if code := string(block[1]); strings.HasPrefix(code, "package "+program.name+"\n") {
					files[fmt.Sprintf("block%d.go", i)] = code
				}
			}
			binary := filepath.Join(t.TempDir(), "guide.test")
			build := []string{"test", "-c", "-vet=off", "-o", binary, "-overlay=" + overlay(t, program.name, files), "./" + program.name}
			if out, err := exec.CommandContext(t.Context(), "go", build...).CombinedOutput(); err != nil {
				t.Fatalf("go test -c: %v\n%s", err, out)
			}
			run := exec.CommandContext(t.Context(), binary, "-test.v")
			run.Dir = t.TempDir()
			if out, err := run.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+program.test) {
				t.Errorf("the program of the guide: %v\n%s", err, out)
			}
		})
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
