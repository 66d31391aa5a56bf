package accesstoken

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

// Another program made the golden key: its ID has the bytes f0 to f8, its user
// the bytes 00 to 0f, and its secret the bytes 20 to 40. If this test fails, the
// new version would reject all keys that scripts hold.
const (
	goldenKey       = "sk-8PHy8_T19vf4AQABAgMEBQYHCAkKCwwNDg8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-P0AJjRVJ"
	goldenKeyStart  = "sk-8PHy8_T19vf4"
	goldenKeyDigest = "0148f30edb0c0c414db825b3d29ebab960b5a14e58f1691654d9ba4a8e84f6b8"
)

// keyBody returns the body of the golden key without its checksum.
func keyBody() (body []byte) {
	for b := 0xf0; b <= 0xf8; b++ {
		body = append(body, byte(b))
	}
	body = append(body, 1)
	for b := range byte(16) {
		body = append(body, b)
	}
	for b := byte(0x20); b <= 0x40; b++ {
		body = append(body, b)
	}
	return body
}

func TestKeyFormatStaysTheSame(t *testing.T) {
	t.Parallel()
	if got := assemble("sk-", keyBody()); got != goldenKey {
		t.Fatalf("the key built byte by byte is %s, want the golden key", got)
	}
	k, ok := ParseKey("sk-", goldenKey)
	if !ok || hex.EncodeToString(k.ID[:]) != "f0f1f2f3f4f5f6f7f8" || hex.EncodeToString(k.User[:]) != "000102030405060708090a0b0c0d0e0f" {
		t.Errorf("the golden key has ID %x and user %x, %v", k.ID, k.User, ok)
	}
	if got := k.ID.Start("sk-"); got != goldenKeyStart || !strings.HasPrefix(goldenKey, got) {
		t.Errorf("the start of the golden key is %s, want %s", got, goldenKeyStart)
	}
	if digest, ok := DigestKey("sk-", goldenKey); !ok || hex.EncodeToString(digest[:]) != goldenKeyDigest {
		t.Errorf("got the digest %x, %v, want that of the golden key", digest, ok)
	}
}

func TestMintKeyAndParseKeyAgree(t *testing.T) {
	t.Parallel()
	secrets, starts := make(map[string]bool), make(map[string]bool)
	for _, prefix := range []string{"k", "key_", "-_-_-_-_-_-_-_-_"} {
		for _, user := range [][16]byte{{}, {1, 2, 3}, {0xff, 15: 0xff}} {
			key, k, digest := MintKey(prefix, user)
			got, ok := ParseKey(prefix, key)
			gotDigest, shaped := DigestKey(prefix, key)
			if !ok || !shaped || got != k || k.User != user || gotDigest != digest || digest != sha256.Sum256([]byte(key)) {
				t.Errorf("ParseKey of %s: %x, digest %x, %v; want %x, digest %x", key, got, gotDigest, ok, k, digest)
			}
			id, ok := ParseStart(prefix, key[:len(prefix)+12])
			if !ok || id != k.ID || k.ID.Start(prefix) != key[:len(prefix)+12] {
				t.Errorf("the start of %s has the ID %x, %v, want %x", key, id, ok, k.ID)
			}
			body, err := base64.RawURLEncoding.DecodeString(key[len(prefix):])
			if err != nil || len(body) != 63 || body[9] != 1 {
				t.Fatalf("the body of %s is %x, error %v", key, body, err)
			}
			secrets[string(body[26:59])], starts[string(body[:9])] = true, true
		}
	}
	if len(secrets) != 9 || len(starts) != 9 {
		t.Errorf("9 keys have %d secrets and %d IDs", len(secrets), len(starts))
	}
}

func TestEveryChangedCharacterOfAKeyIsRefused(t *testing.T) {
	t.Parallel()
	const others = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" + "+/=. \n\r\x00\x80"
	changed := []byte(goldenKey)
	for i := range changed {
		for _, c := range []byte(others) {
			if c == goldenKey[i] {
				continue
			}
			changed[i] = c
			if _, ok := ParseKey("sk-", string(changed)); ok {
				t.Errorf("ParseKey accepts %q at index %d of the golden key", c, i)
			}
		}
		changed[i] = goldenKey[i]
	}
}

func TestParseKeyRefusesMalformedKeys(t *testing.T) {
	t.Parallel()
	body := keyBody()
	version := func(v byte) string {
		b := bytes.Clone(body)
		b[9] = v
		return assemble("sk-", b)
	}
	for _, test := range []struct{ name, key string }{
		{"the empty string", ""},
		{"the prefix alone", "sk-"},
		{"the start alone", goldenKeyStart},
		{"a foreign prefix", assemble("pk-", body)},
		{"one byte less", assemble("sk-", body[:len(body)-1])},
		{"three bytes more", assemble("sk-", append(bytes.Clone(body), 0, 0, 0))},
		{"padding", goldenKey + "="},
		{"line breaks in place of characters", goldenKey[:50] + "\r\n\r\n" + goldenKey[54:]},
		{"version 0", version(0)},
		{"version 2", version(2)},
		{"an access token with its prefix", "sk-" + goldenToken[4:]},
		{"zeros", "sk-" + strings.Repeat("A", 84)},
	} {
		if k, ok := ParseKey("sk-", test.key); ok || k != (Key{}) {
			t.Errorf("%s: ParseKey returned %v and %x, want false", test.name, ok, k)
		}
	}
	for _, start := range []string{"", "sk-", goldenKey, goldenKeyStart[:14], goldenKeyStart + "A", "pk-" + goldenKeyStart[3:], goldenKeyStart[:13] + "\r\n", goldenKeyStart[:14] + "="} {
		if id, ok := ParseStart("sk-", start); ok || id != (KeyID{}) {
			t.Errorf("ParseStart accepts %q", start)
		}
	}
}

// A key is never taken for an access token or a refresh token, nor they for a key,
// unless one prefix continues the other by just the difference of their lengths.
func TestKeysAreNotTakenForTokens(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		key, access string
		both        bool
	}{
		{"key_", "tat_", false},
		{"tat_", "tat_", false},
		{"abc_pat_", "abc_", false},
		{"abc_", "abc_pat_", false},
		{"abc_12345678", "abc_", true},
		{"abd_12345678", "abc_", false},
		{"abc_", "abc_12345678", false},
	} {
		if got := MayBeBoth(test.key, test.access); got != test.both {
			t.Errorf("MayBeBoth(%q, %q) is %v, want %v", test.key, test.access, got, test.both)
		}
		key, k, _ := MintKey(test.key, [16]byte{})
		access, _ := Mint(test.access, [32]byte{})
		r := NewFamily([32]byte{})
		refresh, _ := r.Make(test.key)
		_, keyIsToken := Digest(test.access, key)
		_, tokenIsKey := DigestKey(test.key, access)
		_, refreshIsKey := DigestKey(test.key, refresh)
		_, _, keyIsRefresh := ParseRefresh(test.key, key)
		if !test.both && (keyIsToken || tokenIsKey) || refreshIsKey || keyIsRefresh {
			t.Errorf("prefixes %q and %q: one is taken for the other", test.key, test.access)
		}
		if _, ok := Parse(test.access, k.ID.Start(test.key)); ok {
			t.Errorf("the start of a key is an access token")
		}
	}
}

// Not parallel: AllocsPerRun counts what the whole process allocates.
func TestParseKeyAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() {
		_, parsed := ParseKey("sk-", goldenKey)
		if _, ok := DigestKey("sk-", goldenKey); !ok || !parsed {
			t.Fatal("ParseKey rejects the golden key")
		}
	}); n != 0 {
		t.Errorf("ParseKey and DigestKey made %v allocations, want 0", n)
	}
}

// Each accepted key has one spelling. The fuzzer cannot guess a checksum, so each
// input of the right length is also tried with a correct checksum.
func FuzzParseKey(f *testing.F) {
	f.Add(goldenKey)
	f.Add(strings.Replace(goldenKey, "4AQAB", "4AgAB", 1))
	f.Add("sk-" + strings.Repeat("_", 84))
	f.Add(goldenKey[:50] + "\r\n" + goldenKey[52:])
	f.Add(goldenKeyStart)
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := ParseKey("sk-", text); ok {
			checkAcceptedKey(t, text)
		}
		if id, ok := ParseStart("sk-", text); ok && id.Start("sk-") != text {
			t.Fatalf("ParseStart accepts %q, which has another spelling", text)
		}
		encoded, ok := strings.CutPrefix(text, "sk-")
		body, err := base64.RawURLEncoding.DecodeString(encoded)
		if !ok || err != nil || len(body) != 63 {
			return
		}
		repaired := assemble("sk-", body[:59])
		if _, ok := ParseKey("sk-", repaired); ok != (body[9] == 1) {
			t.Fatalf("ParseKey of %s with version %d returned %v", repaired, body[9], ok)
		} else if ok {
			checkAcceptedKey(t, repaired)
		}
	})
}

func checkAcceptedKey(t *testing.T, text string) {
	k, _ := ParseKey("sk-", text)
	if digest, ok := DigestKey("sk-", text); !ok || digest != sha256.Sum256([]byte(text)) {
		t.Errorf("the digest of %q is %x, want its SHA-256", text, digest)
	}
	body, err := base64.RawURLEncoding.Strict().DecodeString(text[3:])
	if err != nil || assemble("sk-", body[:59]) != text {
		t.Fatalf("ParseKey accepts %q, which has another spelling; error %v", text, err)
	}
	if !bytes.Equal(body[:9], k.ID[:]) || !bytes.Equal(body[10:26], k.User[:]) {
		t.Errorf("the content of %q is %x", text, k)
	}
}
