package gormstore

import (
	"fmt"
	"strings"

	"golang.org/x/text/secure/precis"
)

var errUserName = fmt.Errorf("%w: a user name must have 1 to 256 bytes of letters, digits, marks and ASCII punctuation, without spaces (RFC 8265 §3)", ErrInvalid)

// maxNameLength is what the token endpoint accepts, in bytes.
const maxNameLength = 256

// typedUserName is normalizeUserName for what somebody typed or pasted. A name has no
// white space, so that around it does not belong to it.
func typedUserName(name string) (string, error) {
	return normalizeUserName(strings.TrimSpace(name))
}

// normalizeUserName is Users.NormalizeUserName of a name without white space around it,
// with an error for what cannot be a name.
func normalizeUserName(name string) (string, error) {
	if name == "" || len(name) > maxNameLength {
		return "", errUserName
	}
	// Folding can leave something to fold; RFC 8264 §7 has it repeated until
	// it is stable, at most three times more.
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
