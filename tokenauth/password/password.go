// Package password checks user names and passwords against hashes in a table:
// the host's own, through a Lookup, or a ready one such as gormstore's.
//
// Hashes are Argon2id by default, as PHC strings; bcrypt is verified too.
package password

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// ErrUnacceptable is returned by Hash for a password that could not be used to
// sign in.
var ErrUnacceptable = errors.New("password: must be 1 to 1024 bytes of UTF-8 without NUL")

// Hash returns the hash of a password to store with its account, as a PHC
// string of under 128 bytes: Argon2id with 19 MiB, two passes and one lane.
// Each call takes tens of milliseconds and that much memory. It returns
// ErrUnacceptable for a password that the token endpoint would not accept, and
// looks no further at its quality. It is safe for concurrent use.
func Hash(password string) (string, error) {
	if password == "" || len(password) > tokenauth.MaxPasswordLength ||
		!utf8.ValidString(password) || strings.Contains(password, "\x00") {
		return "", ErrUnacceptable
	}
	return newArgon2id(password).String(), nil
}
