package password

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// maxBcryptLength is the number of bytes of a password that bcrypt uses. It
// ignores the rest.
const maxBcryptLength = 72

// bcryptForm matches the hashes that are accepted. It checks the salt, too,
// because package bcrypt would find an invalid one only later. It limits the
// cost to 15, about two seconds: each step doubles the work.
var bcryptForm = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$`)

type bcryptHash struct{ text []byte }

func parseBcrypt(hash string) (bcryptHash, bool) {
	// For all passwords accepted here, $2a$, $2b$ and PHP's $2y$ give the same
	// hash. Package bcrypt does not know $2y$.
	if !bcryptForm.MatchString(hash) {
		return bcryptHash{}, false
	}
	text := []byte(hash)
	if strings.HasPrefix(hash, "$2y$") {
		text[2] = 'b'
	}
	return bcryptHash{text}, true
}

// cheap is true for costs up to 8. Cost 9 takes as long as a hash of the
// default cost.
func (b bcryptHash) cheap() bool { return string(b.text[4:6]) < "09" }

// dummy keeps the version and the cost. A dot is a zero in the base64 of
// bcrypt.
func (b bcryptHash) dummy() verifier {
	return bcryptHash{append(slices.Clone(b.text[:7]), strings.Repeat(".", 53)...)}
}

func (b bcryptHash) kind() string { return "bcrypt " + string(b.text[4:6]) }

// verify returns false for a password that bcrypt would truncate, after the
// same work.
func (b bcryptHash) verify(password string) (bool, error) {
	starts, err := b.verifyStart(password)
	return starts && len(password) <= maxBcryptLength, err
}

// verifyStart verifies the bytes that bcrypt uses: the first 72.
func (b bcryptHash) verifyStart(password string) (bool, error) {
	err := bcrypt.CompareHashAndPassword(b.text, []byte(password[:min(len(password), maxBcryptLength)]))
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	return err == nil, err
}

// tooLongForBcrypt is logged if only the length kept a password from matching.
// The program that made the hash then truncated the password, as PHP's
// password_hash does.
const tooLongForBcrypt = "password: a password of more than 72 bytes was refused although its first 72 bytes match: the bcrypt hash was made from those alone, so any password that begins with them would match. Set a new password, or accept such passwords in Options.Formats"

// verify verifies a password. The result cut is true if the password did not
// match only because bcrypt would truncate it.
func verify(v verifier, password string) (matches, cut bool, err error) {
	b, ok := v.(bcryptHash)
	if !ok {
		matches, err = v.verify(password)
		return matches, false, err
	}
	starts, err := b.verifyStart(password)
	long := len(password) > maxBcryptLength
	return starts && !long, starts && long, err
}
