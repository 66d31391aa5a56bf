// Package password checks user names and passwords against hashes in a table:
// the host's own, through a Lookup, or a ready one such as gormstore's.
//
// # Formats
//
// [Hash] makes Argon2id, as PHC strings. Verified are
//
//   - Argon2id: $argon2id$v=19$m=…,t=…,p=…$salt$hash
//   - bcrypt: $2a$, $2b$ and PHP's $2y$
//   - ASP.NET Identity: version 2 (Identity 1 and 2) and version 3 (ASP.NET
//     Core), which are base64 without a dollar
//   - PBKDF2 with SHA-1, SHA-256 or SHA-512: $pbkdf2-sha256$i=…,l=…$salt$hash,
//     and passlib's $pbkdf2-sha256$…$salt$hash
//   - what the host adds with Options.Formats.
//
// What a stored hash may cost is looked at before any work, and about a second
// is the most; one that asks for more, or cannot be read, is no hash at all.
// Options.Upgrade has hashes of other formats, and weaker ones, replaced as
// their users sign in.
//
// # FIPS mode
//
// With GODEBUG=fips140=only, Go does not compute PBKDF2 with SHA-1, which all of
// Identity 1 and 2 is, or with a salt of less than 16 bytes. A sign-in to such an
// account is an error, whatever the password, and becomes a 503. It never counts as
// a failure. A warning names the account. Argon2id, bcrypt and other PBKDF2 hashes
// are computed, though FIPS 140 approves of PBKDF2 alone. Move a table to other
// hashes before that mode is set: with fips140=on all formats work, and
// Options.Upgrade replaces them.
//
// # Load
//
// Hashing makes a sign-in expensive, on purpose. So each [Authenticator] hashes
// only so many passwords at once (Options.MaxHashing), and lets only so many
// sign-ins wait (Options.MaxWaiting). Beyond that it returns [tokenauth.ErrBusy]
// before it looks anybody up. Turns to hash go round by source, so nobody can fill
// the queue for others, not even with valid passwords. A client that goes away
// while it waits leaves the queue.
package password

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// ErrUnacceptable is returned by Hash for a password that could not be used to
// sign in.
var ErrUnacceptable = errors.New("password: must be 1 to 1024 bytes of UTF-8 without NUL")

// Hash returns the hash of a password to store with its account, as a PHC
// string of under 128 bytes: Argon2id with 19 MiB, two passes and one lane.
// Each call takes tens of milliseconds and that much memory, and does not wait
// its turn behind sign-ins. It returns ErrUnacceptable for a password that the
// token endpoint would not accept, and looks no further at its quality. It hashes
// the password in NFC (RFC 8265 §4.2), so that it does not matter how somebody types
// é: an Authenticator finds both. The limit is on the password as given. It is safe
// for concurrent use.
func Hash(password string) (string, error) {
	if password == "" || len(password) > wire.MaxPassword ||
		!utf8.ValidString(password) || strings.Contains(password, "\x00") {
		return "", ErrUnacceptable
	}
	return newArgon2id(norm.NFC.String(password)).String(), nil
}
