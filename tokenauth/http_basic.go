package tokenauth

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBasic is the maximum length of Basic authentication, encoded. Decoded it is
// as long as a body may be.
var maxBasic = base64.StdEncoding.EncodedLen(maxBodySize)

// A userPass is what an Authorization header of the Basic scheme holds.
type userPass struct{ user, pass string }

// parseBasic reads the Authorization line of a request to an endpoint (RFC
// 7617), "" for none. It returns nil for none and for other schemes:
// interceptors of clients add stale bearer tokens. It reports false for a Basic
// line that is malformed or longer than maxBasic.
func parseBasic(line string) (*userPass, bool) {
	const scheme = "Basic"
	if !hasPrefixFold(line, scheme) {
		return nil, true
	}
	rest := line[len(scheme):]
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return nil, true // another scheme that begins with the same letters
	}
	encoded := strings.Trim(rest, " ")
	if len(encoded) > maxBasic {
		return nil, false
	}
	decoded, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return nil, false
	}
	text := string(decoded)
	if !utf8.ValidString(text) {
		// RFC 7617 leaves the charset open; three common client libraries
		// send ISO-8859-1, in which every byte is the code point itself.
		latin1 := make([]rune, len(decoded))
		for i, b := range decoded {
			latin1[i] = rune(b)
		}
		text = string(latin1)
	}
	user, pass, ok := strings.Cut(text, ":")
	if !ok || strings.ContainsFunc(text, unicode.IsControl) {
		return nil, false
	}
	return &userPass{user, pass}, true
}

// hasPrefixFold is strings.HasPrefix with ASCII letters in any case.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && (s[:len(prefix)] == prefix || strings.EqualFold(s[:len(prefix)], prefix))
}
