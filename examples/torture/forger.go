package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// bodySize is what an access token has behind its prefix, decoded.
const bodySize = checksumAt + crc32.Size

// A tokenBody is that, to be changed.
type tokenBody [bodySize]byte

// open decodes an access token that is one.
func (b *tokenBody) open(token string) {
	if !b.decode(token) {
		panic("torture: a token is not what this program thinks")
	}
}

// decode reports whether an access token could be decoded.
func (b *tokenBody) decode(token string) bool {
	n, err := base64.RawURLEncoding.Decode(b[:], []byte(token[len(tokenPrefix):]))
	return err == nil && n == bodySize
}

var prefixSum = crc32.ChecksumIEEE([]byte(tokenPrefix))

// seal returns the body as an access token, with a right checksum.
func (b *tokenBody) seal() string {
	binary.BigEndian.PutUint32(b[checksumAt:], crc32.Update(prefixSum, crc32.IEEETable, b[:checksumAt]))
	return b.spell()
}

// spell is seal without the checksum.
func (b *tokenBody) spell() string {
	var text [len(tokenPrefix) + bodySize/3*4]byte
	copy(text[:], tokenPrefix)
	base64.RawURLEncoding.Encode(text[len(tokenPrefix):], b[:])
	return string(text[:])
}

// forgeSecret changes a bit of the secret.
func forgeSecret(rng *rand.Rand, token string) string {
	var b tokenBody
	b.open(token)
	b.flip(rng, secretAt, checksumAt)
	return b.seal()
}

// flip changes a bit in [from, to).
func (b *tokenBody) flip(rng *rand.Rand, from, to int) {
	n := rng.Uint32N(uint32(8 * (to - from)))
	b[from+int(n/8)] ^= 1 << (n % 8)
}

// storedAs returns what a storage knows an access token by.
func storedAs(token string) (t tokenauth.Token) {
	var b tokenBody
	b.open(token)
	copy(t.Slot.User[:], b[slotAt:])
	copy(t.Slot.Client[:], b[slotAt+16:])
	t.Digest = sha256.Sum256([]byte(token))
	return t
}
