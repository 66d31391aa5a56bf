package tokenauth

import (
	"net/http"
	"slices"
	"strings"
)

var authorization = slices.Clip([]string{"Authorization"})

// varyByAuthorization adds Authorization to Vary, once.
func varyByAuthorization(h http.Header) {
	lines := h["Vary"]
	if lines == nil {
		h["Vary"] = authorization
		return
	}
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name == "*" || strings.EqualFold(name, "Authorization") {
				return
			}
		}
	}
	h["Vary"] = append(slices.Clip(lines), "Authorization") // others may share the lines
}
