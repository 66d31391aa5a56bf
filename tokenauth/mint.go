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
// anything that mint cannot have made.
func parse(prefix, accessToken string) (s Slot, d Digest, ok bool) {
	if _, ok = placeIn(prefix, accessToken); !ok {
		return s, d, false
	}
	if s, ok = slotIn(prefix, accessToken); !ok {
		return s, d, false
	}
	return s, digestOf(accessToken), true
}

// placeIn is the first part of parse: it looks at the length, the prefix and
// where the cache keeps the user, and at nothing behind that. What has the
// digest of a token that was stored needs no further look.
func placeIn(prefix, accessToken string) (p place, ok bool) {
	if len(accessToken) != len(prefix)+bodyLength || accessToken[:len(prefix)] != prefix {
		return p, false
	}
	// The library's decoder would put both ends on the heap.
	text := accessToken[len(prefix) : len(prefix)+16]
	var head [12]byte
	bad := byte(0)
	for i, j := 0, 0; i < len(head); i, j = i+3, j+4 {
		a, b, c, d := sextets[text[j]], sextets[text[j+1]], sextets[text[j+2]], sextets[text[j+3]]
		head[i], head[i+1], head[i+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
		bad |= a | b | c | d
	}
	return place(head[slotAt:]), bad < 64 && head[0] == tokenVersion
}

// sextets are the values of the characters of base64url, and 255 for others.
var sextets = func() (table [256]byte) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range table {
		table[i] = 255
	}
	for i, c := range []byte(alphabet) {
		table[c] = byte(i)
	}
	return table
}()

// digestOf digests an access token of the right length, without garbage.
func digestOf(accessToken string) Digest {
	var text [maxPrefixLength + bodyLength]byte
	return sha256.Sum256(text[:copy(text[:], accessToken)])
}

// slotIn is the second part of parse: it looks at all characters and at the
// checksum.
func slotIn(prefix, accessToken string) (s Slot, ok bool) {
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	text := b.text[:copy(b.text[:], accessToken)]
	body := b.body[:]
	// The decoder skips line breaks; the count it returns would then be short.
	n, err := base64.RawURLEncoding.Decode(body, text[len(prefix):])
	if err != nil || n != bodySize {
		return s, false
	}
	sum := crc32.ChecksumIEEE(text[:len(prefix)])
	sum = crc32.Update(sum, crc32.IEEETable, body[:checksumAt])
	if binary.BigEndian.Uint32(body[checksumAt:]) != sum {
		return s, false
	}
	copy(s.User[:], body[slotAt:])
	copy(s.Client[:], body[slotAt+16:])
	return s, true
}

// A buffer is where slotIn works. The compiler would put it on the heap.
type buffer struct {
	text [maxPrefixLength + bodyLength]byte
	body [bodySize]byte
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// equal compares digests in constant time.
func equal(a, b *Digest) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }
