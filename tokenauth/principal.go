package tokenauth

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Principal describes the user that a token stands for. The storage keeps it
// with the [Token], so that a request needs only one read from the storage.
type Principal struct {
	// UserID identifies the user permanently: 1 to 512 bytes of UTF-8 without
	// NUL.
	UserID string
	// UserName is the account's name as the host stores it: at most 512 bytes.
	UserName string
	// Roles are the user's roles, compared exactly. A role must not be empty or
	// contain a comma, because the token response joins them with commas.
	Roles []string
	// Attributes hold other values that handlers need, so that the handlers do
	// not have to look up these values. The token response shows the attributes
	// that [Options.ResponseAttributes] names.
	Attributes map[string]string
	// Stamp is a value that changes whenever the user's tokens must end, such
	// as after a change to the password, the roles, or the right to sign in. A
	// [Rechecker] compares it with the user's current value.
	//
	// It may be a secret of the host, such as a password hash. So it is in no
	// response, encoding/json omits it, and fmt and log/slog redact it. But fmt
	// prints it if the Principal is in an unexported field, where fmt calls no
	// methods. A storage that encodes tokens as JSON must store the stamp
	// separately.
	Stamp string `json:"-"`
	// Row is the host's own record of the user, so that the host need not look
	// the user up again after a sign-in. An [Authenticator] sets it.
	// [Service.SignIn], [Service.Issue] and [Service.VerifyPassword] hand it
	// back in the principal that they return. It goes nowhere else: no storage
	// keeps it, no other func of the host gets it, and the token of a request
	// ([FromContext]) does not have it. encoding/json, fmt and log/slog omit it.
	// But as with Stamp, fmt prints it if the Principal is in an unexported field.
	Row any `json:"-"`
}

// Format implements [fmt.Formatter]. It redacts the stamp, and omits the row.
func (p Principal) Format(f fmt.State, verb rune) {
	type principal struct { // has no Format method
		UserID, UserName string
		Roles            []string
		Attributes       map[string]string
		Stamp            string
	}
	if p.Stamp != "" {
		p.Stamp = redacted
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), principal{p.UserID, p.UserName, p.Roles, p.Attributes, p.Stamp})
}

// HasRole reports whether p has at least one of the roles.
func (p Principal) HasRole(anyOf ...string) bool {
	for _, role := range anyOf {
		if slices.Contains(p.Roles, role) {
			return true
		}
	}
	return false
}

// NumericID returns the UserID as a number, for a host whose user IDs are
// numbers. Such a host sets UserID with [strconv.FormatUint]. NumericID returns
// an error if UserID is not in that form, for example if it is empty, has a
// leading zero, or is too large.
func (p Principal) NumericID() (uint64, error) {
	id, err := strconv.ParseUint(p.UserID, 10, 64)
	if err != nil || len(p.UserID) > 1 && p.UserID[0] == '0' {
		return 0, fmt.Errorf("tokenauth: Principal.UserID is %q, must be a decimal number of at most 64 bits without leading zeros", legible(p.UserID))
	}
	return id, nil
}

// Clone returns a copy that shares no memory with p, except Row.
func (p Principal) Clone() Principal {
	p.Roles = slices.Clone(p.Roles)
	p.Attributes = maps.Clone(p.Attributes)
	return p
}

// maxPrincipalSize is the maximum total size of a principal's strings, in
// bytes. It is small because each request reads the principal. In every
// supported database, a column can hold this size.
const maxPrincipalSize = 8 << 10

// check returns [ErrInvalidPrincipal] if p cannot be stored. The error names
// the field and never the value.
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
			return bad("Attributes", "have non-empty names, and be UTF-8 without NUL")
		}
		size += len(name) + len(value)
	}
	if size > maxPrincipalSize {
		return bad("all fields together", "have at most 8192 bytes")
	}
	return nil
}

// A principalError is an [ErrInvalidPrincipal] that also records the user's ID
// and name. So the [Event] can name the user, who is already authenticated. The
// error's text does not name the user, because a host may have put a secret
// into the wrong field. The principal is behind a pointer, of which %#v prints
// only the address.
type principalError struct {
	error
	whose *Principal // has only a UserID and a UserName
}

func (e *principalError) Unwrap() error { return e.error }

// legible prepares s for an [Event] or a log record. It keeps at most the first
// 256 bytes, and replaces invalid UTF-8.
func legible(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 256)], "\uFFFD")
}

// storable reports whether every storage can keep s. PostgreSQL cannot store
// NUL.
func storable(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
