package accesstoken

import (
	"encoding/base64"
	"math/rand/v2"
)

// ForgeRefresh returns the refresh token with one random bit changed. Part is the part
// of the token that is changed.
func ForgeRefresh(rng *rand.Rand, refreshToken string, part RefreshPart) string {
	b := openRefresh(refreshToken)
	n := rng.IntN(8 * (part.to - part.from))
	b[part.from+n/8] ^= 1 << (n % 8)
	if part == RefreshChecksum {
		return RefreshPrefix + base64.RawURLEncoding.EncodeToString(b[:])
	}
	return b.seal()
}

// A RefreshPart is a part of a refresh token. There is none for the secret: who knows
// the rest of the token has a copy of it.
type RefreshPart struct{ from, to int }

// The parts of a refresh token. A [tokenauth.Service] checks the checksum before it
// looks anything up.
var (
	RefreshVersion  = RefreshPart{0, SlotAt}
	RefreshSlot     = RefreshPart{SlotAt, familyAt}
	RefreshFamily   = RefreshPart{familyAt, numberAt}
	RefreshChecksum = RefreshPart{refreshChecksumAt, refreshSize}
)

// SlotOfRefresh returns the key of the slot of a refresh token. It reports false for a
// string that does not decode. It does not check the checksum.
func SlotOfRefresh(refreshToken string) (slot [32]byte, ok bool) {
	var b refreshBody
	if len(refreshToken) != len(RefreshPrefix)+base64.RawURLEncoding.EncodedLen(refreshSize) {
		return slot, false
	}
	n, err := base64.RawURLEncoding.Decode(b[:], []byte(refreshToken[len(RefreshPrefix):]))
	copy(slot[:], b[SlotAt:])
	return slot, err == nil && n == refreshSize
}
