package password

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

const (
	aspnetV2Hash = "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg=="
	aspnetV3Hash = "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw=="
)

// v3 builds a hash of version 3 from its fields.
func v3(prf, iterations, saltLen uint32, rest int) string {
	raw := []byte{1}
	for _, n := range []uint32{prf, iterations, saltLen} {
		raw = binary.BigEndian.AppendUint32(raw, n)
	}
	return base64.StdEncoding.EncodeToString(append(raw, make([]byte, rest)...))
}

// The hashes are from the tests of ASP.NET Core. One was written by the hasher
// of Identity 2.
func TestASPNETVerifiesHashesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, hash, password string }{
		{"v2", aspnetV2Hash, "my password"},
		{"v2, of Identity 2", "AP6BvSiS6iPzXRl4VpJiSwn2Dd/PJNe6+ezEbE/6Czb4GYYuC5ja0AdAZGYgxCVr0w==", "password"},
		{"v3, SHA-1", "AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M", "my password"},
		{"v3, SHA-256", aspnetV3Hash, "my password"},
		{"v3, SHA-512, a long salt and subkey", "AQAAAAIAAAD6AAAAIJbVi5wbMR+htSfFp8fTw8N8GOS/Sje+S/4YZcgBfU7EQuqv4OkVYmc4VJl9AGZzmRTxSkP7LtVi9IWyUxX8IAAfZ8v+ZfhjCcudtC1YERSqE1OEdXLW9VukPuJWBBjLuw==", "my password"},
		{"v3, SHA-512", "AQAAAAIAAYagAAAAEAABAgMEBQYHCAkKCwwNDg/Q8A0WMKbtHQJQ2DHCdoEeeFBrgNlldq6vH4qX/CGqGQ==", "my password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// .NET ignores spaces, tabs and line breaks anywhere in base64.
			for _, hash := range []string{
				test.hash, test.hash + "\r\n", " \t" + test.hash,
				test.hash[:20] + "\n" + test.hash[20:40] + "\r\n" + test.hash[40:], strings.ReplaceAll(test.hash, "==", "= ="),
			} {
				v, ok := parse(hash)
				if !ok {
					t.Fatalf("%q was rejected, want accepted", hash)
				}
				if !is(v, test.password) {
					t.Errorf("the right password does not match %q", hash)
				}
			}
			v, _ := parse(test.hash)
			for _, wrong := range []string{"", test.password + "x", test.password + "\x00", strings.ToUpper(test.password)} {
				if is(v, wrong) {
					t.Errorf("the password %q matches", wrong)
				}
			}
		})
	}
}

// Like .NET, the format hashes the password as typed, without Unicode
// normalization.
func TestASPNETPasswordIsNotNormalised(t *testing.T) {
	t.Parallel()
	const composed, decomposed = "pässword", "pa\u0308ssword"
	salt := []byte("sixteen of bytes")
	key, err := pbkdf2.Key(sha1.New, composed, salt, 1000, 32)
	if err != nil {
		t.Fatal(err)
	}
	v, ok := parse(base64.StdEncoding.EncodeToString(append(append([]byte{0}, salt...), key...)))
	if !ok || !is(v, composed) || is(v, decomposed) {
		t.Errorf("hash accepted: %v; composed form matches: %v; decomposed form matches: %v", ok, ok && is(v, composed), ok && is(v, decomposed))
	}
}

// Each hash that fails in the tests of ASP.NET Core must be rejected here or
// not match.
func TestASPNETFailsLikeASPNETCore(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, hash string
		usable     bool
	}{
		{"v2, wrong", "AAABAgMEBQYHCAkKCwwNDg+uAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAALtH1uJg==", true},
		{"v2, too short", "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggE=", false},
		{"v3, trailing bytes", "AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHwAAAAAAAAAAAA", true},
		{"v2, trailing bytes", base64.StdEncoding.EncodeToString(make([]byte, 50)), false},
	} {
		v, ok := parse(test.hash)
		if ok != test.usable {
			t.Errorf("%s: hash accepted: %v", test.name, ok)
		}
		if ok && is(v, "my password") {
			t.Errorf("%s: the password matches", test.name)
		}
	}
}

func TestASPNETAcceptsUpToTheBounds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		hash                      string
		iterations, salt, hashLen int
	}{
		{aspnetV2Hash, 1000, 16, 32},
		{v3(0, 1, 16, 16+16), 1, 16, 16},
		{v3(1, 1, 64, 64+64), 1, 64, 64},
		{v3(0, 4_000_000, 16, 16+20), 4_000_000, 16, 20},
		{v3(0, 1_000_000, 16, 16+64), 1_000_000, 16, 64},
		{v3(1, 4_000_000, 16, 16+32), 4_000_000, 16, 32},
		{v3(2, 2_000_000, 16, 16+64), 2_000_000, 16, 64},
	} {
		p, ok := parseASPNET(test.hash)
		if !ok || p.iterations != test.iterations || len(p.salt) != test.salt || len(p.hash) != test.hashLen {
			t.Errorf("%s: hash accepted: %v; got %d iterations, a salt of %d and a subkey of %d bytes", test.hash, ok, p.iterations, len(p.salt), len(p.hash))
		}
	}
}

func TestASPNETRefusesMalformedHashes(t *testing.T) {
	t.Parallel()
	raw := func(b ...byte) string { return base64.StdEncoding.EncodeToString(b) }
	refused := map[string]string{
		"nothing":                       "",
		"nothing but white space":       " \t\r\n",
		"the marker of v2 alone":        raw(0),
		"the marker of v3 alone":        raw(1),
		"a header without its end":      raw(append([]byte{1}, make([]byte, 11)...)...),
		"a header and no more":          raw(append([]byte{1}, make([]byte, 12)...)...),
		"an unknown marker":             raw(append([]byte{2}, make([]byte, 48)...)...),
		"the marker 0xff":               raw(append([]byte{0xff}, make([]byte, 48)...)...),
		"v2 of 48 bytes":                raw(make([]byte, 48)...),
		"the URL alphabet":              strings.ReplaceAll(aspnetV2Hash, "+", "-"),
		"no padding":                    strings.TrimRight(aspnetV2Hash, "="),
		"padding once":                  strings.TrimSuffix(aspnetV2Hash, "="),
		"padding three times":           aspnetV2Hash + "=",
		"padding in the middle":         aspnetV2Hash[:20] + "==" + aspnetV2Hash[22:],
		"text behind the padding":       aspnetV2Hash + "AAAA",
		"stray bits":                    strings.TrimSuffix(aspnetV2Hash, "g==") + "h==",
		"a NUL":                         aspnetV2Hash + "\x00",
		"a vertical tab":                aspnetV2Hash[:20] + "\v" + aspnetV2Hash[20:],
		"a form feed":                   aspnetV2Hash + "\f",
		"a no-break space":              aspnetV2Hash + "\u00a0",
		"a line separator":              aspnetV2Hash[:20] + "\u2028" + aspnetV2Hash[20:],
		"an unknown PRF":                v3(3, 1000, 16, 48),
		"a PRF beyond 31 bits":          v3(1<<32-1, 1000, 16, 48),
		"no iterations":                 v3(1, 0, 16, 48),
		"iterations beyond 31 bits":     v3(1, 1<<31, 16, 48),
		"iterations of 2³² − 1":         v3(1, 1<<32-1, 16, 48),
		"too many with SHA-1":           v3(0, 4_000_001, 16, 16+20),
		"too many for two blocks":       v3(0, 2_000_001, 16, 16+32),
		"too many with SHA-256":         v3(1, 4_000_001, 16, 48),
		"too many with SHA-512":         v3(2, 2_000_001, 16, 48),
		"a salt of 15 bytes":            v3(1, 1000, 15, 48),
		"a salt of 65 bytes":            v3(1, 1000, 65, 65+32),
		"no salt":                       v3(1, 1000, 0, 48),
		"a salt past the end":           v3(1, 1000, 49, 48),
		"a salt beyond 31 bits":         v3(1, 1000, 1<<31, 48),
		"a salt of 2³² − 1 bytes":       v3(1, 1000, 1<<32-1, 48),
		"a subkey of 15 bytes":          v3(1, 1000, 16, 16+15),
		"a subkey of 65 bytes":          v3(1, 1000, 16, 16+65),
		"no subkey":                     v3(1, 1000, 16, 16),
		"a huge hash":                   raw(append([]byte{1}, make([]byte, 1<<20)...)...),
		"a hash among much white space": aspnetV2Hash + strings.Repeat(" ", 1<<20),
	}
	for n := range 48 {
		refused[fmt.Sprintf("v2 cut to %d characters", n)] = aspnetV2Hash[:n]
		refused[fmt.Sprintf("v3 cut to %d characters", n)] = aspnetV3Hash[:n]
	}
	for name, hash := range refused {
		t.Run(name, func(t *testing.T) {
			if _, ok := parse(hash); ok {
				t.Errorf("accepted the malformed hash %.200q", hash)
			}
		})
	}
}
