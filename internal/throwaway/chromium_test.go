package throwaway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMissingChromiumSkipsUnlessRequired(t *testing.T) {
	uninstall(t)
	for require, fails := range map[string]bool{"": false, "postgres": false, "mono,chromium": true} {
		t.Setenv("TOKENAUTH_REQUIRE", require)
		r := record(t, func(tb testing.TB) { Chromium(tb) })
		if (r.failed != "") != fails || (r.skipped != "") == fails {
			t.Errorf("TOKENAUTH_REQUIRE=%q: skipped with %q, failed with %q", require, r.skipped, r.failed)
		}
		if says := r.skipped + r.failed; !strings.Contains(says, "apt-get install chromium") {
			t.Errorf("the text %q does not say how to install Chromium", says)
		}
	}
}

func TestChromiumUnderAnotherName(t *testing.T) {
	uninstall(t)
	want := filepath.Join(os.Getenv("PATH"), "google-chrome")
	if err := os.WriteFile(want, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := Chromium(t); got != want {
		t.Errorf("Chromium returns %q, want %q", got, want)
	}
}
