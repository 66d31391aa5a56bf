package accesstoken

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"
)

// Another program made the golden token: its slot has the bytes 00 to 1f, and
// its secret the bytes e0 to ff. If this test fails, the new version would
// reject all tokens that clients hold.
const (
	goldenToken  = "tat_AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v9efLhs"
	goldenDigest = "b430d53e39a2f0e66d1ec1c77adef6537c6b1938bda5be0b539c145fb9cdc455"
)

func TestTokenFormatStaysTheSame(t *testing.T) {
	t.Parallel()
	slot, ok := Parse("tat_", goldenToken)
	if !ok {
		t.Fatal("Parse rejects the golden token")
	}
	if got := hex.EncodeToString(slot[:]); got != "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" {
		t.Errorf("got the slot %s, want the bytes 00 to 1f", got)
	}
	if digest, ok := Digest("tat_", goldenToken); !ok || hex.EncodeToString(digest[:]) != goldenDigest {
		t.Errorf("got the digest %x, %v, want that of the golden token", digest, ok)
	}
	// Build the same token byte by byte.
	body := []byte{1}
	for b := range byte(32) {
		body = append(body, b)
	}
	for b := 0xe0; b <= 0xff; b++ {
		body = append(body, byte(b))
	}
	if got := assemble("tat_", body); got != goldenToken {
		t.Errorf("the token built byte by byte is %s, want the golden token", got)
	}
}

// assemble makes a token from a prefix and a body without its checksum.
func assemble(prefix string, body []byte) string {
	sum := crc32.ChecksumIEEE(append([]byte(prefix), body...))
	return prefix + base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(bytes.Clone(body), sum))
}

func TestMintAndParseAgree(t *testing.T) {
	t.Parallel()
	secrets := make(map[string]bool)
	for _, prefix := range []string{"t", "tat_", "-_-_-_-_-_-_-_-_"} {
		for _, slot := range [][32]byte{{}, sha256.Sum256([]byte("17")), sha256.Sum256([]byte("18"))} {
			accessToken, digest := Mint(prefix, slot)
			gotSlot, ok := Parse(prefix, accessToken)
			gotDigest, shaped := Digest(prefix, accessToken)
			if !ok || !shaped || gotSlot != slot || gotDigest != digest || digest != sha256.Sum256([]byte(accessToken)) {
				t.Errorf("Parse of %s: slot %x, digest %x, %v; want slot %x, digest %x", accessToken, gotSlot, gotDigest, ok, slot, digest)
			}
			body, err := base64.RawURLEncoding.DecodeString(accessToken[len(prefix):])
			if err != nil || len(body) != 69 || body[0] != 1 {
				t.Fatalf("the body of %s is %x, error %v", accessToken, body, err)
			}
			secrets[string(body[33:65])] = true
		}
	}
	if len(secrets) != 9 || secrets[string(make([]byte, 32))] {
		t.Errorf("9 tokens have %d secrets", len(secrets))
	}
}

// A CRC-32 detects every error burst of up to 32 bits. So it detects each
// single changed character.
func TestEveryChangedCharacterIsRefused(t *testing.T) {
	t.Parallel()
	const others = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" + "+/=. \n\r\x00\x80"
	minted, _ := Mint("tat_", sha256.Sum256([]byte("17")))
	for _, good := range []string{goldenToken, minted} {
		changed := []byte(good)
		for i := range changed {
			for _, c := range []byte(others) {
				if c == good[i] {
					continue
				}
				changed[i] = c
				if _, ok := Parse("tat_", string(changed)); ok {
					t.Errorf("Parse accepts %q at index %d of %s", c, i, good)
				}
			}
			changed[i] = good[i]
		}
	}
}

func TestParseRefusesMalformedTokens(t *testing.T) {
	t.Parallel()
	body, err := base64.RawURLEncoding.DecodeString(goldenToken[4:])
	if err != nil {
		t.Fatal(err)
	}
	body = body[:checksumAt]
	version := func(v byte) string { return assemble("tat_", append([]byte{v}, body[1:]...)) }
	if version(1) != goldenToken {
		t.Fatal("the body of the test cases does not make the golden token")
	}
	shuffled, _ := Mint("tta_", [32]byte{})
	tests := []struct{ name, token string }{
		{"the empty string", ""},
		{"the prefix alone", "tat_"},
		{"the body alone", goldenToken[4:]},
		{"a foreign prefix", assemble("abc_", body)},
		{"a longer prefix", "t" + goldenToken},
		{"the prefix in upper case", "TAT_" + goldenToken[4:]},
		{"a body whose checksum is for another prefix", "tat_" + shuffled[4:]},
		{"one byte less", assemble("tat_", body[:len(body)-1])},
		{"one byte more", assemble("tat_", append(bytes.Clone(body), 0))},
		{"three bytes more", assemble("tat_", append(bytes.Clone(body), 0, 0, 0))},
		{"the last character missing", goldenToken[:95]},
		{"padding", goldenToken + "="},
		{"padding in place of a character", goldenToken[:95] + "="},
		{"a line break at the end", goldenToken + "\n"},
		{"a line break within", goldenToken[:50] + "\r\n" + goldenToken[50:]},
		{"line breaks in place of characters", goldenToken[:50] + "\r\n\r\n" + goldenToken[54:]},
		{"a leading space", " " + goldenToken},
		{"the other base64 alphabet", strings.NewReplacer("-", "+", "_", "/").Replace(goldenToken[4:])},
		{"version 0", version(0)},
		{"version 2", version(2)},
		{"zeros", "tat_" + strings.Repeat("A", 92)},
		{"a string of 1 MiB", strings.Repeat("a", 1<<20)},
	}
	for _, test := range tests {
		if slot, ok := Parse("tat_", test.token); ok || slot != ([32]byte{}) {
			t.Errorf("%s: Parse returned %v and the slot %x, want false", test.name, ok, slot)
		}
	}
}

// The base64 decoder skips line breaks. It may then leave the last bytes of the
// previous token in the reused buffer, where Parse reads the end of the
// checksum. A token whose checksum fits must not get a second spelling by that.
func TestLineBreaksDoNotExposeThePreviousToken(t *testing.T) {
	t.Parallel()
	body := make([]byte, checksumAt)
	body[0] = 1
	for n := uint32(0); ; n++ {
		binary.BigEndian.PutUint32(body[secretAt:], n)
		sum := crc32.Update(crc32.ChecksumIEEE([]byte("tat_")), crc32.IEEETable, body)
		if sum&0x00ffff00 == 0 {
			break
		}
	}
	good := assemble("tat_", body)
	for range 100 {
		if _, ok := Parse("tat_", good); !ok {
			t.Fatal("Parse rejects the token itself")
		}
		if _, ok := Parse("tat_", good[:92]+"\r\n\r\n"); ok {
			t.Fatal("Parse accepts line breaks in place of the last characters")
		}
	}
}

// Not parallel: AllocsPerRun counts what the whole process allocates.
func TestParseAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() {
		if _, ok := Parse("tat_", goldenToken); !ok {
			t.Fatal("Parse rejects the golden token")
		}
	}); n != 0 {
		t.Errorf("Parse made %v allocations, want 0", n)
	}
}

// Each accepted token has one spelling. The fuzzer cannot guess a checksum, so
// each input of the right length is also tried with a correct checksum.
func FuzzParse(f *testing.F) {
	f.Add(goldenToken)
	f.Add(strings.Replace(goldenToken, "AQAB", "AgAB", 1))
	f.Add("tat_" + strings.Repeat("_", 92))
	f.Add(goldenToken[:50] + "\r\n" + goldenToken[52:])
	f.Add("tat_")
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := Parse("tat_", text); ok {
			checkAccepted(t, text)
		}
		encoded, ok := strings.CutPrefix(text, "tat_")
		body, err := base64.RawURLEncoding.DecodeString(encoded)
		if !ok || err != nil || len(body) != 69 {
			return
		}
		repaired := assemble("tat_", body[:65])
		if _, ok := Parse("tat_", repaired); ok != (body[0] == 1) {
			t.Fatalf("Parse of %s with version %d returned %v", repaired, body[0], ok)
		} else if ok {
			checkAccepted(t, repaired)
		}
	})
}

func checkAccepted(t *testing.T, text string) {
	slot, _ := Parse("tat_", text)
	if digest, ok := Digest("tat_", text); !ok || digest != sha256.Sum256([]byte(text)) {
		t.Errorf("the digest of %q is %x, want its SHA-256", text, digest)
	}
	body, err := base64.RawURLEncoding.Strict().DecodeString(text[4:])
	if err != nil || assemble("tat_", body[:65]) != text {
		t.Fatalf("Parse accepts %q, which has another spelling; error %v", text, err)
	}
	if !bytes.Equal(body[1:33], slot[:]) {
		t.Errorf("the slot of %q is %x", text, slot)
	}
}
