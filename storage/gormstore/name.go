package gormstore

import (
	"fmt"
	"strings"

	"golang.org/x/text/secure/precis"
)

var errUserName = fmt.Errorf("%w: a user name must have 1 to 256 bytes of letters, digits, marks and ASCII punctuation, without spaces (RFC 8265 §3)", ErrInvalid)

// maxNameLength is the maximum length, in bytes, of a user name that the token
// endpoint accepts.
const maxNameLength = 256

// typedUserName normalizes a name that a user typed or pasted. It first removes white
// space around the name, which is never part of a valid name.
func typedUserName(name string) (string, error) {
	return normalizeUserName(strings.TrimSpace(name))
}

// normalizeUserName is like [Users.NormalizeUserName], but returns an error for an
// invalid name. It does not remove white space around the name: a name with such
// white space is invalid.
func normalizeUserName(name string) (string, error) {
	if name == "" || len(name) > maxNameLength {
		return "", errUserName
	}
	// RFC 8264 §7 requires the mapping to be repeated until the result no longer
	// changes, but at most three more times.
	for range 4 {
		mapped, err := precis.UsernameCaseMapped.String(name)
		if err != nil || len(mapped) > 2*maxNameLength {
			return "", errUserName
		}
		if mapped == name {
			return name, nil
		}
		name = mapped
	}
	return "", errUserName
}
