package tokenauth

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxBasic is the maximum length, in bytes, of Base64-encoded Basic
// credentials. Once decoded, the credentials may be as long as the longest
// accepted body.
var maxBasic = base64.StdEncoding.EncodedLen(maxBodySize)

// A userPass is the user ID and the password of Basic authentication.
type userPass struct{ user, pass string }

// parseBasic parses the Authorization header line of a request to an endpoint
// (RFC 7617). It returns nil and true for "" and for other schemes, because
// clients may add a stale bearer token to every request. It returns false for a
// Basic line that is malformed, or whose credentials are longer than maxBasic.
func parseBasic(line string) (*userPass, bool) {
	const scheme = "Basic"
	if !hasPrefixFold(line, scheme) {
		return nil, true
	}
	rest := line[len(scheme):]
	if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return nil, true // another scheme, such as "BasicX"
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
		// RFC 7617 does not prescribe a charset. Three common client libraries
		// send ISO-8859-1, in which each byte is the code point itself.
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

// hasPrefixFold reports whether s begins with prefix, ignoring the case of
// ASCII letters.
func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && (s[:len(prefix)] == prefix || strings.EqualFold(s[:len(prefix)], prefix))
}
