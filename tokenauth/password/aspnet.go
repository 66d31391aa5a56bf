package password

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
)

// The first byte of an ASP.NET Identity hash is the version of its format.
const (
	aspnetV2 = 0x00 // Identity 1 and 2
	aspnetV3 = 0x01 // ASP.NET Core Identity

	// aspnetMinLen is the length in bytes of the shortest salt, and of the
	// shortest subkey, that Identity accepts.
	aspnetMinLen = 16
)

// aspnetPRFs has the PRFs of v3 hashes. A PRF's index is the number that stands
// for it in a hash.
var aspnetPRFs = []prf{hmacSHA1, hmacSHA256, hmacSHA512}

// parseASPNET parses a base64 hash that ASP.NET Identity's PasswordHasher
// wrote. After the version, a v2 hash has the salt and the subkey; all its
// parameters are fixed. A v3 hash has three numbers before the salt: the PRF's
// number, the number of iterations, and the salt's length. Each is a big-endian
// uint32.
func parseASPNET(stored string) (p pbkdf2Hash, ok bool) {
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Map(withoutSpace, stored))
	if err != nil || len(raw) == 0 {
		return p, false
	}
	marker, rest := raw[0], raw[1:]
	switch marker {
	case aspnetV2:
		if len(rest) != 16+32 {
			return p, false
		}
		return pbkdf2Hash{hmacSHA1, 1000, rest[:16], rest[16:]}, true
	case aspnetV3:
		return parseASPNETv3(rest)
	}
	return p, false
}

func parseASPNETv3(rest []byte) (p pbkdf2Hash, ok bool) {
	if len(rest) < 3*4 {
		return p, false
	}
	number := func(i int) uint32 { return binary.BigEndian.Uint32(rest[4*i:]) }
	prf, iterations, saltLen := number(0), number(1), number(2)
	rest = rest[3*4:]
	if prf >= uint32(len(aspnetPRFs)) || saltLen < aspnetMinLen || saltLen > maxSaltLen || int(saltLen) > len(rest) {
		return p, false
	}
	p = pbkdf2Hash{aspnetPRFs[prf], int(min(iterations, 1<<31-1)), rest[:saltLen], rest[saltLen:]}
	if len(p.hash) < aspnetMinLen || len(p.hash) > maxHashLen {
		return p, false
	}
	return p, p.bounded()
}

// withoutSpace drops the white space that .NET ignores in base64.
func withoutSpace(r rune) rune {
	switch r {
	case ' ', '\t', '\r', '\n':
		return -1
	}
	return r
}
