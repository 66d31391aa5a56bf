package tokenauth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Principal is who a token stands for. The storage keeps it with the token, so
// a request costs one read.
type Principal struct {
	// UserID identifies the user for ever: 1 to 512 bytes of UTF-8 without NUL.
	UserID string
	// UserName is the account's name as stored, at most 512 bytes.
	UserName string
	// Roles are compared exactly. A comma in one is refused, because the
	// token response joins them by commas.
	Roles []string
	// Attributes are what else a handler needs without a look-up. The token
	// response shows those that Options.ResponseAttributes names.
	Attributes map[string]string
	// Stamp changes whenever the user's tokens must end: with the password, the
	// roles, or the right to sign in. A Rechecker compares it. It may be a secret of
	// the host's, such as a password hash. So it is in no response, encoding/json
	// leaves it out, and fmt and log/slog redact it. (In an unexported field fmt calls
	// no methods, and prints it.) A storage that keeps JSON adds it.
	Stamp string `json:"-"`
}

// Format formats p as fmt does, without its stamp.
func (p Principal) Format(f fmt.State, verb rune) {
	type principal Principal // without this method
	if p.Stamp != "" {
		p.Stamp = redacted
	}
	fmt.Fprintf(f, fmt.FormatString(f, verb), principal(p))
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

// check returns an ErrInvalidPrincipal if p cannot be stored. It names the field
// and never the value.
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
// event: the user is authenticated by then. It never prints that, since a host
// may have put anything into the wrong field; %#v prints the address.
type principalError struct {
	error
	whose *Principal // only its ID and name
}

func (e *principalError) Unwrap() error { return e.error }

// legible returns the part of s that may be in an event.
func legible(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), 256)], "\uFFFD")
}

// storable reports whether every storage can keep s: PostgreSQL has no NUL.
func storable(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
