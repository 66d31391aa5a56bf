package tokenauth

import (
	"net/http"
	"slices"
	"strings"
)

// varyBy adds the names of headers to Vary, without those that Vary already has.
// It does nothing if Vary has "*". If h has no Vary, it sets Vary to the given
// slice, or to a new slice if the given slice is nil. The given slice contains
// names alone, and must have no spare capacity, so that a later
// [http.Header.Add] copies it.
//
// It joins all names into one line, because nginx before 1.23 uses only the
// last Vary line.
func varyBy(h http.Header, names string, alone []string) {
	if names == "" {
		return
	}
	lines := h["Vary"]
	if len(lines) == 0 {
		if alone == nil {
			alone = []string{names}
		}
		h["Vary"] = alone
		return
	}
	vary := strings.Join(lines, ", ")
	present := func(name string) bool {
		for other := range strings.SplitSeq(vary, ",") {
			if other = strings.TrimSpace(other); other == "*" || strings.EqualFold(other, name) {
				return true
			}
		}
		return false
	}
	missing := slices.DeleteFunc(strings.Split(names, ", "), present)
	if len(missing) > 0 {
		h["Vary"] = []string{vary + ", " + strings.Join(missing, ", ")}
	}
}
