package tokenauth

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"time"
)

// A UserKey is the key of a user in the storage: the first 16 bytes of
// SHA-256(domain ‖ user ID). The domain is a constant. A user's API keys
// ([Options.Keys]) have another UserKey, with the same first 8 bytes.
type UserKey [16]byte

// A ClientKey is the key of a client in the storage, or of one of the client's
// devices: the first 16 bytes of SHA-256(domain ‖ client ID), or of
// SHA-256(domain ‖ length of the client ID ‖ client ID ‖ device). The two
// domains are different constants. For an API key, it has the public part of the
// key, followed by zeros.
type ClientKey [16]byte

// A Slot is the place that holds the token of one user at one client, or on one
// device of a client ([Options.Devices]).
type Slot struct {
	User   UserKey
	Client ClientKey
}

// A domain is hashed together with each ID or name, so that a user, a client
// and a service with the same name have different keys. The domains are part of
// the stored format, so they must never change.
const (
	userDomain   = "tokenauth/v1/user\x00"
	clientDomain = "tokenauth/v1/client\x00"
	deviceDomain = "tokenauth/v1/device\x00"
	nameDomain   = "tokenauth/v1/service\x00"
	keysDomain   = "tokenauth/v1/keys\x00"
	ownerDomain  = "tokenauth/v1/owner\x00"
	// Of imported API keys: their slots, and those of the pointers to them.
	importedDomain = "tokenauth/v1/imported\x00"
	pointerDomain  = "tokenauth/v1/pointer\x00"
)

// reservedUser is the key under which the services that share a storage keep
// their names. No user has this key: the key of a user is a hash, which is
// practically never all ones.
var reservedUser = UserKey(bytes.Repeat([]byte{0xFF}, len(UserKey{})))

// nameKeyOf returns the key of a service's name. In the slot that holds the
// name, this key takes the place of a client's key.
func nameKeyOf(name string) ClientKey {
	sum := sha256.Sum256([]byte(nameDomain + name))
	return ClientKey(sum[:16])
}

// UserKeyOf returns the key of the user with this ID.
func UserKeyOf(userID string) UserKey {
	sum := sha256.Sum256([]byte(userDomain + userID))
	return UserKey(sum[:16])
}

// SlotOf returns the slot of a user at a client, without a device. Without
// registered clients the client ID is "".
func SlotOf(userID, clientID string) Slot { return slotOf(userID, clientID, "") }

// slotOf returns the slot of a user at a client, on a device. The device "" is
// the slot without a device.
func slotOf(userID, clientID, device string) Slot {
	text := clientDomain + clientID
	if device != "" {
		// The length keeps "ab" on "c" apart from "a" on "bc".
		length := binary.BigEndian.AppendUint64(nil, uint64(len(clientID)))
		text = deviceDomain + string(length) + clientID + device
	}
	sum := sha256.Sum256([]byte(text))
	return Slot{User: UserKeyOf(userID), Client: ClientKey(sum[:16])}
}

// bytes returns the slot in the form that an access token contains.
func (s Slot) bytes() (b [32]byte) {
	copy(b[:], s.User[:])
	copy(b[16:], s.Client[:])
	return b
}

func slotFrom(b [32]byte) Slot { return Slot{UserKey(b[:16]), ClientKey(b[16:])} }

// A Digest is the SHA-256 of an access token. A storage keeps the digest
// instead of the access token. The access token cannot be computed from the
// digest, because an access token has 256 random bits.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal. A digest is not secret.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d is the zero value, which means that there is no
// digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// equal compares digests in constant time.
func equal(a, b *Digest) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

// A Token is the record that a storage keeps of an access token. The slice and
// the map in its [Principal] are shared, so neither a storage nor the [Service]
// may modify them. A storage passes tokens only to the Service, which returns
// copies to the host.
type Token struct {
	Slot   Slot
	Digest Digest
	// Replaced is the digest of the token that this one replaced in its slot.
	// It is zero if the slot was empty. [Storage.Replace] sets it.
	Replaced Digest
	// ClientID is the ID of the client that the token was issued to, or "" without
	// registered clients.
	ClientID string
	// Device is the ID of the device that the token was issued to, or "" without
	// a device ([Options.Devices]). DeviceName is the device's name for people,
	// or "". Both come from the client. Escape the name where you show it.
	Device, DeviceName string
	Principal          Principal
	// IssuedAt and ExpiresAt are in UTC. The token is valid in [IssuedAt,
	// ExpiresAt). ExpiresAt is in whole seconds. IssuedAt is in whole
	// milliseconds with [Options.Devices], and otherwise in whole seconds.
	//
	// With [Options.MaxLifetime], the storage may have a later ExpiresAt than a
	// copy of the Token.
	IssuedAt  time.Time
	ExpiresAt time.Time
	// Lifetime is how long the token lives after each use, in whole seconds, if
	// [Options.MaxLifetime] is set. Otherwise it is zero.
	Lifetime time.Duration
	// Refresh describes the refresh token that was issued together with the access
	// token. It is nil if there is none ([Options.Refresh]).
	Refresh *Refresh
	// Key is the ID of the API key that the caller used ([Key.ID]), or "" for a
	// sign-in. A storage does not keep it. For a key, Principal
	// has the roles that the key has now, DeviceName is its name, and ClientID is "".
	// The ExpiresAt of a key that does not expire is in the year 9999.
	Key string
	// LastSeen is when the token was last used or issued, accurate to an hour.
	// Only [Service.Tokens] sets it, and only if the Service records uses
	// ([UseRecorder]).
	LastSeen time.Time
	// Presented is the access token as the request presented it, for a handler
	// that sends it to another service. Only [FromContext] sets it. It is empty if
	// [Options.Fallback] authenticated the request. A storage never gets it.
	Presented Secret `json:"-"`
}

// current returns nil if t is the token with the digest, [ErrReplacedToken] if t
// replaced it, and otherwise [ErrInvalidToken].
func (t *Token) current(d *Digest) error {
	switch {
	case equal(&t.Digest, d):
		return nil
	case equal(&t.Replaced, d):
		return ErrReplacedToken
	}
	return ErrInvalidToken
}

// expired reports whether the token has expired at a time in Unix seconds.
func (t *Token) expired(now int64) bool { return now >= t.ExpiresAt.Unix() }

// over reports whether both the token and its refresh token have expired at a time in
// Unix seconds.
func (t *Token) over(now int64) bool {
	return t.expired(now) && (t.refreshState() == nil || now >= t.Refresh.ExpiresAt.Unix())
}

// setLastSeen sets LastSeen to IssuedAt if no later use was recorded, because a
// sign-in is a use.
func (t *Token) setLastSeen() {
	if t.LastSeen.Before(t.IssuedAt) {
		t.LastSeen = t.IssuedAt
	}
}

// livesUntil returns when the token expires if it is used at a time in Unix
// seconds. The argument longest is [Options.MaxLifetime].
func (t *Token) livesUntil(used int64, longest time.Duration) int64 {
	end := t.IssuedAt.Truncate(time.Second).Add(longest).Unix()
	return min(used+int64(t.Lifetime/time.Second), end)
}

// clone returns a copy that shares no memory with t.
func (t *Token) clone() Token {
	c := *t
	c.Principal = t.Principal.Clone()
	if t.Refresh != nil {
		refresh := *t.Refresh
		refresh.State = bytes.Clone(refresh.State)
		c.Refresh = &refresh
	}
	return c
}

// An IssuedToken is a new access token and the [Token] that was stored for it.
// The access token itself is stored nowhere, so it cannot be read later.
type IssuedToken struct {
	AccessToken Secret
	// RefreshToken is the refresh token that was issued with the access token, or
	// empty without [Options.Refresh].
	RefreshToken Secret
	Token        Token
}
