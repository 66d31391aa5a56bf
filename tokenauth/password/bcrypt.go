package password

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// maxBcryptLength is how many bytes of a password bcrypt looks at.
const maxBcryptLength = 72

// bcryptForm says all of it, because the library looks at the salt only when it
// is about to work. The cost is bounded by it: each step doubles the work, and
// 15 is about two seconds.
var bcryptForm = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$`)

type bcryptHash struct{ text []byte }

func parseBcrypt(hash string) (bcryptHash, bool) {
	// $2a$, $2b$ and $2y$ (PHP's) are the same for all passwords that are
	// accepted here; the library knows the first two.
	if !bcryptForm.MatchString(hash) {
		return bcryptHash{}, false
	}
	text := []byte(hash)
	if strings.HasPrefix(hash, "$2y$") {
		text[2] = 'b'
	}
	return bcryptHash{text}, true
}

// cheap is true of costs up to 8: 9 is what a hash of the default cost takes.
func (b bcryptHash) cheap() bool { return string(b.text[4:6]) < "09" }

// dummy keeps the cost. A dot is a zero in bcrypt's base64.
func (b bcryptHash) dummy() verifier {
	return bcryptHash{append(slices.Clone(b.text[:7]), strings.Repeat(".", 53)...)}
}

func (b bcryptHash) kind() string { return "bcrypt " + string(b.text[4:6]) }

// verify fails for a password that bcrypt would cut off, after the same work.
func (b bcryptHash) verify(password string) (bool, error) {
	starts, err := b.verifyStart(password)
	return starts && len(password) <= maxBcryptLength, err
}

// verifyStart looks at the bytes that bcrypt looks at.
func (b bcryptHash) verifyStart(password string) (bool, error) {
	err := bcrypt.CompareHashAndPassword(b.text, []byte(password[:min(len(password), maxBcryptLength)]))
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	return err == nil, err
}

// tooLongForBcrypt is logged if only the limit kept a password from matching: what
// made the hash cut the password off, as PHP's password_hash does. A password whose
// start is wrong is a wrong one.
const tooLongForBcrypt = "password: a password of more than 72 bytes was refused, of which the first 72 are right: the bcrypt hash was made of these alone, and would let in any password that begins so. Set a new password, or accept that in Options.Formats"

// verify verifies a password. Cut reports that it failed for bcrypt's limit.
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
