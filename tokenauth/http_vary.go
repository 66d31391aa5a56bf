package tokenauth

import (
	"net/http"
	"strings"
)

// varyByAuthorization adds Authorization to Vary, once. The line that says so alone
// is one that the caller has, or nil; it has no room, so that http.Header.Add copies.
//
// All names are in one line, as nginx before 1.23 looks at the last line alone.
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
