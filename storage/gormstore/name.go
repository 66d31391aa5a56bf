package gormstore

import (
	"errors"

	"golang.org/x/text/secure/precis"
)

// ErrUserName is returned by Users.Create for a name that no user can have.
var ErrUserName = errors.New("gormstore: not a user name: it must be 1 to 256 bytes of letters, digits, marks and ASCII punctuation, without spaces (RFC 8265 §3)")

// maxNameLength is what the token endpoint accepts, in bytes.
const maxNameLength = 256

// NormalizeUserName returns the form under which user names are compared: the
// UsernameCaseMapped profile of PRECIS (RFC 8265 §3.3). It folds case and
// width and composes marks (NFC), so that Alice, ALICE and ＡＬＩＣＥ are one
// user. Letters that only look alike stay different. It returns ErrUserName
// for what cannot be a name. Normalising twice is the same as once.
func NormalizeUserName(name string) (string, error) {
	if name == "" || len(name) > maxNameLength {
		return "", ErrUserName
	}
	// Folding can leave something to fold; RFC 8264 §7 has it repeated until
	// it is stable, at most three times more.
	for range 4 {
		mapped, err := precis.UsernameCaseMapped.String(name)
		if err != nil || len(mapped) > 2*maxNameLength {
			return "", ErrUserName
		}
		if mapped == name {
			return name, nil
		}
		name = mapped
	}
	return "", ErrUserName
}
