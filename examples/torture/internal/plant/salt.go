package plant

import (
	"bytes"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// WithoutSalts returns the refresh token without what it takes to repeat its refreshes.
func WithoutSalts(r *tokenauth.Refresh) *tokenauth.Refresh {
	changed := *r
	changed.State = bytes.Clone(r.State)
	for at := headSize + saltAt; at < len(changed.State); at += rotationSize {
		clear(changed.State[at : at+16])
	}
	return &changed
}

// OfAnotherSignIn returns the refresh token as if it belonged to another sign-in.
func OfAnotherSignIn(r *tokenauth.Refresh) *tokenauth.Refresh {
	changed := *r
	changed.State = bytes.Clone(r.State)
	changed.State[familyAt] ^= 1
	return &changed
}

// The head of a [tokenauth.Refresh.State] ends with the time of the sign-in and the
// number of rotations. In a rotation, the salt follows the digest of the used token.
const (
	familyAt = currentAt + 32
	headSize = familyAt + 32 + 8 + 1
	saltAt   = 16
)
