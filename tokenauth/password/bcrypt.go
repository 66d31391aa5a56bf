package password

import (
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// maxBcryptCost bounds the work that a stored hash may ask for: each step
// doubles it, and 15 is about two seconds.
const maxBcryptCost = 15

// maxBcryptLength is how many bytes of a password bcrypt looks at.
const maxBcryptLength = 72

type bcryptHash struct{ text []byte }

func parseBcrypt(hash string) (bcryptHash, bool) {
	// $2a$, $2b$ and $2y$ (PHP's) are the same for all passwords that are
	// accepted here; the library knows the first two.
	text := []byte(hash)
	if strings.HasPrefix(hash, "$2y$") {
		text[2] = 'b'
	}
	cost, err := bcrypt.Cost(text)
	if err != nil || cost > maxBcryptCost || len(text) != 60 {
		return bcryptHash{}, false
	}
	return bcryptHash{text}, true
}

// verify fails for a password that bcrypt would cut off, after the same work.
func (b bcryptHash) verify(password string) bool {
	cut := password[:min(len(password), maxBcryptLength)]
	matches := bcrypt.CompareHashAndPassword(b.text, []byte(cut)) == nil
	return matches && len(password) <= maxBcryptLength
}
