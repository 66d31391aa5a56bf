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

// A forgery is a kind of thing that is no good access token.
type forgery struct {
	name  string
	share int // of the tries
	make  func(rng *rand.Rand, m *mark) string
}

// A mark is a user whose token is what forgeries are made of.
type mark struct {
	*arena
	user string

	good string
	body accesstoken.Body // of it
	near accesstoken.Body // of another's token

	replaced, revoked, expired string
	foreign                    string // for the same slot, of a service with another storage
	prefixed                   string // for the same slot in the same storage, with another prefix
}

// forgeries are all kinds. Most tries have a right checksum, since only those
// get as far as the storage, and name a slot that holds something.
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
		b[half+15]++ // tokens of one client all have the same client
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
		text := []byte(m.good)
		text[rng.IntN(len(text))] = byte(rng.IntN(256))
		return string(text)
	}},
	{"cut off", 1, func(rng *rand.Rand, m *mark) string {
		at := rng.IntN(len(m.good))
		if rng.IntN(2) == 0 {
			return m.good[at+1:]
		}
		return m.good[:at]
	}},
	{"doubled, or longer", 1, func(rng *rand.Rand, m *mark) string {
		switch rng.IntN(3) {
		case 0:
			return m.good + m.good
		case 1:
			return m.good + m.good[:1+rng.IntN(len(m.good))]
		}
		return accesstoken.Prefix + m.good
	}},
	{"white space", 1, func(rng *rand.Rand, m *mark) string {
		return inserted(rng, m.good, []string{" ", "\t", "\n", "\r\n", "\x00", "\v", "\u0085", "\u00a0", "\u2028", "\u3000"})
	}},
	{"Unicode", 1, func(rng *rand.Rand, m *mark) string {
		return inserted(rng, m.good, []string{"\u200b", "\ufeff", "\u0301", "\u202e", "\u00ad", "\uff34", "\u0430", "\u017f", "\u212a", "\xff", "\xc0\xb1"})
	}},
	{"another spelling", 1, func(rng *rand.Rand, m *mark) string {
		switch rng.IntN(6) {
		case 0:
			return strings.ToUpper(m.good)
		case 1:
			return strings.ToUpper(accesstoken.Prefix) + m.good[len(accesstoken.Prefix):]
		case 2:
			return m.good + strings.Repeat("=", 1+rng.IntN(4))
		case 3:
			return accesstoken.Prefix + base64.StdEncoding.EncodeToString(m.body[:])
		case 4:
			at := rng.IntN(len(m.good))
			return m.good[:at] + fmt.Sprintf("%%%02X", m.good[at]) + m.good[at+1:]
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
		return b.Seal() // which is digested otherwise
	}},
	{"a JWT", 1, func(rng *rand.Rand, m *mark) string {
		const none, signed = `{"alg":"none"}`, `{"alg":"HS256","typ":"JWT"}`
		encode := base64.RawURLEncoding.EncodeToString
		claims := encode([]byte(`{"sub":"` + m.user + `","exp":4102444800}`))
		switch rng.IntN(3) {
		case 0:
			return encode([]byte(none)) + "." + claims + "."
		case 1:
			return encode([]byte(signed)) + "." + claims + "." + m.good[len(m.good)-43:]
		}
		return (accesstoken.Prefix + encode([]byte(signed)) + "." + claims + "." + m.good)[:len(m.good)]
	}},
	{"what is stored of it", 1, func(rng *rand.Rand, m *mark) string {
		digest := sha256.Sum256([]byte(m.good))
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

// inserted puts one of the texts somewhere, and every second time takes out as
// much, so that the length is right.
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
	case 3: // a decoder may skip it
		return token[:at] + text + token[at:len(token)-len(text)]
	}
	return token[:at] + text + token[at+len(text):]
}

// A disguise is a way to send a good access token that is none.
type disguise struct {
	name  string
	lines func(good string) []string // of the Authorization header
	query func(good string) string   // nil for none
}

func line(format string) func(string) []string {
	return func(good string) []string { return []string{strings.ReplaceAll(format, "@", good)} }
}

var disguises = []*disguise{
	{"two headers", func(good string) []string { return []string{"Bearer " + good, "Bearer " + good} }, nil},
	{"a header of Basic and one of Bearer", func(good string) []string { return []string{"Basic YTpi", "Bearer " + good} }, nil},
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
	{"the query alone", func(string) []string { return nil }, func(good string) string { return "access_token=" + good }},
	{"the query beside an empty token", line("Bearer"), func(good string) string { return "a=b&Access_Token=" + good }},
	{"the query beside another token", line("Bearer tat_x"), func(good string) string { return "access_token=" + good }},
}
