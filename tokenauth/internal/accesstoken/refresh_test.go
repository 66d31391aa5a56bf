package accesstoken

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// Another program made the golden refresh token: its slot has the bytes 00 to 1f, its
// family the bytes 40 to 51, its number 60 to 62, and its secret the bytes e0 to ff. If this test fails, the
// new version would reject all refresh tokens that clients hold.
const (
	goldenRefreshToken  = "trt_AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fQEFCQ0RFRkdISUpLTE1OT1BRYGFi4OHi4-Tl5ufo6err7O3u7_Dx8vP09fb3-Pn6-_z9_v8xlqRL"
	goldenRefreshDigest = "1ee043a0e765296820877e8a4dd58ef13a137ff28a1a0414808b3568bce69d7f"
)

func goldenRefresh() (r Refresh) {
	for i := range r.Slot {
		r.Slot[i], r.Secret[i] = byte(i), byte(0xe0+i)
	}
	for i := range r.Family {
		r.Family[i] = byte(0x40 + i)
	}
	r.Number = 0x606162
	return r
}

func TestRefreshTokenFormatStaysTheSame(t *testing.T) {
	t.Parallel()
	want := goldenRefresh()
	got, digest, ok := ParseRefresh("trt_", goldenRefreshToken)
	if !ok || got != want || hex.EncodeToString(digest[:]) != goldenRefreshDigest {
		t.Errorf("ParseRefresh returned %x, %x, %v; want %x, %s", got, digest, ok, want, goldenRefreshDigest)
	}
	if made, madeDigest := want.Make("trt_"); made != goldenRefreshToken || madeDigest != digest {
		t.Errorf("Make returned %s, %x; want the golden refresh token", made, madeDigest)
	}
}

func TestNewFamilyAndParseRefreshAgree(t *testing.T) {
	t.Parallel()
	random := make(map[string]bool)
	for _, prefix := range []string{"t", "trt_", "-_-_-_-_-_-_-_-_"} {
		for _, slot := range [][32]byte{{}, sha256.Sum256([]byte("17"))} {
			r := NewFamily(slot)
			text, digest := r.Make(prefix)
			got, gotDigest, ok := ParseRefresh(prefix, text)
			if !ok || got != r || got.Slot != slot || gotDigest != digest || digest != sha256.Sum256([]byte(text)) {
				t.Errorf("ParseRefresh of %s returned %x, %x, %v; want %x, %x", text, got, gotDigest, ok, r, digest)
			}
			random[string(r.Family[:])], random[string(r.Secret[:])] = true, true
		}
	}
	if len(random) != 12 {
		t.Errorf("6 refresh tokens have %d families and secrets, want 12", len(random))
	}
}

func TestNextRefreshToken(t *testing.T) {
	t.Parallel()
	r := goldenRefresh()
	next := r.Next([32]byte{1})
	if next.Number != r.Number+1 || next.Secret != [32]byte{1} || next.Family != r.Family || next.Slot != r.Slot {
		t.Errorf("after %x comes %x", r, next)
	}
	next.Number = maxNumber
	if text, _ := next.Make("trt_"); next.Next(next.Secret) != next {
		t.Errorf("the number of %s is not the last one", text)
	}
}

// Even with the same prefix, a refresh token is not an access token, and the other way round.
func TestAccessAndRefreshTokensAreNotTakenForEachOther(t *testing.T) {
	t.Parallel()
	r := NewFamily(sha256.Sum256([]byte("17")))
	refreshToken, _ := r.Make("tat_")
	if _, ok := Parse("tat_", refreshToken); ok {
		t.Error("Parse accepts a refresh token")
	}
	if _, ok := Digest("tat_", refreshToken); ok {
		t.Error("Digest accepts a refresh token")
	}
	accessToken, _ := Mint("tat_", r.Slot)
	if _, _, ok := ParseRefresh("tat_", accessToken); ok {
		t.Error("ParseRefresh accepts an access token")
	}
}

// A CRC-32 detects each single changed character.
func TestEveryChangedCharacterOfARefreshTokenIsRefused(t *testing.T) {
	t.Parallel()
	changed := []byte(goldenRefreshToken)
	for i := range changed {
		for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. \n\r\x00\x80") {
			if c == goldenRefreshToken[i] {
				continue
			}
			changed[i] = c
			if _, _, ok := ParseRefresh("trt_", string(changed)); ok {
				t.Errorf("ParseRefresh accepts %q at index %d", c, i)
			}
		}
		changed[i] = goldenRefreshToken[i]
	}
}

func TestParseRefreshRefusesMalformedTokens(t *testing.T) {
	t.Parallel()
	body := refreshBody(t, goldenRefreshToken)
	version := func(v byte) string { return assemble("trt_", append([]byte{v}, body[1:]...)) }
	if version(1) != goldenRefreshToken {
		t.Fatal("the body of the test cases does not make the golden refresh token")
	}
	last := len(goldenRefreshToken) - 1
	for name, token := range map[string]string{
		"the empty string": "", "the prefix alone": "trt_", "the body alone": goldenRefreshToken[4:],
		"a foreign prefix": assemble("abc_", body), "the prefix in upper case": "TRT_" + goldenRefreshToken[4:],
		"one byte less": assemble("trt_", body[:len(body)-1]), "one byte more": assemble("trt_", append(bytes.Clone(body), 0)),
		"three bytes less": assemble("trt_", body[:len(body)-3]), "three bytes more": assemble("trt_", append(bytes.Clone(body), 0, 0, 0)),
		"padding": goldenRefreshToken + "=", "padding in place of a character": goldenRefreshToken[:last] + "=",
		"a line break at the end": goldenRefreshToken + "\n", "line breaks in place of characters": goldenRefreshToken[:50] + "\r\n\r\n" + goldenRefreshToken[54:],
		"a leading space": " " + goldenRefreshToken, "version 0": version(0), "version 2": version(2),
		"zeros": "trt_" + strings.Repeat("A", 120), "a string of 1 MiB": strings.Repeat("a", 1<<20),
	} {
		if r, _, ok := ParseRefresh("trt_", token); ok || r != (Refresh{}) {
			t.Errorf("%s: ParseRefresh returned %x, %v; want false", name, r, ok)
		}
	}
}

func refreshBody(t *testing.T, refreshToken string) []byte {
	t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(refreshToken[4:])
	if err != nil {
		t.Fatal(err)
	}
	return body[:refreshChecksumAt]
}

// Each accepted refresh token has one spelling, and Make gives it back. The fuzzer cannot
// guess a checksum, so each input of the right length is also tried with a correct one.
func FuzzParseRefresh(f *testing.F) {
	f.Add(goldenRefreshToken)
	f.Add(strings.Replace(goldenRefreshToken, "AQAB", "AgAB", 1))
	f.Add("trt_" + strings.Repeat("_", 120))
	f.Add(goldenRefreshToken[:50] + "\r\n" + goldenRefreshToken[52:])
	f.Add(goldenToken)
	f.Fuzz(func(t *testing.T, text string) {
		check := func(text string) (ok bool) {
			r, digest, ok := ParseRefresh("trt_", text)
			if !ok {
				return false
			}
			if again, d := r.Make("trt_"); again != text || d != digest || digest != sha256.Sum256([]byte(text)) {
				t.Fatalf("ParseRefresh accepts %q, and Make returns %q", text, again)
			}
			if _, ok := Parse("trt_", text); ok {
				t.Errorf("%q is also an access token", text)
			}
			return true
		}
		check(text)
		encoded, ok := strings.CutPrefix(text, "trt_")
		body, err := base64.RawURLEncoding.DecodeString(encoded)
		if !ok || err != nil || len(body) != refreshSize {
			return
		}
		if repaired := assemble("trt_", body[:refreshChecksumAt]); check(repaired) != (body[0] == 1) {
			t.Fatalf("ParseRefresh of %s with version %d", repaired, body[0])
		}
	})
}
