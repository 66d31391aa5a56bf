package password

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// maxBcryptLength is how many bytes of a password bcrypt uses. Bcrypt ignores
// the rest.
const maxBcryptLength = 72

// bcryptForm matches the hashes that this package accepts. It also checks the
// salt, because package bcrypt reports an invalid one only when it verifies a
// password. It limits the cost to 15, which takes about two seconds. Each step
// of the cost doubles the work.
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

// cheap returns true for costs up to 8. A hash of cost 9 takes as long as one
// that [Hash] makes.
func (b bcryptHash) cheap() bool { return string(b.text[4:6]) < "09" }

// dummy keeps the version and the cost, and sets the salt and the digest to
// zeros. In bcrypt's base64, a dot is a zero.
func (b bcryptHash) dummy() verifier {
	return bcryptHash{append(slices.Clone(b.text[:7]), strings.Repeat(".", 53)...)}
}

func (b bcryptHash) kind() string { return "bcrypt " + string(b.text[4:6]) }

// verify does the same work for every password. It returns false for a password
// that bcrypt would truncate.
func (b bcryptHash) verify(password string) (bool, error) {
	starts, err := b.verifyStart(password)
	return starts && len(password) <= maxBcryptLength, err
}

// verifyStart verifies only the first 72 bytes of the password, because bcrypt
// uses no more.
func (b bcryptHash) verifyStart(password string) (bool, error) {
	err := bcrypt.CompareHashAndPassword(b.text, []byte(password[:min(len(password), maxBcryptLength)]))
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	return err == nil, err
}

// tooLongForBcrypt is logged if the first 72 bytes of a password match and only
// its length makes it wrong. In that case, the program that made the hash
// truncated the password, as PHP's password_hash does.
const tooLongForBcrypt = "password: a password of more than 72 bytes was refused although its first 72 bytes match. The bcrypt hash was made from those bytes alone, so it would match any password that begins with them. Set a new password, or accept such passwords in Options.Formats"

// verify verifies a password. The result cut is true if the password does not
// match only because bcrypt would truncate it: its first 72 bytes match.
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
