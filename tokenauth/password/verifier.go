package password

import (
	"encoding/base64"
	"strings"
)

// A verifier is a stored hash that was parsed and whose cost is acceptable.
type verifier interface {
	// verify reports whether the password matches the hash. An error means that
	// this process cannot compute the hash; the password may be right or wrong.
	verify(password string) (bool, error)
	// cheap reports whether verify takes less time than a hash of the default
	// cost.
	cheap() bool
	// dummy returns a verifier whose verify takes as long. Callers must ignore
	// its result.
	dummy() verifier
	// kind returns the same string for all verifiers that take the same time.
	kind() string
}

// The limits of the length of a salt and of a hash, in bytes.
const (
	minSaltLen = 8
	maxSaltLen = 64
	minHashLen = 16
	maxHashLen = 64
)

// decode decodes strict base64 of min to max bytes: each value has only one
// encoding.
func decode(encoding *base64.Encoding, text string, min, max int) ([]byte, bool) {
	if strings.ContainsAny(text, "\r\n") { // package base64 ignores them
		return nil, false
	}
	b, err := encoding.Strict().DecodeString(text)
	return b, err == nil && min <= len(b) && len(b) <= max
}
