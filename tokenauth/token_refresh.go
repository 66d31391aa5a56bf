package tokenauth

import (
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/rotation"
)

// A Refresh is what a storage keeps of a refresh token, in the slot of its access
// token.
type Refresh struct {
	// ExpiresAt is when the refresh token expires, in UTC and whole seconds.
	ExpiresAt time.Time
	// SignedInAt is the time of the sign-in, in UTC and whole seconds.
	// [Token.IssuedAt] is the time of the latest refresh. Only [Service.Tokens] and
	// an [IssuedToken] have it; a storage does not keep it.
	SignedInAt time.Time
	// State is everything else, at most 512 bytes. It is opaque to a storage. No
	// token can be computed from it.
	State []byte `json:"-"`
}

// refreshState returns the state of the token's refresh token, or nil if it has none that
// counts: a sign-in without refresh tokens may have left an earlier one.
func (t *Token) refreshState() *rotation.State {
	if t.Refresh == nil {
		return nil
	}
	state, err := rotation.Decode(t.Refresh.State)
	if err != nil || !equal((*Digest)(&state.Access), &t.Digest) {
		return nil
	}
	return state
}

// continues reports whether t is the earlier token, or belongs to the same sign-in:
// refreshes replaced the earlier token by t. If the earlier token was read without its
// Refresh, only the latest refresh is found.
func (t *Token) continues(earlier *Token) bool {
	if t.Slot != earlier.Slot || equal(&t.Digest, &earlier.Digest) {
		return t.Slot == earlier.Slot
	}
	state := t.refreshState()
	if state == nil || len(state.Recent) == 0 {
		return false
	}
	before := earlier.refreshState()
	if before == nil {
		return equal(&t.Replaced, &earlier.Digest)
	}
	return before.Family == state.Family
}

// setSignedIn sets the SignedInAt of t.Refresh, and removes a Refresh that does not
// count.
func (t *Token) setSignedIn() {
	if state := t.refreshState(); state == nil {
		t.Refresh = nil
	} else {
		t.Refresh.SignedInAt = time.Unix(state.SignedIn, 0).UTC()
	}
}
