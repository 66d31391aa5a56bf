package rotation

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
)

// info separates the derivation from other uses of the same key. It is part of the
// format that replicas share, so it must never change.
const info = "tokenauth/v1/refresh"

// Derive returns the secrets of the pair that replaces a refresh token (RFC 5869). The
// storage has the salt, the host has the key, and the client has the refresh token.
// Deriving the pair needs all three.
func Derive(key []byte, refreshToken string, salt [16]byte) (access, refresh [32]byte) {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(refreshToken))
	secrets, err := hkdf.Key(sha256.New, mac.Sum(nil), salt[:], info, len(access)+len(refresh))
	if err != nil {
		panic(err) // only for a length that is too large
	}
	copy(access[:], secrets)
	copy(refresh[:], secrets[len(access):])
	return access, refresh
}
