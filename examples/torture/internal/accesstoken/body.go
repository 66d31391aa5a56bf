// Package accesstoken knows how an access token is spelled, and forges others from
// it.
package accesstoken

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// BodySize is what an access token has behind its prefix, decoded.
const BodySize = ChecksumAt + crc32.Size

// A Body is that, to be changed.
type Body [BodySize]byte

// Open decodes an access token that is one.
func (b *Body) Open(token string) {
	if !b.Decode(token) {
		panic("torture: a token is not what this program thinks")
	}
}

// Decode reports whether an access token could be decoded.
func (b *Body) Decode(token string) bool {
	n, err := base64.RawURLEncoding.Decode(b[:], []byte(token[len(Prefix):]))
	return err == nil && n == BodySize
}

var prefixSum = crc32.ChecksumIEEE([]byte(Prefix))

// Seal returns the body as an access token, with a right checksum.
func (b *Body) Seal() string {
	binary.BigEndian.PutUint32(b[ChecksumAt:], crc32.Update(prefixSum, crc32.IEEETable, b[:ChecksumAt]))
	return b.Spell()
}

// Spell is seal without the checksum.
func (b *Body) Spell() string {
	var text [len(Prefix) + BodySize/3*4]byte
	copy(text[:], Prefix)
	base64.RawURLEncoding.Encode(text[len(Prefix):], b[:])
	return string(text[:])
}

// ForgeSecret changes a bit of the secret.
func ForgeSecret(rng *rand.Rand, token string) string {
	var b Body
	b.Open(token)
	b.Flip(rng, SecretAt, ChecksumAt)
	return b.Seal()
}

// Flip changes a bit in [from, to).
func (b *Body) Flip(rng *rand.Rand, from, to int) {
	n := rng.Uint32N(uint32(8 * (to - from)))
	b[from+int(n/8)] ^= 1 << (n % 8)
}

// StoredAs returns what a storage knows an access token by.
func StoredAs(token string) (t tokenauth.Token) {
	var b Body
	b.Open(token)
	copy(t.Slot.User[:], b[SlotAt:])
	copy(t.Slot.Client[:], b[SlotAt+16:])
	t.Digest = sha256.Sum256([]byte(token))
	return t
}
