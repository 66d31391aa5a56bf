package password

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// A prf is a pseudorandom function for PBKDF2 (RFC 8018 §5.2), here always an
// HMAC, with numbers that describe the cost of its iterations. Each max is
// higher than the number that OWASP's Password Storage Cheat Sheet recommends:
// 1,400,000 iterations with SHA-1, 600,000 with SHA-256 and 220,000 with
// SHA-512.
type prf struct {
	new  func() hash.Hash
	size int // the bytes in one block of output
	// usual is the number of iterations for which one block takes as long as a
	// hash of the default cost, on a processor with SHA instructions.
	usual int
	// max is the highest number of iterations that a stored hash may have if
	// its output is one block. That many iterations take about a second with
	// SHA instructions, and two or three without.
	max int
}

var (
	hmacSHA1   = prf{sha1.New, sha1.Size, 150_000, 4_000_000}
	hmacSHA256 = prf{sha256.New, sha256.Size, 150_000, 4_000_000}
	hmacSHA512 = prf{sha512.New, sha512.Size, 50_000, 2_000_000}
)

// prfNames has the PRFs by their names in PHC strings and in passlib. The name
// "pbkdf2" means SHA-1.
var prfNames = map[string]prf{
	"pbkdf2":        hmacSHA1,
	"pbkdf2-sha1":   hmacSHA1,
	"pbkdf2-sha256": hmacSHA256,
	"pbkdf2-sha512": hmacSHA512,
}

type pbkdf2Hash struct {
	prf        prf
	iterations int
	salt, hash []byte
}

// parsePBKDF2 parses a PHC string, $pbkdf2-sha256$i=…,l=…$salt$hash, and
// passlib's $pbkdf2-sha256$…$salt$hash. The length l is optional. Passlib's
// base64 has a dot in place of the plus sign.
func parsePBKDF2(stored string) (p pbkdf2Hash, ok bool) {
	fields := strings.Split(stored, "$")
	if len(fields) != 5 || fields[0] != "" {
		return p, false
	}
	if p.prf, ok = prfNames[fields[1]]; !ok {
		return p, false
	}
	encoding := passlibEncoding
	iterations, isPHC := strings.CutPrefix(fields[2], "i=")
	length, hasLength := "", false
	if isPHC {
		encoding = base64.RawStdEncoding
		iterations, length, hasLength = strings.Cut(iterations, ",l=")
	}
	if p.iterations, ok = parseNumber(iterations); !ok {
		return p, false
	}
	if p.salt, ok = decode(encoding, fields[3], minSaltLen, maxSaltLen); !ok {
		return p, false
	}
	if p.hash, ok = decode(encoding, fields[4], minHashLen, maxHashLen); !ok {
		return p, false
	}
	if hasLength && length != strconv.Itoa(len(p.hash)) {
		return p, false
	}
	return p, p.bounded()
}

var passlibEncoding = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./").WithPadding(base64.NoPadding)

// parseNumber parses a positive decimal number without a sign or leading zeros.
func parseNumber(text string) (int, bool) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err == nil && text[0] != '0'
}

// bounded reports whether the cost is within bounds. Each block of output takes
// all iterations again.
func (p pbkdf2Hash) bounded() bool { return p.iterations >= 1 && p.iterations <= p.prf.max/p.blocks() }

func (p pbkdf2Hash) blocks() int { return (len(p.hash) + p.prf.size - 1) / p.prf.size }

func (p pbkdf2Hash) cheap() bool { return p.iterations*p.blocks() < p.prf.usual }

func (p pbkdf2Hash) dummy() verifier {
	p.salt, p.hash = make([]byte, len(p.salt)), make([]byte, len(p.hash))
	return p
}

func (p pbkdf2Hash) kind() string {
	return fmt.Sprintf("pbkdf2 %d %d", p.prf.size, p.iterations*p.blocks())
}

// verify returns false for a password that ends in NUL, after the same work.
// HMAC pads its key with NULs (RFC 2104 §2), so the password would match the
// same hash with and without NULs at its end. With GODEBUG=fips140=only, verify
// returns an error for SHA-1 and for a salt of less than 16 bytes.
func (p pbkdf2Hash) verify(password string) (bool, error) {
	got, err := pbkdf2.Key(p.prf.new, password, p.salt, p.iterations, len(p.hash))
	if err != nil {
		return false, err
	}
	matches := subtle.ConstantTimeCompare(got, p.hash) == 1
	return matches && !strings.HasSuffix(password, "\x00"), nil
}
