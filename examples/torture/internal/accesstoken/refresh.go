package accesstoken

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
)

// The layout of a refresh token: a prefix, then a body in base64url. The family is the
// part that all refresh tokens of a sign-in share.
const (
	RefreshPrefix     = "trt_"
	familyAt          = SlotAt + 32
	numberAt          = familyAt + 18 // of how many refreshes there were before
	refreshSecretAt   = numberAt + 3
	refreshChecksumAt = refreshSecretAt + 32
	refreshSize       = refreshChecksumAt + crc32.Size
)

type refreshBody [refreshSize]byte

func openRefresh(token string) (b refreshBody) {
	n, err := base64.RawURLEncoding.Decode(b[:], []byte(token[len(RefreshPrefix):]))
	if err != nil || n != refreshSize {
		panic("torture: accesstoken.openRefresh: not a refresh token in the format that this program knows")
	}
	return b
}

func (b *refreshBody) seal() string {
	sum := crc32.Update(crc32.ChecksumIEEE([]byte(RefreshPrefix)), crc32.IEEETable, b[:refreshChecksumAt])
	binary.BigEndian.PutUint32(b[refreshChecksumAt:], sum)
	return RefreshPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// MakeUp returns a refresh token for the slot of the given one, in the right form, that
// no service issued. A client can make it without knowing a refresh token, because a
// slot can be computed. So its family is made up, too, and in half of the cases its
// secret.
func MakeUp(rng *rand.Rand, refreshToken string) string {
	b := openRefresh(refreshToken)
	end := refreshSecretAt
	if rng.IntN(2) == 0 {
		end = refreshChecksumAt
	}
	for i := familyAt; i < end; i++ {
		b[i] ^= byte(1 + rng.IntN(255))
	}
	return b.seal()
}

// MoveTo returns the refresh token, changed to name the slot of another one.
func MoveTo(refreshToken, other string) string {
	b, to := openRefresh(refreshToken), openRefresh(other)
	copy(b[SlotAt:familyAt], to[SlotAt:familyAt])
	return b.seal()
}
