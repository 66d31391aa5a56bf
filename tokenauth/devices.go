package tokenauth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/tokenauth/event"
	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

const (
	maxDevice     = 64  // bytes of the ID of a device
	maxDeviceName = 100 // bytes of its name
)

func validDevice(id string) bool {
	return len(id) <= maxDevice && !strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' })
}

// malformedDevice returns the response to a client that named a device that is not
// valid, or nil.
func malformedDevice(id, name string) *ErrorResponse {
	switch {
	case !validDevice(id):
		return invalidRequest(http.StatusBadRequest, wire.DeviceMalformed)
	case !validDeviceName(name):
		return invalidRequest(http.StatusBadRequest, wire.DeviceNameMalformed)
	}
	return nil
}

func validDeviceName(name string) bool {
	return len(name) <= maxDeviceName && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

// SlotID identifies the slot of the token, for example in the URL of a page where
// users end their sign-ins. It stays the same when a new sign-in on the device
// replaces the token. Slots of different users have different IDs, even for the
// same device. It is not secret: [Service.RevokeDevice] needs the user's ID, too.
func (t Token) SlotID() string {
	id := t.Slot.Client.under(t.Slot.User)
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// under combines the key with that of a user, so that no two users have the same
// result. A second call with the same user undoes the first.
func (c ClientKey) under(u UserKey) ClientKey {
	subtle.XORBytes(c[:], c[:], u[:])
	return c
}

// RevokeDevice ends the token in one of the user's slots. The slotID is a
// [Token.SlotID], for example from a token that [Service.Tokens] returned. It
// works for slots with and without a device.
//
//   - It returns [ErrNotFound] if the user has neither a valid token in this slot
//     nor a valid refresh token ([Options.Refresh]), or if the slot is another
//     user's.
//   - It returns [ErrUnavailable] if the storage failed or did not answer in
//     time. The token may still be valid then.
func (s *Service) RevokeDevice(ctx context.Context, userID, slotID string) error {
	defer plainPanic()
	key, err := base64.RawURLEncoding.Strict().DecodeString(slotID)
	if err != nil || len(key) != len(ClientKey{}) || strings.ContainsAny(slotID, "\r\n") { // which the decoder ignores
		return ErrNotFound
	}
	user := UserKeyOf(userID)
	t, err := s.findSignIn(ctx, Slot{user, ClientKey(key).under(user)})
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrCorrupt):
		return ErrNotFound
	case err == errPanic:
		return err
	case err != nil:
		return unavailable("finding a token to revoke", err)
	}
	now := s.options.Now().Unix()
	if t.isOwner() {
		return ErrNotFound
	}
	if t.over(now) && s.refresh == nil && s.canList() {
		// Another Service may have Options.Refresh.
		if t, err = s.listed(ctx, userID, t); err != nil {
			return err
		}
	}
	if t.over(now) {
		return ErrNotFound
	}
	return s.RevokeToken(ctx, *t)
}

// listed returns the token in the slot of t as the storage lists it: a [Lister] returns
// [Token.Refresh], also if [Storage.Find] does not. It returns t if there is none.
func (s *Service) listed(ctx context.Context, userID string, t *Token) (*Token, error) {
	tokens, err := s.list(ctx, userID)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return nil, err
	}
	for i := range tokens {
		if tokens[i].Slot == t.Slot {
			return &tokens[i], nil
		}
	}
	return t, nil
}

// boundDevices ends the user's valid tokens at the client beyond
// [DeviceOptions.Max], those first that were used longest ago.
//
// All sign-ins sort the tokens in the same way. Each lists the tokens after it
// stored its own. So once all concurrent sign-ins have returned, at most Max
// tokens are valid, and the newest is one of them.
//
// If the new token is one of those that ended, boundDevices returns when the
// newest of the others was issued or used. This happens if another replica's
// clock is ahead, or if both tokens have the same time.
func (s *Service) boundDevices(ctx context.Context, issued *Token) (newest time.Time, err error) {
	if s.options.Devices == nil {
		return newest, nil
	}
	tokens, err := s.list(ctx, issued.Principal.UserID)
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return newest, err
	}
	now := s.options.Now().Unix()
	var live []Token
	for i := range tokens {
		t := &tokens[i]
		if t.ClientID == issued.ClientID && !t.over(now) {
			t.setLastSeen()
			live = append(live, *t)
		}
	}
	slices.SortFunc(live, func(a, b Token) int {
		return cmp.Or(b.LastSeen.Compare(a.LastSeen), b.IssuedAt.Compare(a.IssuedAt), bytes.Compare(b.Slot.Client[:], a.Slot.Client[:]))
	})
	for i := s.options.Devices.Max; i < len(live); i++ {
		t := &live[i]
		began := time.Now()
		err := s.revokeSignIn(ctx, t)
		e := Event{Reason: event.ReasonDevices}
		e.setToken(t)
		s.observeRevoked(ctx, e, began, err)
		if err != nil {
			return newest, err
		}
		if t.Digest == issued.Digest {
			newest = live[0].LastSeen
		}
	}
	return newest, nil
}
