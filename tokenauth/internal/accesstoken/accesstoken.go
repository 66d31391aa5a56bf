// Package accesstoken makes and parses access tokens.
//
// An access token is prefix + base64url(version ‖ slot ‖ secret ‖ checksum).
// The 69 bytes in parentheses become 92 characters, without padding or spare
// bits. So each token has exactly one spelling.
//
// The slot is the address under which the storage finds the token. The secret
// makes the token unguessable. The checksum is a CRC-32 (IEEE) of the prefix,
// the version, the slot and the secret. It lets [Parse] reject malformed tokens
// without a call to the storage, and it lets secret scanners recognize a token.
package accesstoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// MaxPrefix is the maximum length of a prefix, in bytes.
const MaxPrefix = 16

const (
	version = 1

	slotAt     = 1
	secretAt   = slotAt + 32
	checksumAt = secretAt + 32
	bodySize   = checksumAt + crc32.Size
	bodyLength = bodySize / 3 * 4
)

// Mint returns a new access token for the slot, and its digest. The prefix has
// at most [MaxPrefix] bytes.
func Mint(prefix string, slot [32]byte) (accessToken string, digest [sha256.Size]byte) {
	var secret [32]byte
	rand.Read(secret[:]) // never returns an error
	return Make(prefix, slot, secret)
}

// Make returns the access token for the slot that has the secret, and its digest.
func Make(prefix string, slot, secret [32]byte) (accessToken string, digest [sha256.Size]byte) {
	var body [bodySize]byte
	body[0] = version
	copy(body[slotAt:], slot[:])
	copy(body[secretAt:], secret[:])
	return seal(prefix, body[:])
}

// seal sets the checksum at the end of a body. It returns the token with this
// body, and its digest.
func seal(prefix string, body []byte) (token string, digest [sha256.Size]byte) {
	rest := len(body) - crc32.Size
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(prefix)), crc32.IEEETable, body[:rest])
	binary.BigEndian.PutUint32(body[rest:], sum)
	text := make([]byte, 0, MaxPrefix+base64.RawURLEncoding.EncodedLen(len(body)))
	text = append(text, prefix...)
	text = base64.RawURLEncoding.AppendEncode(text, body)
	return string(text), sha256.Sum256(text)
}

// Digest returns the SHA-256 of an access token. It checks only the length and
// the prefix, and reports false if either is wrong.
func Digest(prefix, accessToken string) (digest [sha256.Size]byte, ok bool) {
	if !hasShape(prefix, accessToken) {
		return digest, false
	}
	var text [MaxPrefix + bodyLength]byte // avoids an allocation
	return sha256.Sum256(text[:copy(text[:], accessToken)]), true
}

// Parse returns the slot of an access token. It reports false for a string that
// [Mint] cannot have returned with this prefix.
func Parse(prefix, accessToken string) (slot [32]byte, ok bool) {
	if !hasShape(prefix, accessToken) {
		return slot, false
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	text := b.text[:copy(b.text[:], accessToken)]
	body := b.body[:]
	// The decoder skips line breaks, so check the number of decoded bytes, too.
	n, err := base64.RawURLEncoding.Decode(body, text[len(prefix):])
	if err != nil || n != bodySize || body[0] != version {
		return slot, false
	}
	sum := crc32.Update(crc32.ChecksumIEEE(text[:len(prefix)]), crc32.IEEETable, body[:checksumAt])
	if binary.BigEndian.Uint32(body[checksumAt:]) != sum {
		return slot, false
	}
	return [32]byte(body[slotAt:]), true
}

func hasShape(prefix, accessToken string) bool {
	return len(accessToken) == len(prefix)+bodyLength && accessToken[:len(prefix)] == prefix
}

// A buffer is the working memory of [Parse]. The pool saves Parse from
// allocating a buffer on the heap for each token.
type buffer struct {
	text [MaxPrefix + bodyLength]byte
	body [bodySize]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}
