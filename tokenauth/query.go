package tokenauth

const maxQuery = 8 << 10

// credentialNames are the parameters that must not be in a query, because a
// query ends up in access logs (RFC 6749 §2.3.1).
var credentialNames = []string{"grant_type", "username", "password", "client_id", "client_secret", "token", "access_token"}

// longestName is the length of the longest name that queryHas looks for. It is
// also the maximum in [Options.Parameters].
const longestName = 64

// queryHas reports whether a raw query has a parameter with one of the names,
// which must be in lower case. It ignores case in the query, and accepts both
// '&' and ';' as separators. It does not look at values.
//
// It reads each byte once and allocates nothing, because on protected routes
// only the HTTP server limits the length of a query.
func queryHas(rawQuery string, names ...string) bool {
	var name [longestName]byte
	for rest := rawQuery; rest != ""; {
		end := 0
		for end < len(rest) && rest[end] != '&' && rest[end] != ';' {
			end++
		}
		if n, ok := decodeName(&name, rest[:end]); ok && n > 0 && isAnyOf(name[:n], names) {
			return true
		}
		rest = rest[min(end+1, len(rest)):]
	}
	return false
}

// decodeName decodes the name in a name=value pair, and converts ASCII letters
// to lower case. It reports false for a name longer than longestName.
func decodeName(to *[longestName]byte, pair string) (n int, ok bool) {
	for i := 0; i < len(pair) && pair[i] != '='; i++ {
		c := pair[i]
		if escaped, ok := escapedAt(pair, i); ok {
			c = escaped
			i += 2
		}
		if n == len(to) {
			return 0, false
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		to[n] = c
		n++
	}
	return n, true
}

// escapedAt decodes the percent escape at index i. It reports false if there is
// none.
func escapedAt(s string, i int) (byte, bool) {
	if s[i] != '%' || i+2 >= len(s) {
		return 0, false
	}
	high, low := unhex(s[i+1]), unhex(s[i+2])
	return byte(high<<4 | low), high >= 0 && low >= 0
}

// unhex returns the value of a hexadecimal digit, or -1.
func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func isAnyOf(name []byte, names []string) bool {
	for _, other := range names {
		if string(name) == other { // the compiler does not allocate for this conversion
			return true
		}
	}
	return false
}
