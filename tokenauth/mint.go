package tokenauth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
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
	binary.BigEndian.PutUint32(body[checksumAt:], checksum(prefix, body[:checksumAt]))

	text := make([]byte, 0, maxPrefixLength+bodyLength)
	text = append(text, prefix...)
	text = base64.RawURLEncoding.AppendEncode(text, body[:])
	return string(text), sha256.Sum256(text)
}

// parse finds the slot in an access token and digests it. It reports false for
// anything that mint cannot have made, and does so without garbage.
func parse(prefix, accessToken string) (s Slot, d Digest, ok bool) {
	if len(accessToken) != len(prefix)+bodyLength || accessToken[:len(prefix)] != prefix {
		return s, d, false
	}
	var buf [maxPrefixLength + bodyLength]byte
	text := buf[:copy(buf[:], accessToken)]

	var body [bodySize]byte
	// The decoder skips line breaks; the count it returns would then be short.
	n, err := base64.RawURLEncoding.Decode(body[:], text[len(prefix):])
	if err != nil || n != bodySize || body[0] != tokenVersion {
		return s, d, false
	}
	if binary.BigEndian.Uint32(body[checksumAt:]) != checksum(prefix, body[:checksumAt]) {
		return s, d, false
	}
	copy(s.User[:], body[slotAt:])
	copy(s.Client[:], body[slotAt+16:])
	return s, sha256.Sum256(text), true
}

func checksum(prefix string, body []byte) uint32 {
	var buf [maxPrefixLength]byte
	sum := crc32.ChecksumIEEE(buf[:copy(buf[:], prefix)])
	return crc32.Update(sum, crc32.IEEETable, body)
}

// equal compares digests in constant time.
func equal(a, b Digest) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
