// Package accesstoken encodes, decodes and forges access tokens.
package accesstoken

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// BodySize is the number of bytes of a [Body].
const BodySize = ChecksumAt + crc32.Size

// A Body is the decoded part of an access token after its prefix.
type Body [BodySize]byte

// Open decodes an access token. It panics if the token does not decode. Use
// [Body.Decode] for tokens that may be invalid.
func (b *Body) Open(token string) {
	if !b.Decode(token) {
		panic("torture: accesstoken.Body.Open: not an access token in the format that this program knows")
	}
}

// Decode decodes an access token and reports whether it succeeded. It does not check
// the checksum.
func (b *Body) Decode(token string) bool {
	n, err := base64.RawURLEncoding.Decode(b[:], []byte(token[len(Prefix):]))
	return err == nil && n == BodySize
}

var prefixSum = crc32.ChecksumIEEE([]byte(Prefix))

// Seal sets the right checksum and returns the access token.
func (b *Body) Seal() string {
	binary.BigEndian.PutUint32(b[ChecksumAt:], crc32.Update(prefixSum, crc32.IEEETable, b[:ChecksumAt]))
	return b.Spell()
}

// Spell returns the access token. It keeps the checksum of b, right or wrong. See
// [Body.Seal].
func (b *Body) Spell() string {
	var text [len(Prefix) + BodySize/3*4]byte
	copy(text[:], Prefix)
	base64.RawURLEncoding.Encode(text[len(Prefix):], b[:])
	return string(text[:])
}

// ForgeSecret returns the token with one bit of its secret changed.
func ForgeSecret(rng *rand.Rand, token string) string {
	var b Body
	b.Open(token)
	b.Flip(rng, SecretAt, ChecksumAt)
	return b.Seal()
}

// Flip changes one random bit of the bytes with the indexes from to to-1.
func (b *Body) Flip(rng *rand.Rand, from, to int) {
	n := rng.Uint32N(uint32(8 * (to - from)))
	b[from+int(n/8)] ^= 1 << (n % 8)
}

// StoredAs returns a [tokenauth.Token] with the slot and the digest under which a
// storage keeps the access token. Its other fields are zero.
func StoredAs(token string) (t tokenauth.Token) {
	var b Body
	b.Open(token)
	copy(t.Slot.User[:], b[SlotAt:])
	copy(t.Slot.Client[:], b[SlotAt+16:])
	t.Digest = sha256.Sum256([]byte(token))
	return t
}
