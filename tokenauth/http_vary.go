package tokenauth

import (
	"net/http"
	"strings"
)

// varyByAuthorization adds Authorization to Vary, unless it is there. If Vary
// is empty, it stores the slice alone, or a new one if alone is nil. The slice
// must have no spare capacity, so that a later [http.Header.Add] copies it.
//
// All names are joined in one line, because nginx before 1.23 uses only the
// last line.
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
