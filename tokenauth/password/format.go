package password

import (
	"strconv"
	"strings"
)

// A format is an element of [Options.Formats].
type format = func(stored string) (verify func(password string) bool)

// maxStored is the maximum length of a stored hash, in bytes. The formats of
// this package need a third of it.
const maxStored = 1024

// parse returns false for a hash of an unknown format, and for one that is too
// costly.
func parse(stored string) (verifier, bool) {
	switch {
	case len(stored) > maxStored:
		return nil, false
	case strings.HasPrefix(stored, argon2idMarker):
		return orFalse(parseArgon2id(stored))
	case strings.HasPrefix(stored, "$2"):
		return orFalse(parseBcrypt(stored))
	case strings.HasPrefix(stored, "$pbkdf2"):
		return orFalse(parsePBKDF2(stored))
	}
	return orFalse(parseASPNET(stored)) // its base64 has no marker
}

func orFalse[V verifier](v V, ok bool) (verifier, bool) { return v, ok }

// parseWith tries the formats of the host first, so that a host can replace
// those of this package.
func parseWith(formats []format, stored string) (verifier, bool) {
	for i, format := range formats {
		if verify := format(stored); verify != nil {
			return hostHash{verify, i}, true
		}
	}
	return parse(stored)
}

// A hostHash is a hash of a format in [Options.Formats].
type hostHash struct {
	matches func(password string) bool
	format  int // its index in Options.Formats
}

func (h hostHash) verify(password string) (bool, error) { return h.matches(password), nil }

// cheap is always true, which adds a hash of the default cost to each
// rejection: the cost of a host's format is unknown.
func (hostHash) cheap() bool { return true }

// dummy returns the hash itself: the package cannot make another one that takes
// as long.
func (h hostHash) dummy() verifier { return h }

func (h hostHash) kind() string { return "host " + strconv.Itoa(h.format) }

// outdated reports whether [Options.Upgrade] should replace a hash: it is not
// Argon2id, or is weaker than those that [Hash] makes.
func outdated(v verifier) bool {
	a, ok := v.(argon2id)
	return !ok || a.weak()
}
