package accesstoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// A KeyID is the random part of an API key that is not secret.
type KeyID [9]byte

// A Key is the content of an API key, which is
// prefix + base64url(ID ‖ version ‖ user ‖ secret ‖ checksum). The 63 bytes in
// parentheses become 84 characters. A key is shorter than an access token, so
// neither is taken for the other, even if their prefixes are the same.
//
// The ID comes first, so that keys of one user do not share their beginning. So
// the beginning of a key names the key: see [Key.Start].
type Key struct {
	ID KeyID
	// User is the key of the user in the storage.
	User [16]byte
}

const (
	keyVersionAt  = len(KeyID{})
	keyUserAt     = keyVersionAt + 1
	keySecretAt   = keyUserAt + 16
	keyChecksumAt = keySecretAt + 33 // fills the last group of base64
	keySize       = keyChecksumAt + crc32.Size
	keyLength     = keySize / 3 * 4
	startLength   = keyVersionAt / 3 * 4
)

// MintKey returns a new API key for the user, its content and its digest. The
// prefix has at most [MaxPrefix] bytes.
func MintKey(prefix string, user [16]byte) (key string, k Key, digest [sha256.Size]byte) {
	var body [keySize]byte
	rand.Read(body[:keyChecksumAt]) // never returns an error
	body[keyVersionAt] = version
	copy(body[keyUserAt:], user[:])
	key, digest = seal(prefix, body[:])
	return key, Key{KeyID(body[:keyVersionAt]), user}, digest
}

// Start returns the beginning of the key, which names it for people. It is not
// secret.
func (k KeyID) Start(prefix string) string {
	return prefix + base64.RawURLEncoding.EncodeToString(k[:])
}

// ParseStart returns the ID in the result of [KeyID.Start]. It reports false for
// any other string.
func ParseStart(prefix, start string) (id KeyID, ok bool) {
	if len(start) != len(prefix)+startLength || start[:len(prefix)] != prefix {
		return id, false
	}
	// The decoder skips line breaks, so check the number of decoded bytes, too.
	body, err := base64.RawURLEncoding.DecodeString(start[len(prefix):])
	if err != nil || len(body) != len(id) {
		return id, false
	}
	return KeyID(body), true
}

// IsKey reports whether the string has the prefix and the length of an API key.
func IsKey(prefix, key string) bool {
	return len(key) == len(prefix)+keyLength && key[:len(prefix)] == prefix
}

// MayBeBoth reports whether a string could have the prefix and the length of both
// an API key and an access token, with the given prefixes.
func MayBeBoth(keyPrefix, accessPrefix string) bool {
	n := min(len(keyPrefix), len(accessPrefix))
	return keyPrefix[:n] == accessPrefix[:n] && len(keyPrefix)+keyLength == len(accessPrefix)+bodyLength
}

// DigestKey is [Digest] for an API key.
func DigestKey(prefix, key string) (digest [sha256.Size]byte, ok bool) {
	if !IsKey(prefix, key) {
		return digest, false
	}
	var text [MaxPrefix + keyLength]byte // avoids an allocation
	return sha256.Sum256(text[:copy(text[:], key)]), true
}

// ParseKey returns the content of an API key. It reports false for a string that
// [MintKey] cannot have returned with this prefix.
func ParseKey(prefix, key string) (k Key, ok bool) {
	if !IsKey(prefix, key) {
		return k, false
	}
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	text := b.text[:copy(b.text[:], key)]
	body := b.body[:keySize]
	// The decoder skips line breaks, so check the number of decoded bytes, too.
	n, err := base64.RawURLEncoding.Decode(body, text[len(prefix):])
	if err != nil || n != keySize || body[keyVersionAt] != version {
		return k, false
	}
	sum := crc32.Update(crc32.ChecksumIEEE(text[:len(prefix)]), crc32.IEEETable, body[:keyChecksumAt])
	if binary.BigEndian.Uint32(body[keyChecksumAt:]) != sum {
		return k, false
	}
	return Key{KeyID(body), [16]byte(body[keyUserAt:])}, true
}
