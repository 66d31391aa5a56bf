package examples_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	codeBlock    = regexp.MustCompile("(?ms)^```.*?^```$")
	codeSpan     = regexp.MustCompile("`[^`\n]+`")
	heading      = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	scheme       = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	punctuation  = regexp.MustCompile(`[^\p{L}\p{N}\p{M} _-]`)
)

// markdownFiles returns the path of each Markdown file of the repository, without
// those of packages that npm installed.
func markdownFiles(repository fs.FS) ([]string, error) {
	var files []string
	err := fs.WalkDir(repository, ".", func(file string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "node_modules"):
			return fs.SkipDir
		case !entry.IsDir() && path.Ext(file) == ".md":
			files = append(files, file)
		}
		return nil
	})
	return files, err
}

// brokenLinks describes each relative link in the Markdown files whose file or
// heading does not exist. It also returns the number of relative links.
func brokenLinks(repository fs.FS) (broken []string, links int, err error) {
	files, err := markdownFiles(repository)
	if err != nil {
		return nil, 0, err
	}
	for _, file := range files {
		text, err := fs.ReadFile(repository, file)
		if err != nil {
			return nil, 0, err
		}
		prose := codeSpan.ReplaceAll(codeBlock.ReplaceAll(text, nil), nil)
		for _, match := range markdownLink.FindAllSubmatch(prose, -1) {
			link := string(match[1])
			if scheme.MatchString(link) {
				continue
			}
			links++
			if err := follow(repository, file, link); err != nil {
				broken = append(broken, fmt.Sprintf("%s: link to %s: %v", file, link, err))
			}
		}
	}
	return broken, links, nil
}

// follow returns an error if the file or the heading of a relative link does not
// exist.
func follow(repository fs.FS, from, link string) error {
	target, fragment, hasFragment := strings.Cut(link, "#")
	if target == "" {
		target = from
	} else {
		target = path.Join(path.Dir(from), target)
	}
	if _, err := fs.Stat(repository, target); err != nil {
		return err
	}
	if !hasFragment || path.Ext(target) != ".md" {
		return nil
	}
	text, err := fs.ReadFile(repository, target)
	if err != nil {
		return err
	}
	if !slices.Contains(fragments(text), fragment) {
		return fmt.Errorf("no such heading in %s", target)
	}
	return nil
}

// fragments returns the URL fragment that GitHub gives each heading.
func fragments(markdown []byte) []string {
	var all []string
	seen := map[string]int{}
	for _, match := range heading.FindAllSubmatch(codeBlock.ReplaceAll(markdown, nil), -1) {
		text := markdownLink.ReplaceAllString(strings.TrimSpace(string(match[1])), "]")
		fragment := strings.ReplaceAll(punctuation.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		if n := seen[fragment]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", fragment, n))
		} else {
			all = append(all, fragment)
		}
		seen[fragment]++
	}
	return all
}

func TestMarkdownLinks(t *testing.T) {
	t.Parallel()
	broken, links, err := brokenLinks(os.DirFS(".."))
	if err != nil {
		t.Fatal(err)
	}
	if links == 0 {
		t.Fatal("found no relative links")
	}
	for _, b := range broken {
		t.Error(b)
	}
}

func TestBrokenLinksAreFound(t *testing.T) {
	t.Parallel()
	repository := fstest.MapFS{
		"a/guide.md": {Data: []byte("# Guide\n\n" +
			"[self](#guide) [other](../README.md#why-its-so-fast-1) [folder](../a) [code](code.go#L3) [web](https://example.com/x)\n" +
			"`[span](nowhere)`\n\n```sh\n# comment\n[block](nowhere)\n```\n\n" +
			"[gone](gone.md) [no heading](../README.md#gone) [comment](#comment) [outside](../../x) ![picture](x.png)\n")},
		"a/code.go":                  {},
		"README.md":                  {Data: []byte("## Why it's *so* [fast](a)\n\n## Why it's `so` fast\n")},
		"a/node_modules/x/README.md": {Data: []byte("[gone](gone.md)\n")},
	}
	broken, links, err := brokenLinks(repository)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range broken {
		link, _, _ := strings.Cut(strings.TrimPrefix(b, "a/guide.md: link to "), ": ")
		got = append(got, link)
	}
	if want := []string{"gone.md", "../README.md#gone", "#comment", "../../x", "x.png"}; !slices.Equal(got, want) || links != 10 {
		t.Errorf("%d links, broken %q, want 10 and %q", links, broken, want)
	}
}
