package throwaway

import "testing"

// Chromium returns the path of Chromium or Chrome. If neither is installed, it
// skips the test. It fails the test instead if TOKENAUTH_REQUIRE contains
// "chromium": see [Need].
func Chromium(tb testing.TB) string {
	tb.Helper()
	path, ok := find([]string{"chromium", "chromium-browser", "google-chrome"})
	if !ok {
		Need(tb, "chromium", errMissing("no Chromium or Chrome found; to get one: apt-get install chromium"))
	}
	return path
}
