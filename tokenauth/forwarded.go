package tokenauth

import "strings"

// forwardedHeader is the name of the RFC 7239 header.
const forwardedHeader = "Forwarded"

// cutLastForwarded cuts the last element off a Forwarded header line (RFC 7239
// §4). It returns the rest of the line, the node that the element names in
// "for", and whether more elements are left. The node is an address, perhaps
// with a port. If the proxy does not reveal the address, the node is a word
// such as "unknown" or "_hidden". If the element is malformed or has no "for",
// the node is "".
//
// It parses from right to left, because a client may have written the elements
// before the proxy's. So an unclosed quote in the client's elements has no
// effect on the proxy's element.
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
	// The port may be obfuscated, as in ":_x" (RFC 7239 §6.3).
	if i := strings.LastIndex(node, ":_"); i >= 0 {
		node = node[:i]
	}
	return rest, node, more
}

// lastElement returns the index where the last element begins. That element
// begins after the last comma outside quotes, or at 0 if there is no such
// comma. It returns false if a closing quote has no opening quote.
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

// escaped reports whether a character is escaped, that is, whether the text
// before it ends in an odd number of backslashes.
func escaped(before string) bool {
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// cutPair cuts the first name=value pair off an element. It reports whether
// more pairs are left, and whether the pair is well formed. An empty pair is
// well formed, and its name is "".
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

// cutQuoted parses a quoted string (RFC 9110 §5.6.4). The string s begins after
// the opening quote, and rest begins after the closing quote.
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
