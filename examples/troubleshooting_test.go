package examples_test

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// foreignTexts are the messages in the troubleshooting tables that other software
// writes.
var foreignTexts = []string{
	"record not found", "no rows", "token is malformed", "context deadline exceeded", "blocked by CORS policy",
	"TypeError: Failed to fetch", "prepared statement … already exists", "permission denied for schema public",
	"handlers are already registered for path '/Token'", `pattern "GET /" … conflicts with pattern "/Token"`,
	"fastcgi_pass_request_headers off",
}

var quoted = regexp.MustCompile("`([^`]+)`")

// A reader searches for the text of a log record or an error. The first column of
// the troubleshooting tables has it as the code has it.
func TestTroubleshootingQuotesTheCode(t *testing.T) {
	t.Parallel()
	repository := os.DirFS("..")
	guide, err := fs.ReadFile(repository, "tokenauth/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(guide), "## Troubleshooting\n")
	if !found {
		t.Fatal("the guide has no troubleshooting")
	}
	code := sourceText(t, repository)
	checked := 0
	for _, row := range strings.Split(section, "\n") {
		if !strings.HasPrefix(row, "| ") {
			continue
		}
		see, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, match := range quoted.FindAllStringSubmatch(see, -1) {
			text := match[1]
			if !strings.Contains(text, " ") || slices.Contains(foreignTexts, text) || strings.Contains(text, "(") {
				continue
			}
			checked++
			for part := range strings.SplitSeq(text, " … ") {
				if !strings.Contains(code, strings.ReplaceAll(part, `"/Token"`, "%q")) {
					t.Errorf("no code writes %q", part)
				}
			}
		}
	}
	if checked < 15 {
		t.Errorf("checked %d texts, want all of the tables", checked)
	}
}

// sourceText returns the Go code of the packages, without tests. String constants
// that are written in parts are joined.
func sourceText(t *testing.T, repository fs.FS) string {
	t.Helper()
	var all strings.Builder
	for _, folder := range []string{"tokenauth", "ginadapter", "storage"} {
		err := fs.WalkDir(repository, folder, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || path.Ext(file) != ".go" || strings.HasSuffix(file, "_test.go") {
				return err
			}
			text, err := fs.ReadFile(repository, file)
			all.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return regexp.MustCompile(`" \+\s+"`).ReplaceAllString(all.String(), "")
}
