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
	var missing []string
	for name := range strings.SplitSeq(names, ", ") {
		if !varies(lines, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		h["Vary"] = []string{strings.Join(append(slices.Clone(lines), missing...), ", ")}
	}
}

// varies reports whether the lines of a Vary header have the name or "*".
func varies(lines []string, name string) bool {
	for _, line := range lines {
		for other := range strings.SplitSeq(line, ",") {
			if other = strings.TrimSpace(other); other == "*" || strings.EqualFold(other, name) {
				return true
			}
		}
	}
	return false
}
