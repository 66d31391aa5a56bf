package tokenauth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// A UserKey names a user in the storage: the first 16 bytes of
// SHA-256(domain ‖ user ID).
type UserKey [16]byte

// A ClientKey names a client in the storage: the first 16 bytes of
// SHA-256(domain ‖ client ID).
type ClientKey [16]byte

// A Slot is the one place where the token of a user at a client is kept.
type Slot struct {
	User   UserKey
	Client ClientKey
}

// The domains keep a user and a client of the same name apart. They are part
// of the stored format: another version of this package must use the same.
const (
	userDomain   = "tokenauth/v1/user\x00"
	clientDomain = "tokenauth/v1/client\x00"
)

// UserKeyOf returns the key of the user with that ID.
func UserKeyOf(userID string) UserKey {
	sum := sha256.Sum256([]byte(userDomain + userID))
	return UserKey(sum[:16])
}

// SlotOf returns the slot of a user at a client. Without registered clients
// the client ID is "".
func SlotOf(userID, clientID string) Slot {
	sum := sha256.Sum256([]byte(clientDomain + clientID))
	return Slot{User: UserKeyOf(userID), Client: ClientKey(sum[:16])}
}

// A Digest is the SHA-256 of an access token. It is all that a storage keeps
// of one; with 256 random bits behind it there is no way back.
type Digest [sha256.Size]byte

// String returns the digest in hexadecimal. A digest is no secret.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d is the zero value, which stands for no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// A Principal is who a token stands for. It is stored with the token, so that
// a request costs one read.
type Principal struct {
	// UserID identifies the user for ever: 1 to 512 bytes of any shape.
	UserID string
	// UserName is the account's name as stored, at most 512 bytes.
	UserName string
	// Roles are compared exactly. A comma in one is refused, because the
	// token response joins them by commas.
	Roles []string
	// Attributes are whatever else a handler should know without a look-up.
	// Those named in Options.ResponseAttributes show in the token response.
	Attributes map[string]string
	// Stamp changes whenever the user's tokens should end: with the
	// password, the roles, or the right to sign in. It is compared when the
	// user is looked up again, and shown to nobody.
	Stamp string
}

// HasRole reports whether p has one of the roles.
func (p Principal) HasRole(anyOf ...string) bool {
	for _, role := range anyOf {
		if slices.Contains(p.Roles, role) {
			return true
		}
	}
	return false
}

// Clone returns a copy that shares nothing with p.
func (p Principal) Clone() Principal {
	p.Roles = slices.Clone(p.Roles)
	p.Attributes = maps.Clone(p.Attributes)
	return p
}

// maxPrincipalSize bounds all strings of a principal together, in bytes: it is
// read with every request, and a column of every database can hold it.
const maxPrincipalSize = 8 << 10

// check says what keeps p from being stored. It tells only the field, never
// the value.
func (p Principal) check() error {
	bad := func(field, must string) error {
		whose := &Principal{UserID: legible(p.UserID), UserName: legible(p.UserName)}
		return &principalError{fmt.Errorf("%w: %s must %s", ErrInvalidPrincipal, field, must), whose}
	}
	switch {
	case p.UserID == "" || len(p.UserID) > 512:
		return bad("UserID", "have 1 to 512 bytes")
	case len(p.UserName) > 512:
		return bad("UserName", "have at most 512 bytes")
	case len(p.Stamp) > 512:
		return bad("Stamp", "have at most 512 bytes")
	case !storable(p.UserID):
		return bad("UserID", "be UTF-8 without NUL")
	case !storable(p.UserName):
		return bad("UserName", "be UTF-8 without NUL")
	case !storable(p.Stamp):
		return bad("Stamp", "be UTF-8 without NUL")
	}
	size := len(p.UserID) + len(p.UserName) + len(p.Stamp)
	for _, role := range p.Roles {
		if role == "" || strings.ContainsRune(role, ',') || !storable(role) {
			return bad("Roles", "be non-empty UTF-8 without NUL or comma")
		}
		size += len(role)
	}
	for name, value := range p.Attributes {
		if name == "" || !storable(name) || !storable(value) {
			return bad("Attributes", "be named, and UTF-8 without NUL")
		}
		size += len(name) + len(value)
	}
	if size > maxPrincipalSize {
		return bad("all fields together", "have at most 8192 bytes")
	}
	return nil
}

// A principalError is the ErrInvalidPrincipal that knows whose it is, for the
// event: the user has been authenticated by then. It does not print that, also
// not by %#v, which has the address of a pointer only: a host may have put
// anything into the wrong field.
type principalError struct {
	error
	whose *Principal // no more than its names
}

func (e *principalError) Unwrap() error { return e.error }

// legible returns what of s may be in an event.
func legible(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 256)], "\uFFFD")
}

// storable reports whether every storage can keep s: PostgreSQL has no NUL.
func storable(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

// A Token is what is kept of an access token. A storage must neither change
// the slice and the map in its Principal nor hand them to anybody but the
// Service, which does not change them either.
type Token struct {
	Slot   Slot
	Digest Digest
	// Replaced is the digest that this token displaced from its slot; zero
	// if the slot was empty. Storage.Replace fills it in.
	Replaced Digest
	// ClientID is the client that the token was issued to; "" without
	// registered clients.
	ClientID  string
	Principal Principal
	// IssuedAt and ExpiresAt are whole seconds in UTC. The token is good in
	// [IssuedAt, ExpiresAt).
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// A Grant is an issued token: the access token itself, which exists here and
// nowhere else, and what was stored of it.
type Grant struct {
	AccessToken Secret
	Token       Token
}
