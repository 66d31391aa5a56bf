// Package accesstoken makes access tokens and takes them apart.
//
// An access token is prefix + base64url(version ‖ slot ‖ secret ‖ checksum):
// 69 bytes, and so 92 characters without padding or spare bits. One token has
// one spelling.
//
// The slot is the address under which the storage finds the token. The secret
// makes it unguessable. The checksum is a CRC-32 (IEEE) of the prefix and the
// bytes before it: it lets garbage be rejected without asking the storage, and
// lets secret scanners tell a token from anything that looks like one.
package accesstoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// MaxPrefix is the maximum length of a prefix.
const MaxPrefix = 16

const (
	version = 1

	slotAt     = 1
	secretAt   = slotAt + 32
	checksumAt = secretAt + 32
	bodySize   = checksumAt + crc32.Size
	bodyLength = bodySize / 3 * 4
)

// Mint returns a new access token for the slot, and its digest.
func Mint(prefix string, slot [32]byte) (accessToken string, digest [sha256.Size]byte) {
	var body [bodySize]byte
	body[0] = version
	copy(body[slotAt:], slot[:])
	rand.Read(body[secretAt:checksumAt]) // never fails: it would end the process
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(prefix)), crc32.IEEETable, body[:checksumAt])
	binary.BigEndian.PutUint32(body[checksumAt:], sum)

	text := make([]byte, 0, MaxPrefix+bodyLength)
	text = append(text, prefix...)
	text = base64.RawURLEncoding.AppendEncode(text, body[:])
	return string(text), sha256.Sum256(text)
}

// Digest digests an access token. It checks only length and prefix, and reports
// false if they are wrong.
func Digest(prefix, accessToken string) (digest [sha256.Size]byte, ok bool) {
	if !hasShape(prefix, accessToken) {
		return digest, false
	}
	var text [MaxPrefix + bodyLength]byte // no garbage
	return sha256.Sum256(text[:copy(text[:], accessToken)]), true
}

// Parse returns the slot of an access token. It reports false for anything that
// Mint cannot have returned.
func Parse(prefix, accessToken string) (slot [32]byte, ok bool) {
	if !hasShape(prefix, accessToken) {
		return slot, false
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	text := b.text[:copy(b.text[:], accessToken)]
	body := b.body[:]
	// The decoder skips line breaks; the count it returns is then short.
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

// A buffer is where Parse works. The compiler would put it on the heap.
type buffer struct {
	text [MaxPrefix + bodyLength]byte
	body [bodySize]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}
