package accesstoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
)

// A Refresh is the content of a refresh token, which is
// prefix + base64url(version ‖ slot ‖ family ‖ number ‖ secret ‖ checksum). The 90 bytes
// in parentheses become 120 characters. A refresh token is longer than an access
// token, so neither is taken for the other, even if their prefixes are the same.
type Refresh struct {
	// Slot is the slot of the access token beside which it is stored.
	Slot [32]byte
	// Family is a secret that all refresh tokens of a sign-in share. It proves that
	// a refresh token which is no longer stored was issued.
	Family [18]byte
	// Number is how many refreshes of its sign-in there were before it, at most
	// maxNumber. It is not secret.
	Number uint32
	// Secret is different in each refresh token.
	Secret [32]byte
}

const (
	familyAt          = slotAt + 32
	numberAt          = familyAt + len(Refresh{}.Family)
	refreshSecretAt   = numberAt + 3
	refreshChecksumAt = refreshSecretAt + 32
	refreshSize       = refreshChecksumAt + crc32.Size
	refreshLength     = refreshSize / 3 * 4

	maxNumber = 1<<24 - 1
)

// NewFamily returns the refresh token of a new sign-in.
func NewFamily(slot [32]byte) (r Refresh) {
	r.Slot = slot
	rand.Read(r.Family[:]) // never returns an error
	rand.Read(r.Secret[:])
	return r
}

// Next returns the refresh token that replaces r and has the secret.
func (r Refresh) Next(secret [32]byte) Refresh {
	r.Number, r.Secret = min(r.Number+1, maxNumber), secret
	return r
}

// Make returns the refresh token with this content, and its digest. The prefix has
// at most [MaxPrefix] bytes.
func (r *Refresh) Make(prefix string) (refreshToken string, digest [sha256.Size]byte) {
	var body [refreshSize]byte
	body[0] = version
	copy(body[slotAt:], r.Slot[:])
	copy(body[familyAt:], r.Family[:])
	body[numberAt], body[numberAt+1], body[numberAt+2] = byte(r.Number>>16), byte(r.Number>>8), byte(r.Number)
	copy(body[refreshSecretAt:], r.Secret[:])
	return seal(prefix, body[:])
}

// ParseRefresh returns the content of a refresh token, and its digest. It reports
// false for a string that [Refresh.Make] cannot have returned with this prefix.
func ParseRefresh(prefix, refreshToken string) (r Refresh, digest [sha256.Size]byte, ok bool) {
	if len(refreshToken) != len(prefix)+refreshLength || refreshToken[:len(prefix)] != prefix {
		return r, digest, false
	}
	// The decoder skips line breaks, so check the number of decoded bytes, too.
	body, err := base64.RawURLEncoding.DecodeString(refreshToken[len(prefix):])
	if err != nil || len(body) != refreshSize || body[0] != version {
		return r, digest, false
	}
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(prefix)), crc32.IEEETable, body[:refreshChecksumAt])
	if binary.BigEndian.Uint32(body[refreshChecksumAt:]) != sum {
		return r, digest, false
	}
	copy(r.Slot[:], body[slotAt:])
	copy(r.Family[:], body[familyAt:])
	r.Number = uint32(body[numberAt])<<16 | uint32(body[numberAt+1])<<8 | uint32(body[numberAt+2])
	copy(r.Secret[:], body[refreshSecretAt:])
	return r, sha256.Sum256([]byte(refreshToken)), true
}
