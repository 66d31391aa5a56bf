package password

import (
	"encoding/base64"
	"strings"
)

// A verifier is a stored hash that was found well-formed and bounded in cost.
type verifier interface {
	// verify reports whether the password is the one that was hashed. An error
	// says that it cannot be computed here, and nothing of the password.
	verify(password string) (bool, error)
	// cheap reports whether verify takes less time than a hash of the default
	// cost.
	cheap() bool
	// dummy returns a verifier whose verify takes as long, and whose answer does
	// not count.
	dummy() verifier
	// kind is the same for verifiers that take as long.
	kind() string
}

// The lengths, in bytes, that a salt and a hash may have.
const (
	minSaltLen = 8
	maxSaltLen = 64
	minHashLen = 16
	maxHashLen = 64
)

// decode reads base64 that has one spelling only, and min to max bytes.
func decode(encoding *base64.Encoding, text string, min, max int) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") { // which package base64 skips
		return nil, false
	}
	b, err := encoding.Strict().DecodeString(text)
	return b, err == nil && min <= len(b) && len(b) <= max
}
