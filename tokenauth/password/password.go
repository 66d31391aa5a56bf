// Package password checks user names and passwords against the hashes in a
// table: the host's own table, which a [Lookup] reads, or a storage's table,
// such as gormstore's.
//
// # Formats
//
// [Hash] makes Argon2id hashes, as PHC strings. An [Authenticator] verifies
//
//   - Argon2id: $argon2id$v=19$m=…,t=…,p=…$salt$hash
//   - bcrypt: $2a$, $2b$ and PHP's $2y$
//   - ASP.NET Identity: version 2 (Identity 1 and 2) and version 3 (ASP.NET
//     Core), in base64
//   - PBKDF2 with SHA-1, SHA-256 or SHA-512: $pbkdf2-sha256$i=…,l=…$salt$hash,
//     and passlib's $pbkdf2-sha256$…$salt$hash
//   - the host's own formats, through [Options.Formats].
//
// The cost of a stored hash is checked before any work. A hash that would take
// more than about a second, or that cannot be parsed, never matches.
// [Options.Upgrade] replaces a hash that is weaker than the hashes of [Hash],
// or in another format, when its user signs in.
//
// # FIPS mode
//
// With GODEBUG=fips140=only, Go refuses to compute two kinds of PBKDF2 hashes:
// those with SHA-1, as in Identity 1 and 2, and those with a salt of less than
// 16 bytes. A sign-in to an account with such a hash fails with an error,
// whatever the password, and the token endpoint answers 503. It never counts as
// a failed sign-in. A warning names the account. Argon2id, bcrypt and other
// PBKDF2 hashes are computed, although FIPS 140 approves only PBKDF2.
//
// Replace such hashes before you set that mode. With fips140=on all formats
// work, so [Options.Upgrade] can still replace them.
//
// # Load
//
// Hashing is slow on purpose. So each [Authenticator] hashes at most
// [Options.MaxHashing] passwords at once, and lets at most [Options.MaxWaiting]
// further sign-ins wait. It rejects any other sign-in with [tokenauth.ErrBusy]
// before it looks up the account. Sources take turns to hash: one source cannot
// fill the queue for others, not even with valid passwords. If a client
// disconnects while its sign-in waits, the sign-in leaves the queue.
package password

import (
	"errors"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// ErrUnacceptable is returned by [Hash] for a password that no one could use to
// sign in.
var ErrUnacceptable = errors.New("password: must be 1 to 1024 bytes of UTF-8 without NUL")

// Hash returns the hash of a password, for the host to store with its account.
// The hash is a PHC string of less than 128 bytes: Argon2id with 19 MiB, two
// passes and one lane.
//
// Hash returns [ErrUnacceptable] for a password that the token endpoint would
// reject. The limit of 1024 bytes applies to the password as given. Hash does
// not judge how strong a password is.
//
// It hashes the password in Unicode form NFC (RFC 8265 §4.2). An
// [Authenticator] verifies the NFC and the NFD form, so é matches however a
// keyboard encodes it.
//
// Each call takes tens of milliseconds and 19 MiB. It does not wait for its
// turn as sign-ins do: [Options.MaxHashing] does not limit it. Hash is safe for
// concurrent use.
func Hash(password string) (string, error) {
	if password == "" || len(password) > wire.MaxPassword ||
		!utf8.ValidString(password) || strings.Contains(password, "\x00") {
		return "", ErrUnacceptable
	}
	return newArgon2id(norm.NFC.String(password)).String(), nil
}
