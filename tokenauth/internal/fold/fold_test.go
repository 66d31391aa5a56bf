package fold

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

func TestFoldIgnoresWhatCollationsIgnore(t *testing.T) {
	t.Parallel()
	for want, names := range map[string][]string{
		"alice":      {"alice", "Alice", "ALICE", "álice", "a\u0301lice", "ÀLÏÇÈ", " alice ", "alice\u00a0", "ａｌｉｃｅ", "al\u200bice", "alice\u00ad", "al\x00ice", "\u2028alice\u2029 ", "\talice\u3000"},
		"strasse":    {"straße", "STRAẞE", "Strasse"},
		"istanbul":   {"İstanbul", "ıstanbul", "ISTANBUL", "i\u0307stanbul"},
		"kim":        {"\u212aim", "Kim"},
		"σισυφοσ":    {"Σίσυφος", "ΣΊΣΥΦΟΣ"},
		"алексеи":    {"Алексей", "алексеи\u0306"},
		"oe ae":      {"œ æ", "Œ\u3000Ǣ"},
		"日本":         {"日本", "日本 "},
		"anna maria": {"Anna Maria", " anna   MARIA", "anna\u3000\u00a0maria", "anna \u200b maria"},
	} {
		for _, name := range names {
			if got := Name(name); got != want {
				t.Errorf("%q is folded to %q, want %q", name, got, want)
			}
		}
	}
	for _, other := range []string{"alic", "alice2", "a lice", "al-ice", "аlice"} { // the last begins with a Cyrillic letter
		if Name(other) == "alice" {
			t.Errorf("%q is folded to alice", other)
		}
	}
}

// A letter that Unicode decomposes into a letter and accents is folded to that
// letter.
func TestFoldKnowsAllAccentedLetters(t *testing.T) {
	t.Parallel()
	tested := 0
	for r := rune(0x80); r < 0x2000; r++ {
		if !unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic) || !unicode.IsLetter(r) {
			continue
		}
		base, size := utf8.DecodeRuneInString(norm.NFD.String(string(r)))
		if base == r || size == len(norm.NFD.String(string(r))) {
			continue
		}
		tested++
		if got, want := Name(string(r)), Name(string(base)); got != want {
			t.Errorf("%q is folded to %q, but its base letter to %q", r, got, want)
		}
	}
	if tested < 700 {
		t.Errorf("tested only %d letters, want at least 700", tested)
	}
}

// Folding twice gives the same as folding once, also for the name in upper
// case.
func FuzzFold(f *testing.F) {
	for _, name := range []string{"Alice", "ＡＬＩＣＥ", "e\u0301", "Straße", "\u0130", "ǆ", "ﬁ", "\xff", " ", "ͺ", "ᾳ\u0345"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		once := Name(name)
		if twice := Name(once); twice != once {
			t.Errorf("%q is folded to %q, which is folded to %q", name, once, twice)
		}
		if got := Name(strings.ToUpper(once)); Name(got) != got {
			t.Errorf("%q is folded to %q, which is folded to another name", strings.ToUpper(once), got)
		}
	})
}
