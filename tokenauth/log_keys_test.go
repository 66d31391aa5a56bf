package tokenauth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	// logCall matches the functions that write a log record or make an
	// attribute: those of log/slog, and warn of package password.
	logCall = regexp.MustCompile(`^((Debug|Info|Warn|Error)(Context)?|Log|LogAttrs|With|warn|String|Int|Int64|Uint64|Float64|Bool|Time|Duration|Any|Group|GroupAttrs)$`)
	word    = regexp.MustCompile(`^[A-Za-z]\w*$`)
	snake   = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
)

// logKeys returns the string literals with the form of a word in functions that
// log. Keys are single words, and messages are sentences.
func logKeys(file *ast.File) (keys []string) {
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		logs := false
		var words []string
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				s, ok := n.Fun.(*ast.SelectorExpr)
				if ok && logCall.MatchString(s.Sel.Name) && len(n.Args) > 1 {
					of, _ := s.X.(*ast.Ident)
					logs = logs || of == nil || of.Name != "http" // http.Error writes a response, not a log record
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && word.MatchString(text) {
					words = append(words, text)
				}
			}
			return true
		})
		if logs {
			keys = append(keys, words...)
		}
	}
	return keys
}

// Each attribute is logged with one spelling, so that one search finds all
// records.
func TestLogKeysHaveOneSpelling(t *testing.T) {
	t.Parallel()
	var all []string
	for _, root := range []string{".", "../ginadapter", "../storage"} {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			for _, key := range logKeys(file) {
				if !snake.MatchString(key) {
					t.Errorf("%s: log key %q, want it in lower case with underscores", path, key)
				}
				all = append(all, key)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, key := range []string{"user_id", "client_id", "error", "suppressed", "remote_addr", "peer"} {
		if !slices.Contains(all, key) {
			t.Errorf("the search does not find the key %q", key)
		}
	}
}

// The search finds the keys of each way of logging.
func TestLogKeysAreFound(t *testing.T) {
	t.Parallel()
	for _, body := range []string{
		`l.Warn("a message", "userId", id)`,
		`l.ErrorContext(ctx, "a message", "error", err, "userId", id)`,
		`attrs := []any{"userId", id}; l.InfoContext(ctx, "a message", attrs...)`,
		`attrs = append(attrs, slog.String("userId", id))`,
		`for _, f := range []struct{ k, v string }{{"userId", id}} { attrs = append(attrs, slog.String(f.k, f.v)) }`,
		`u.warnings.warn(ctx, "a message", id, "userId", id)`,
		`l.With("userId", id).Log(ctx, level, "a message")`,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc f() { "+body+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if keys := logKeys(file); !slices.Contains(keys, "userId") {
			t.Errorf("found the keys %[2]q in %[1]s", body, keys)
		}
	}
}
