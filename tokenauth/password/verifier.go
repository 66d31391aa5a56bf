package password

import (
	"encoding/base64"
	"strings"
)

// A verifier is a parsed hash with an acceptable cost.
type verifier interface {
	// verify reports whether the password matches the hash. It returns an error
	// if this process cannot compute the hash. The password may then be right
	// or wrong.
	verify(password string) (bool, error)
	// cheap reports whether verify takes less time than a hash of the default
	// cost, which [Hash] makes.
	cheap() bool
	// dummy returns a verifier with the same cost. The result of its verify
	// method has no meaning.
	dummy() verifier
	// kind returns a string that is the same for all verifiers of the same
	// cost.
	kind() string
}

// The minimum and maximum lengths of a salt and of a hash, in bytes.
const (
	minSaltLen = 8
	maxSaltLen = 64
	minHashLen = 16
	maxHashLen = 64
)

// decode decodes base64, and returns false unless the result has min to max
// bytes. It is strict: it accepts only one encoding of each result.
func decode(encoding *base64.Encoding, text string, min, max int) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") { // package base64 ignores them
		return nil, false
	}
	b, err := encoding.Strict().DecodeString(text)
	return b, err == nil && min <= len(b) && len(b) <= max
}
