package accesstoken

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// The layout of an access token: a prefix, then a [Body] in base64url.
const (
	Prefix     = "tat_"
	SlotAt     = 1       // where the 32 bytes of the slot's key begin in the body
	SecretAt   = 1 + 32  // where the 32 random bytes begin
	ChecksumAt = 33 + 32 // where the CRC-32 of the prefix and of all earlier bytes begins
)

// Forge returns a string that resembles the token but differs from it. Most of the
// strings have a right checksum, because a [tokenauth.Service] looks up only those.
func Forge(rng *rand.Rand, token string) string {
	body, err := base64.RawURLEncoding.DecodeString(token[len(Prefix):])
	if err != nil {
		panic("torture: accesstoken.Forge: not an access token: " + err.Error())
	}
	switch rng.IntN(8) {
	case 0: // change one character; the checksum is wrong then
		text := []byte(token)
		for string(text) == token {
			text[rng.IntN(len(text))] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~ "[rng.IntN(67)]
		}
		return string(text)
	case 1: // cut the token off, or append to it
		if rng.IntN(2) == 0 {
			return token[:rng.IntN(len(token))]
		}
		return token + token[len(Prefix):][:1+rng.IntN(8)]
	case 2: // change the slot
		body[SlotAt+rng.IntN(32)] ^= 1 << rng.IntN(8)
	case 3: // replace the whole secret
		for i := SecretAt; i < ChecksumAt; i += 8 {
			binary.LittleEndian.PutUint64(body[i:], rng.Uint64())
		}
	case 4: // change the version
		body[0] ^= 1 << rng.IntN(8)
	default: // change one bit of the secret
		body[SecretAt+rng.IntN(32)] ^= 1 << rng.IntN(8)
	}
	sum := crc32.ChecksumIEEE([]byte(Prefix))
	sum = crc32.Update(sum, crc32.IEEETable, body[:ChecksumAt])
	binary.BigEndian.PutUint32(body[ChecksumAt:], sum)
	return Prefix + base64.RawURLEncoding.EncodeToString(body)
}
