package gormstore_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// readmeBlocks returns the code blocks in a language from the README's section with the
// heading. It fails the test unless there are n of them.
func readmeBlocks(t *testing.T, heading, language string, n int) (blocks []string) {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n"+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, block := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(section, -1) {
		blocks = append(blocks, block[1])
	}
	if len(blocks) != n {
		t.Fatalf("%s of the README has %d blocks of %s, want %d", heading, len(blocks), language, n)
	}
	return blocks
}
