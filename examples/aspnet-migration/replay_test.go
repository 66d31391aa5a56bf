package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The tables of the README list every difference between the recorded responses
// and those of this service, and no others.
func TestREADMEListsAllDifferences(t *testing.T) {
	t.Parallel()
	p := newReplay(t, false)
	used := map[string]bool{}
	for i, e := range p.record.Cases {
		p.address = fmt.Sprintf("198.18.%d.%d:1", i/250, i%250)
		for _, d := range differences(e.Answer, p.answer(t, e)) {
			var rows []string
			for _, k := range known {
				if k.explains(e, d) {
					rows = append(rows, k.row)
					used[k.row] = true
				}
			}
			if len(rows) != 1 {
				t.Errorf("%s: the difference %s\nis in the rows %q of the README, want exactly one", e.Name, d, rows)
			}
		}
	}
	rows := readmeRows(t)
	for _, k := range known {
		if !used[k.row] {
			t.Errorf("no response differs as the row %q says; remove it", k.row)
		}
		if !slices.Contains(rows, k.row) {
			t.Errorf("the README has no row %q", k.row)
		}
	}
	for _, row := range rows {
		if !slices.ContainsFunc(known, func(k knownDifference) bool { return k.row == row }) {
			t.Errorf("the README has the row %q, which is not among the known differences", row)
		}
	}
	if want := fmt.Sprintf("has %d requests", len(p.record.Cases)); !strings.Contains(readme(t), want) {
		t.Errorf("the README does not say that katana.json %s", want)
	}
}

// MariaDB ignores the case of letters beyond ASCII. SQLite does not.
func TestMariaDBIgnoresCaseBeyondASCII(t *testing.T) {
	t.Parallel()
	s := newSite(t, engines["mariadb"].store(t), "mariadb", "2", true)
	s.exec(t, `UPDATE "AspNetUsers" SET "UserName" = 'jürgen' WHERE "UserName" = 'dave'`)
	if got := s.signIn(t, "JÜRGEN", "my password").token(t); got.UserName != "jürgen" {
		t.Errorf("signed in as %+v, want jürgen", got)
	}
}

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// readmeRows returns the first column of the tables in the section "What your
// clients notice".
func readmeRows(t *testing.T) (rows []string) {
	t.Helper()
	_, section, _ := strings.Cut(readme(t), "\n## What your clients notice\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \|.*\|.*\|$`).FindAllStringSubmatch(section, -1) {
		rows = append(rows, row[1])
	}
	return rows
}

// differences describes each difference between two responses. Frequent bodies
// are shortened.
func differences(original, here recordedAnswer) (all []string) {
	if original.Status != here.Status || original.Content != here.Content {
		all = append(all, fmt.Sprintf("%d %s → %d %s", original.Status, short(original.Content), here.Status, short(here.Content)))
	}
	for _, name := range visible {
		if was, is := headers(original, name), headers(here, name); was != is {
			all = append(all, fmt.Sprintf("%s: %s → %s", name, was, is))
		}
	}
	return all
}

func headers(a recordedAnswer, name string) string {
	var values []string
	for _, h := range a.Headers {
		if value, ok := strings.CutPrefix(h, name+": "); ok {
			values = append(values, value)
		}
	}
	return strings.Join(values, " and ")
}

var shortened = []struct {
	long  *regexp.Regexp
	short string
}{
	{regexp.MustCompile(`^\{"access_token":"…","token_type":"bearer","expires_in":1209599,"userName":"[^"]+","userId":"[^"]+","role":"[^"]*",".issued":"…",".expires":"…"\}$`), "TOKEN"},
	{regexp.MustCompile(`^\{"error":"([a-z_]+)"\}$`), "$1"},
	{regexp.MustCompile(`^\{"error":"([a-z_]+)","error_description":"([^"]+)"\}$`), "$1: $2"},
	{regexp.MustCompile(`^\{"error":"([a-z_]+)","error_description":"([^"]+)","Message":"([^"]+)"\}$`), "$1: $2 $3"},
	{regexp.MustCompile(`^\{"Message":"Authorization has been denied for this request."\}$`), "DENIED"},
	{regexp.MustCompile(`Authorization has been denied for this request.`), "DENIED"},
	{regexp.MustCompile(`The user name or password is incorrect.`), "INCORRECT"},
	{regexp.MustCompile(`^404 page not found\n?$`), "page not found"},
	{regexp.MustCompile(`\n+$`), ""},
}

func short(content string) string {
	for _, s := range shortened {
		content = s.long.ReplaceAllString(content, s.short)
	}
	return content
}
