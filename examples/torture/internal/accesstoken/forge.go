package accesstoken

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// The layout of an access token: a prefix, then a body in base64url.
const (
	Prefix     = "tat_"
	SlotAt     = 1       // the body's 32 bytes that name the slot
	SecretAt   = 1 + 32  // its 32 random bytes
	ChecksumAt = 33 + 32 // the CRC-32 of the prefix and the bytes before
)

// Forge returns a string that resembles the token and differs from it. Most have a
// valid checksum, because a Service looks up only those.
func Forge(rng *rand.Rand, token string) string {
	body, err := base64.RawURLEncoding.DecodeString(token[len(Prefix):])
	if err != nil {
		panic("torture: a token is not what this program thinks: " + err.Error())
	}
	switch rng.IntN(8) {
	case 0: // one character, without a right checksum
		text := []byte(token)
		for string(text) == token {
			text[rng.IntN(len(text))] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~ "[rng.IntN(67)]
		}
		return string(text)
	case 1: // cut off, or with something behind
		if rng.IntN(2) == 0 {
			return token[:rng.IntN(len(token))]
		}
		return token + token[len(Prefix):][:1+rng.IntN(8)]
	case 2: // another slot, same secret
		body[SlotAt+rng.IntN(32)] ^= 1 << rng.IntN(8)
	case 3: // all of the secret
		for i := SecretAt; i < ChecksumAt; i += 8 {
			binary.LittleEndian.PutUint64(body[i:], rng.Uint64())
		}
	case 4: // another version
		body[0] ^= 1 << rng.IntN(8)
	default: // one bit of the secret
		body[SecretAt+rng.IntN(32)] ^= 1 << rng.IntN(8)
	}
	sum := crc32.ChecksumIEEE([]byte(Prefix))
	sum = crc32.Update(sum, crc32.IEEETable, body[:ChecksumAt])
	binary.BigEndian.PutUint32(body[ChecksumAt:], sum)
	return Prefix + base64.RawURLEncoding.EncodeToString(body)
}
