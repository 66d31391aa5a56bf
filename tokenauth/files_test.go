package tokenauth_test

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// longestCycle is the maximum number of files of a package that may depend on
// each other in a cycle.
const longestCycle = 3

// The files of a package should depend on each other in one direction, so that
// a reader can read them in order. A file depends on another if it uses a type,
// function, method, field, variable or constant declared there.
func TestFilesDependOneWay(t *testing.T) {
	t.Parallel()
	listed := listPackages(t, self+"/...", module+"/ginadapter", module+"/storage/...", module+"/internal/...")
	for _, p := range listed {
		if p.own {
			for _, cycle := range cycles(p.uses(t, listed)) {
				if len(cycle) > longestCycle {
					t.Errorf("%s: %d files depend on each other, want at most %d:\n%s", p.path, len(cycle), longestCycle, cycle)
				}
			}
		}
	}
}

// The search finds a cycle, and names the declarations that form it.
func TestFilesInACycleAreFound(t *testing.T) {
	t.Parallel()
	uses := uses{
		"a.go": {"b.go": {"B"}}, "b.go": {"c.go": {"C"}}, "c.go": {"d.go": {"D", "E"}}, "d.go": {"b.go": {"B"}, "e.go": {"F"}},
	}
	found := cycles(uses)
	if len(found) != 1 || found[0].String() != "\tb.go uses of c.go: C\n\tc.go uses of d.go: D, E\n\td.go uses of b.go: B\n" {
		t.Errorf("found %v, want one cycle of three files", found)
	}
}

// uses maps each file to the declarations that it uses of each other file.
type uses map[string]map[string][]string

// A cycle has the uses among files that depend on each other.
type cycle uses

func (c cycle) String() string {
	var b strings.Builder
	for _, from := range slices.Sorted(maps.Keys(c)) {
		for _, to := range slices.Sorted(maps.Keys(c[from])) {
			fmt.Fprintf(&b, "\t%s uses of %s: %s\n", from, to, strings.Join(c[from][to], ", "))
		}
	}
	return b.String()
}

// cycles returns the largest sets of files in which each file reaches each
// other one.
func cycles(u uses) (found []cycle) {
	reach := make(map[string]map[string]bool)
	var visit func(from, at string)
	visit = func(from, at string) {
		for to := range u[at] {
			if !reach[from][to] {
				reach[from][to] = true
				visit(from, to)
			}
		}
	}
	for file := range u {
		reach[file] = make(map[string]bool)
		visit(file, file)
	}
	seen := make(map[string]bool)
	for file := range u {
		if seen[file] || !reach[file][file] {
			continue
		}
		c := make(cycle)
		for other := range u {
			if reach[file][other] && reach[other][file] {
				seen[other] = true
				c[other] = make(map[string][]string)
			}
		}
		for from := range c {
			for to, names := range u[from] {
				if _, within := c[to]; within {
					c[from][to] = names
				}
			}
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b cycle) int { return cmp.Compare(a.String(), b.String()) })
	return found
}

// A listedPackage is a package as go list -json prints it.
type listedPackage struct {
	path, dir, export string
	files             []string
	own               bool // matched one of the patterns
}

func listPackages(t *testing.T, patterns ...string) map[string]*listedPackage {
	t.Helper()
	const format = `{{.ImportPath}}|{{.Dir}}|{{.Export}}|{{join .GoFiles ","}}|{{or .DepOnly (not .GoFiles)}}`
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-export", "-f", format}, patterns...)...).Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	listed := make(map[string]*listedPackage)
	for line := range strings.Lines(string(out)) {
		fields := strings.Split(strings.TrimSpace(line), "|")
		listed[fields[0]] = &listedPackage{fields[0], fields[1], fields[2], strings.Split(fields[3], ","), fields[4] == "false"}
	}
	return listed
}

// uses parses the package and returns what its files use of each other.
func (p *listedPackage) uses(t *testing.T, listed map[string]*listedPackage) uses {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.files {
		file, err := parser.ParseFile(fset, filepath.Join(p.dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	config := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(listed[path].export)
	})}
	pkg, err := config.Check(p.path, fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	fileOf := func(pos token.Pos) string { return filepath.Base(fset.Position(pos).Filename) }
	u := make(uses)
	for ident, object := range info.Uses {
		if object.Pkg() != pkg || !isDeclaration(object) {
			continue
		}
		from, to := fileOf(ident.Pos()), fileOf(object.Pos())
		if from == to {
			continue
		}
		if u[from] == nil {
			u[from] = make(map[string][]string)
		}
		if !slices.Contains(u[from][to], object.Name()) {
			u[from][to] = append(u[from][to], object.Name())
			slices.Sort(u[from][to])
		}
	}
	return u
}

// isDeclaration reports whether the object is declared at file level, not
// within a function.
func isDeclaration(object types.Object) bool {
	switch o := object.(type) {
	case *types.Var:
		return o.IsField() || o.Parent() == o.Pkg().Scope()
	case *types.Func:
		return true
	}
	return object.Parent() == object.Pkg().Scope()
}
