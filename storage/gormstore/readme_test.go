package gormstore_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
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

// The statements of the README end all tokens. Users can sign in afterwards.
func TestReadmeEndsAllTokens(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		auth := service(t, s, noUsers{})
		accessToken := issueTo(t, auth, "alice")
		device := deviceToken("alice", 1)
		if err := errors.Join(s.Replace(t.Context(), device), s.RecordUses(t.Context(), []tokenauth.Use{use(device, hour)})); err != nil {
			t.Fatal(err)
		}
		block := readmeBlocks(t, "## Backups", "sql", 3)[map[string]int{"postgres": 0, "mariadb": 1, "sqlite": 2}[e.name]]
		for statement := range strings.SplitSeq(strings.TrimSuffix(block, ";\n"), ";\n") {
			if err := db.Exec(statement).Error; err != nil {
				t.Fatal(err)
			}
		}
		if _, err := auth.Validate(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Errorf("a token: error %v, want ErrInvalidToken", err)
		}
		var uses int
		if err := db.Raw(`SELECT count(*) FROM tokenauth_uses`).Scan(&uses).Error; err != nil || uses != 0 {
			t.Errorf("%d uses are left, error %v", uses, err)
		}
		if _, err := auth.Validate(t.Context(), issueTo(t, auth, "alice")); err != nil {
			t.Error(err)
		}
	})
}
