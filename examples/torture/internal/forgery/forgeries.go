package forgery

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/bearerkit/bearerkit/examples/torture/internal/accesstoken"
)

// A forgery is a kind of invalid access token.
type forgery struct {
	name  string
	share int // relative number of tries
	make  func(rng *rand.Rand, m *mark) string
}

// A mark is a user from whose tokens forgeries are made.
type mark struct {
	*arena
	user string

	valid string
	body  accesstoken.Body // the decoded valid
	near  accesstoken.Body // of another user's token

	refresh, nearRefresh                            string // beside valid, and another user's
	replacedRefresh, revokedRefresh, expiredRefresh string // of sign-ins that ended
	foreignRefresh, prefixedRefresh                 string

	replaced, revoked, expired string
	foreign                    string // for the same slot, issued by a service with another storage
	prefixed                   string // for the same slot and storage, issued with another prefix
}

// forgeries lists all kinds. Most forgeries have a right checksum and name a slot that
// is not empty, because only those need more than a check of the format.
var forgeries = []*forgery{
	{"a bit of the secret", 16, func(rng *rand.Rand, m *mark) string {
		b := m.body
		b.Flip(rng, accesstoken.SecretAt, accesstoken.ChecksumAt)
		return b.Seal()
	}},
	{"all of the secret", 8, func(rng *rand.Rand, m *mark) string {
		b := m.body
		for i := accesstoken.SecretAt; i < accesstoken.ChecksumAt; i += 8 {
			binary.LittleEndian.PutUint64(b[i:], rng.Uint64())
		}
		return b.Seal()
	}},
	{"a bit of the slot", 4, func(rng *rand.Rand, m *mark) string {
		b := m.body
		b.Flip(rng, accesstoken.SlotAt, accesstoken.SecretAt)
		return b.Seal()
	}},
	{"another's slot", 8, func(rng *rand.Rand, m *mark) string {
		b := m.body
		copy(b[accesstoken.SlotAt:accesstoken.SecretAt], m.near[accesstoken.SlotAt:accesstoken.SecretAt])
		return b.Seal()
	}},
	{"another's user or client", 4, func(rng *rand.Rand, m *mark) string {
		b := m.body
		half := accesstoken.SlotAt + 16*rng.IntN(2)
		b[half+15]++ // changes the client part, too, which is the same in all tokens
		copy(b[half:half+15], m.near[half:half+15])
		return b.Seal()
	}},
	{"another version", 2, func(rng *rand.Rand, m *mark) string {
		b := m.body
		b[0] ^= byte(1 + rng.IntN(255))
		return b.Seal()
	}},
	{"a wrong checksum", 2, func(rng *rand.Rand, m *mark) string {
		b := m.body
		b.Flip(rng, accesstoken.ChecksumAt, accesstoken.BodySize)
		return b.Spell()
	}},
	{"a character", 2, func(rng *rand.Rand, m *mark) string {
		text := []byte(m.valid)
		text[rng.IntN(len(text))] = byte(rng.IntN(256))
		return string(text)
	}},
	{"cut off", 1, func(rng *rand.Rand, m *mark) string {
		at := rng.IntN(len(m.valid))
		if rng.IntN(2) == 0 {
			return m.valid[at+1:]
		}
		return m.valid[:at]
	}},
	{"doubled, or longer", 1, func(rng *rand.Rand, m *mark) string {
		switch rng.IntN(3) {
		case 0:
			return m.valid + m.valid
		case 1:
			return m.valid + m.valid[:1+rng.IntN(len(m.valid))]
		}
		return accesstoken.Prefix + m.valid
	}},
	{"white space", 1, func(rng *rand.Rand, m *mark) string {
		return inserted(rng, m.valid, []string{" ", "\t", "\n", "\r\n", "\x00", "\v", "\u0085", "\u00a0", "\u2028", "\u3000"})
	}},
	{"Unicode", 1, func(rng *rand.Rand, m *mark) string {
		return inserted(rng, m.valid, []string{"\u200b", "\ufeff", "\u0301", "\u202e", "\u00ad", "\uff34", "\u0430", "\u017f", "\u212a", "\xff", "\xc0\xb1"})
	}},
	{"another spelling", 1, func(rng *rand.Rand, m *mark) string {
		switch rng.IntN(6) {
		case 0:
			return strings.ToUpper(m.valid)
		case 1:
			return strings.ToUpper(accesstoken.Prefix) + m.valid[len(accesstoken.Prefix):]
		case 2:
			return m.valid + strings.Repeat("=", 1+rng.IntN(4))
		case 3:
			return accesstoken.Prefix + base64.StdEncoding.EncodeToString(m.body[:])
		case 4:
			at := rng.IntN(len(m.valid))
			return m.valid[:at] + fmt.Sprintf("%%%02X", m.valid[at]) + m.valid[at+1:]
		}
		return accesstoken.Prefix + fmt.Sprintf("%x", m.body[:])
	}},
	{"replaced", 4, func(_ *rand.Rand, m *mark) string { return m.replaced }},
	{"revoked", 2, func(_ *rand.Rand, m *mark) string { return m.revoked }},
	{"expired", 2, func(_ *rand.Rand, m *mark) string { return m.expired }},
	{"of another service", 2, func(_ *rand.Rand, m *mark) string { return m.foreign }},
	{"of another prefix", 1, func(rng *rand.Rand, m *mark) string {
		if rng.IntN(2) == 0 {
			return m.prefixed
		}
		var b accesstoken.Body
		b.Open(accesstoken.Prefix + m.prefixed[len(otherPrefix):])
		return b.Seal() // has another digest than the issued token
	}},
	refreshAsAccess,
	{"a JWT", 1, func(rng *rand.Rand, m *mark) string {
		const none, signed = `{"alg":"none"}`, `{"alg":"HS256","typ":"JWT"}`
		encode := base64.RawURLEncoding.EncodeToString
		claims := encode([]byte(`{"sub":"` + m.user + `","exp":4102444800}`))
		switch rng.IntN(3) {
		case 0:
			return encode([]byte(none)) + "." + claims + "."
		case 1:
			return encode([]byte(signed)) + "." + claims + "." + m.valid[len(m.valid)-43:]
		}
		return (accesstoken.Prefix + encode([]byte(signed)) + "." + claims + "." + m.valid)[:len(m.valid)]
	}},
	{"the stored digest", 1, func(rng *rand.Rand, m *mark) string {
		digest := sha256.Sum256([]byte(m.valid))
		switch rng.IntN(3) {
		case 0:
			return fmt.Sprintf("%x", digest)
		case 1:
			return base64.RawURLEncoding.EncodeToString(digest[:])
		}
		b := m.body
		copy(b[accesstoken.SecretAt:], digest[:])
		return b.Seal()
	}},
}

// inserted inserts one of the texts into the token. In half of the cases it removes
// as many bytes, so that the length stays the same.
func inserted(rng *rand.Rand, token string, texts []string) string {
	text := texts[rng.IntN(len(texts))]
	at := rng.IntN(len(token) - len(text))
	switch rng.IntN(6) {
	case 0:
		return text + token
	case 1:
		return token + text
	case 2:
		return token[:at] + text + token[at:]
	case 3: // a decoder may skip the text
		return token[:at] + text + token[at:len(token)-len(text)]
	}
	return token[:at] + text + token[at+len(text):]
}

// A disguise is an invalid way to send a valid access token.
type disguise struct {
	name  string
	lines func(valid string) []string // the Authorization headers
	query func(valid string) string   // the query of the URL; nil for none
}

// line returns a function for one header, in which @ stands for the token.
func line(format string) func(string) []string {
	return func(valid string) []string { return []string{strings.ReplaceAll(format, "@", valid)} }
}

var disguises = []*disguise{
	{"two headers", func(valid string) []string { return []string{"Bearer " + valid, "Bearer " + valid} }, nil},
	{"a header of Basic and one of Bearer", func(valid string) []string { return []string{"Basic YTpi", "Bearer " + valid} }, nil},
	{"two tokens", line("Bearer @ @"), nil},
	{"two, with a comma", line("Bearer @, Bearer @"), nil},
	{"a comma behind", line("Bearer @,"), nil},
	{"a tab for the space", line("Bearer\t@"), nil},
	{"a tab behind", line("Bearer @\t"), nil},
	{"no space", line("Bearer@"), nil},
	{"a colon", line("Bearer: @"), nil},
	{"quotes", line(`Bearer "@"`), nil},
	{"a parameter", line("Bearer token=@"), nil},
	{"no scheme at all", line("@"), nil},
	{"Basic", line("Basic @"), nil},
	{"another scheme", line("Token @"), nil},
	{"a longer scheme", line("BearerX @"), nil},
	{"a Cyrillic scheme", line("\u0412earer @"), nil},
	{"a space before", line(" Bearer @"), nil},
	{"a no-break space", line("Bearer\u00a0@"), nil},
	{"a NUL behind", line("Bearer @\x00"), nil},
	{"a line break behind", line("Bearer @\r\n"), nil},
	{"the query alone", func(string) []string { return nil }, func(valid string) string { return "access_token=" + valid }},
	{"the query beside an empty token", line("Bearer"), func(valid string) string { return "a=b&Access_Token=" + valid }},
	{"the query beside another token", line("Bearer tat_x"), func(valid string) string { return "access_token=" + valid }},
}
