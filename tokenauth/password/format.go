package password

import (
	"strconv"
	"strings"
)

// A format is one of Options.Formats.
type format = func(stored string) (verify func(password string) bool)

// maxStored is how long a stored hash of a built-in format may be; they need a
// third of it.
const maxStored = 1024

// parse returns false for a hash that is of no known format, or too costly.
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
	return orFalse(parseASPNET(stored)) // which begins as any base64 does
}

func orFalse[V verifier](v V, ok bool) (verifier, bool) { return v, ok }

// parseWith asks the host's formats first, so that a host can have its own way
// with ours as well.
func parseWith(formats []format, stored string) (verifier, bool) {
	for i, format := range formats {
		if verify := format(stored); verify != nil {
			return hostHash{verify, i}, true
		}
	}
	return parse(stored)
}

// A hostHash is one of a host's format.
type hostHash struct {
	matches func(password string) bool
	format  int // which of the host's
}

func (h hostHash) verify(password string) (bool, error) { return h.matches(password), nil }

// cheap is a guess on the safe side: nobody knows what the host does.
func (hostHash) cheap() bool { return true }

// dummy is the hash itself, since nobody knows how to make one that takes as
// long.
func (h hostHash) dummy() verifier { return h }

func (h hostHash) kind() string { return "host " + strconv.Itoa(h.format) }

// outdated reports whether a hash is to be replaced after a good sign-in: one
// that is not Argon2id, and one that is weaker than what Hash makes.
func outdated(v verifier) bool {
	a, ok := v.(argon2id)
	return !ok || a.weak()
}
