package examples_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/internal/throwaway"
)

var update = flag.Bool("update", false, "write the diffs into the READMEs")

// services are the examples with two versions of a service, in the folders
// "before" and "after". The README shows the diff of each changed file. All other
// files that are in both folders are the same.
var services = []struct {
	example              string
	changed, gone, added []string
}{
	{
		"existing-service",
		[]string{"main.go", "routes.go", "users.go"}, []string{"guards.go"}, []string{"operators.go", "tokens.go"},
	},
	{
		"jwt-migration",
		[]string{"jwt.go", "login.go", "main.go", "routes.go", "users.go"}, []string{"guards.go"}, []string{"oldtokens.go", "tokens.go"},
	},
}

func TestREADMEsShowTheDiff(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("diff"); err != nil {
		throwaway.Need(t, "diff", errors.New("needs diff; to get it: apt-get install diffutils"))
	}
	for _, s := range services {
		t.Run(s.example, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(s.example, "README.md")
			readme, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			want := string(readme)
			for _, changed := range s.changed {
				opening := "\n```diff " + changed + "\n"
				before, rest, found := strings.Cut(want, opening)
				_, after, closed := strings.Cut("\n"+rest, "\n```\n")
				if !found || !closed {
					t.Fatalf("the README has no diff of %s", changed)
				}
				want = before + opening + diff(t, s.example, changed) + "```\n" + after
			}
			if *update {
				if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want != string(readme) {
				t.Error("the diffs in README.md are out of date; to update them: go test ./examples -run READMEsShow -update")
			}
		})
	}
}

func diff(t *testing.T, example, file string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "diff", "-U2", "--label", "before/"+file, "--label", "after/"+file, "before/"+file, "after/"+file)
	cmd.Dir = example
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Fatalf("diff of %s: %v", file, err)
	}
	return string(out)
}

func TestOnlyListedFilesDiffer(t *testing.T) {
	t.Parallel()
	for _, s := range services {
		t.Run(s.example, func(t *testing.T) {
			t.Parallel()
			before, after := list(t, s.example, "before"), list(t, s.example, "after")
			common := slices.DeleteFunc(before, func(file string) bool { return slices.Contains(s.gone, file) })
			if want := slices.Sorted(slices.Values(slices.Concat(common, s.added))); !slices.Equal(after, want) {
				t.Fatalf("after has %v, want %v", after, want)
			}
			for _, file := range common {
				same := bytes.Equal(read(t, s.example, "before", file), read(t, s.example, "after", file))
				if same == slices.Contains(s.changed, file) {
					t.Errorf("%s is the same in both folders: %v, want %v", file, same, !same)
				}
			}
		})
	}
}

// list returns the names of the files in a folder.
func list(t *testing.T, path ...string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	return files
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
