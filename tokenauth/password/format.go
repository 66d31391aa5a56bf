package password

import (
	"strconv"
	"strings"
)

// A format is an element of [Options.Formats].
type format = func(stored string) (verify func(password string) bool)

// maxStored is the maximum length of a stored hash in the formats of this
// package, in bytes. These formats need at most a third of it.
const maxStored = 1024

// parse parses a hash in a format of this package. It returns false if the
// format is unknown or the cost is too high.
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
	return orFalse(parseASPNET(stored)) // which is base64 without a marker
}

func orFalse[V verifier](v V, ok bool) (verifier, bool) { return v, ok }

// parseWith parses a hash. It tries the formats of the host first, so that a
// host can replace those of this package.
func parseWith(formats []format, stored string) (verifier, bool) {
	for i, format := range formats {
		if verify := format(stored); verify != nil {
			return hostHash{verify, i}, true
		}
	}
	return parse(stored)
}

// A hostHash is a hash in one of the formats of [Options.Formats].
type hostHash struct {
	matches func(password string) bool
	format  int // its index in Options.Formats
}

func (h hostHash) verify(password string) (bool, error) { return h.matches(password), nil }

// cheap always returns true, because the cost of a host's format is unknown. So
// each rejection also takes a hash of the default cost.
func (hostHash) cheap() bool { return true }

// dummy returns the hash itself, because the package cannot make another one
// that takes as long.
func (h hostHash) dummy() verifier { return h }

func (h hostHash) kind() string { return "host " + strconv.Itoa(h.format) }

// outdated reports whether [Options.Upgrade] should replace a hash: because it
// is not Argon2id, or is weaker than those that [Hash] makes.
func outdated(v verifier) bool {
	a, ok := v.(argon2id)
	return !ok || a.weak()
}
