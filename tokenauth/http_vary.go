package tokenauth

import (
	"net/http"
	"strings"
)

// varyByAuthorization adds Authorization to Vary, unless Vary already has it or
// "*". If h has no Vary, it sets Vary to the given slice, or to a new slice if
// the given slice is nil. The given slice must have no spare capacity, so that
// a later [http.Header.Add] copies it.
//
// It joins all names into one line, because nginx before 1.23 uses only the
// last Vary line.
func varyByAuthorization(h http.Header, alone []string) {
	lines := h["Vary"]
	if len(lines) == 0 {
		if alone == nil {
			alone = []string{"Authorization"}
		}
		h["Vary"] = alone
		return
	}
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Authorization") {
				return
			}
		}
	}
	h["Vary"] = []string{strings.Join(lines, ", ") + ", Authorization"}
}
