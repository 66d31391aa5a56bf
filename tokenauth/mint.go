package tokenauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"sync"
)

// An access token is prefix + base64url(version ‖ slot ‖ secret ‖ checksum):
// 69 bytes, and so 92 characters without padding or spare bits. One token has
// one spelling.
//
// The slot is the address under which the storage finds it; the secret is what
// makes it unguessable. The checksum, a CRC-32 (IEEE) of the prefix and the
// bytes before it, lets rubbish be refused without asking the storage, and
// lets secret scanners tell a token from anything that looks like one.
const (
	tokenVersion = 1

	slotAt     = 1
	secretAt   = slotAt + 32
	checksumAt = secretAt + 32
	bodySize   = checksumAt + crc32.Size

	bodyLength      = bodySize / 3 * 4
	maxPrefixLength = 16
)

// mint makes a new access token for the slot.
func mint(prefix string, s Slot) (accessToken string, d Digest) {
	var body [bodySize]byte
	body[0] = tokenVersion
	copy(body[slotAt:], s.User[:])
	copy(body[slotAt+16:], s.Client[:])
	rand.Read(body[secretAt:checksumAt]) // never fails: it would end the process
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(prefix)), crc32.IEEETable, body[:checksumAt])
	binary.BigEndian.PutUint32(body[checksumAt:], sum)

	text := make([]byte, 0, maxPrefixLength+bodyLength)
	text = append(text, prefix...)
	text = base64.RawURLEncoding.AppendEncode(text, body[:])
	return string(text), sha256.Sum256(text)
}

// parse finds the slot in an access token and digests it. It reports false for
// anything that mint cannot have made, and makes no garbage.
func parse(prefix, accessToken string) (s Slot, d Digest, ok bool) {
	if len(accessToken) != len(prefix)+bodyLength || accessToken[:len(prefix)] != prefix {
		return s, d, false
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	text := b.text[:copy(b.text[:], accessToken)]
	body := b.body[:]
	// The decoder skips line breaks; the count it returns would then be short.
	n, err := base64.RawURLEncoding.Decode(body, text[len(prefix):])
	if err != nil || n != bodySize || body[0] != tokenVersion {
		return s, d, false
	}
	sum := crc32.ChecksumIEEE(text[:len(prefix)])
	sum = crc32.Update(sum, crc32.IEEETable, body[:checksumAt])
	if binary.BigEndian.Uint32(body[checksumAt:]) != sum {
		return s, d, false
	}
	copy(s.User[:], body[slotAt:])
	copy(s.Client[:], body[slotAt+16:])
	return s, sha256.Sum256(text), true
}

// A buffer is where parse works. The compiler would put it on the heap.
type buffer struct {
	text [maxPrefixLength + bodyLength]byte
	body [bodySize]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// equal compares digests in constant time.
func equal(a, b *Digest) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
