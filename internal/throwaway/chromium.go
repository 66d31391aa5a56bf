package throwaway

import "testing"

// Chromium returns the path of a Chromium, or of a Chrome. Tests that need one
// which is not installed are skipped, unless TOKENAUTH_REQUIRE has "chromium".
func Chromium(tb testing.TB) string {
	tb.Helper()
	path, ok := find([]string{"chromium", "chromium-browser", "google-chrome"})
	if !ok {
		Need(tb, "chromium", errMissing("needs Chromium; to get it: apt-get install chromium"))
	}
	return path
}
