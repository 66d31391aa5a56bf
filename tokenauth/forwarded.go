package tokenauth

import "strings"

// forwardedHeader is the header of RFC 7239.
const forwardedHeader = "Forwarded"

// cutLastForwarded cuts the last element off a line of Forwarded (RFC 7239 §4), and
// reports whether there are more. It returns the node that the element is for: an
// address, perhaps with a port. The node is "" if the element is malformed or names
// none, and a word for "unknown" and for what the proxy keeps secret.
//
// It reads from the right. A client wrote what stands left of a proxy's element: an
// open quote there has no effect on where that element begins.
func cutLastForwarded(line string) (rest, node string, more bool) {
	start, ok := lastElement(line)
	if !ok {
		return "", "", false
	}
	if start > 0 {
		rest, more = line[:start-1], true
	}
	seen := false
	for element, left := line[start:], true; left; {
		var name, value string
		if name, value, element, left, ok = cutPair(element); !ok {
			return rest, "", more
		}
		if strings.EqualFold(name, "for") {
			if seen {
				return rest, "", more
			}
			node, seen = value, true
		}
	}
	// The port may be one that the proxy keeps secret (RFC 7239 §6.3).
	if i := strings.LastIndex(node, ":_"); i >= 0 {
		node = node[:i]
	}
	return rest, node, more
}

// lastElement returns where the last element begins, behind a comma that is not in
// quotes. It reports false if a quote is not opened.
func lastElement(line string) (start int, ok bool) {
	quoted := false
	for i := len(line) - 1; i >= 0; i-- {
		switch line[i] {
		case '"':
			if !quoted || !escaped(line[:i]) {
				quoted = !quoted
			}
		case ',':
			if !quoted {
				return i + 1, true
			}
		}
	}
	return 0, !quoted
}

// escaped reports whether what stands behind a text is escaped by its end.
func escaped(before string) bool {
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// cutPair cuts the first pair off an element, and reports whether there are more.
// An empty one has no name.
func cutPair(element string) (name, value, rest string, more, ok bool) {
	element = strings.TrimLeft(element, " \t")
	name, after, found := strings.Cut(element, "=")
	if i := strings.IndexByte(element, ';'); i >= 0 && (!found || i < len(name)) {
		return "", "", element[i+1:], true, strings.TrimSpace(element[:i]) == ""
	}
	if !found {
		return "", "", "", false, strings.TrimSpace(element) == ""
	}
	if strings.HasPrefix(after, `"`) {
		if value, after, ok = cutQuoted(after[1:]); !ok {
			return "", "", "", false, false
		}
		before, rest, more := strings.Cut(after, ";")
		return name, value, rest, more, strings.TrimSpace(before) == ""
	}
	value, rest, more = strings.Cut(after, ";")
	value = strings.TrimRight(value, " \t")
	return name, value, rest, more, !strings.ContainsAny(value, "\" \t")
}

// cutQuoted reads a quoted string (RFC 9110 §5.6.4) behind its opening quote.
func cutQuoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
