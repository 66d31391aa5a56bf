package gormstore

import (
	"fmt"
	"strings"

	"golang.org/x/text/secure/precis"
)

var errUserName = fmt.Errorf("%w: a user name must have 1 to 256 bytes of letters, digits, marks and ASCII punctuation, without spaces (RFC 8265 §3)", ErrInvalid)

// maxNameLength is the longest user name that the token endpoint accepts, in bytes.
const maxNameLength = 256

// typedUserName is normalizeUserName for a name that a user typed or pasted: it drops
// white space around the name, where a valid name has none.
func typedUserName(name string) (string, error) {
	return normalizeUserName(strings.TrimSpace(name))
}

// normalizeUserName is [Users.NormalizeUserName] for a name without white space around
// it. It returns an error for an invalid name.
func normalizeUserName(name string) (string, error) {
	if name == "" || len(name) > maxNameLength {
		return "", errUserName
	}
	// Case folding may have to be repeated: RFC 8264 §7 requires it until the
	// result is stable, at most three more times.
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
