package password

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/argon2"
)

// phc joins the fields of a PHC string with dollar signs.
func phc(version, parameters, salt, hash string) string {
	return "$argon2id$" + version + "$" + parameters + "$" + salt + "$" + hash
}

// zeros returns n zero bytes in the base64 of a PHC string.
func zeros(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }

// cheapHash returns a hash that takes almost no time to verify.
func cheapHash(password string) string {
	a := argon2id{memory: 8, passes: 1, lanes: 1, salt: []byte("sixteen of bytes")}
	a.hash = argon2.IDKey([]byte(password), a.salt, a.passes, a.memory, a.lanes, 32)
	return a.String()
}

// The hashes are from the tests of the reference implementation,
// phc-winner-argon2. One was made independently of the code under test.
func TestArgon2idVerifiesHashesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	salt := []byte("a salt of 20 bytes!!")
	made := phc("v=19", "m=64,t=3,p=2", base64.RawStdEncoding.EncodeToString(salt),
		base64.RawStdEncoding.EncodeToString(argon2.IDKey([]byte("pässword"), salt, 3, 64, 2, 24)))
	for _, test := range []struct{ name, hash, password string }{
		{"one lane", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"},
		{"two lanes", "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
		{"other lengths", made, "pässword"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, ok := parse(test.hash)
			if !ok {
				t.Fatalf("%s was rejected, want accepted", test.hash)
			}
			if !is(v, test.password) {
				t.Error("the right password does not match")
			}
			for _, wrong := range []string{"", test.password + "x", test.password + "\x00", strings.ToUpper(test.password)} {
				if is(v, wrong) {
					t.Errorf("the password %q matches", wrong)
				}
			}
		})
	}
}

func TestArgon2idAcceptsUpToTheBounds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		parameters string
		salt, hash int
	}{
		{"m=8,t=1,p=1", 16, 32},
		{"m=128,t=1,p=16", 16, 32},
		{"m=8,t=16,p=1", 16, 32},
		{"m=65536,t=16,p=1", 16, 32},
		{"m=262144,t=4,p=4", 16, 32},
		{"m=19456,t=2,p=1", 8, 16},
		{"m=19456,t=2,p=1", 64, 64},
	} {
		hash := phc("v=19", test.parameters, zeros(test.salt), zeros(test.hash))
		a, ok := parseArgon2id(hash)
		if !ok {
			t.Errorf("%s was rejected, want accepted", hash)
			continue
		}
		if got := fmt.Sprintf("m=%d,t=%d,p=%d", a.memory, a.passes, a.lanes); got != test.parameters {
			t.Errorf("%s: parsed as %s", test.parameters, got)
		}
		if len(a.salt) != test.salt || len(a.hash) != test.hash {
			t.Errorf("%s: got a salt of %d and a hash of %d bytes", hash, len(a.salt), len(a.hash))
		}
	}
}

func TestArgon2idRefusesMalformedHashes(t *testing.T) {
	t.Parallel()
	const version, parameters = "v=19", "m=64,t=1,p=1"
	salt, hash := zeros(16), zeros(32)
	good := phc(version, parameters, salt, hash)
	if _, ok := parse(good); !ok {
		t.Fatalf("%s was rejected, want accepted", good)
	}

	refused := map[string]string{
		"the text before":                 " " + good,
		"the text after":                  good + " ",
		"a line break after":              good + "\n",
		"a field after":                   good + "$",
		"another hash after":              good + "$" + hash,
		"a NUL after":                     good + "\x00",
		"argon2i":                         strings.Replace(good, "argon2id", "argon2i", 1),
		"argon2d":                         strings.Replace(good, "argon2id", "argon2d", 1),
		"capitals":                        strings.Replace(good, "argon2id", "Argon2id", 1),
		"no hash":                         "$argon2id$" + version + "$" + parameters + "$" + salt,
		"no version":                      "$argon2id$" + parameters + "$" + salt + "$" + hash,
		"nothing but the marker":          "$argon2id$",
		"nothing but dollar signs":        phc("", "", "", ""),
		"nothing":                         "",
		"a padded salt":                   phc(version, parameters, salt+"==", hash),
		"a padded hash":                   phc(version, parameters, salt, hash+"="),
		"stray bits in the salt":          phc(version, parameters, salt[:len(salt)-1]+"B", hash),
		"stray bits in the hash":          phc(version, parameters, salt, hash[:len(hash)-1]+"B"),
		"a salt in the URL alphabet":      phc(version, parameters, "--"+salt[2:], hash),
		"a hash in the URL alphabet":      phc(version, parameters, salt, "__"+hash[2:]),
		"a line break in the salt":        phc(version, parameters, salt[:8]+"\n"+salt[8:], hash),
		"a carriage return in the hash":   phc(version, parameters, salt, hash[:8]+"\r"+hash[8:]),
		"a blank in the salt":             phc(version, parameters, salt[:8]+" "+salt[8:], hash),
		"a length that base64 never has":  phc(version, parameters, salt+"AAA", hash),
		"no salt":                         phc(version, parameters, "", hash),
		"an empty hash":                   phc(version, parameters, salt, ""),
		"a salt of 7 bytes":               phc(version, parameters, zeros(7), hash),
		"a salt of 65 bytes":              phc(version, parameters, zeros(65), hash),
		"a hash of 15 bytes":              phc(version, parameters, salt, zeros(15)),
		"a hash of 65 bytes":              phc(version, parameters, salt, zeros(65)),
		"a huge salt":                     phc(version, parameters, zeros(1<<20), hash),
		"a huge hash":                     phc(version, parameters, salt, zeros(1<<20)),
		"a huge number":                   phc(version, "m=1"+strings.Repeat("0", 1<<20)+",t=1,p=1", salt, hash),
		"a huge number of fields":         good + strings.Repeat("$", 1<<20),
		"a huge hash of a format unknown": strings.Repeat("A", 1<<20),
	}
	for _, version := range []string{"v=16", "v=18", "v=20", "v=019", "v=+19", "v=19 ", " v=19", "v=", "19", "", "V=19", "v=19,m=64"} {
		refused[fmt.Sprintf("version %q", version)] = phc(version, parameters, salt, hash)
	}
	for _, parameters := range []string{
		// Each value must have only one spelling.
		"m=064,t=1,p=1", "m=64,t=01,p=1", "m=64,t=1,p=01",
		"m=+64,t=1,p=1", "m=64,t=+1,p=1", "m=64,t=1,p=+1",
		"m= 64,t=1,p=1", "m=64, t=1,p=1", "m=64,t=1,p=1 ", " m=64,t=1,p=1", "m=64,t=1,p=1\n", "m=\n64,t=1,p=1",
		"m=0x40,t=1,p=1", "m=6_4,t=1,p=1", "m=64.0,t=1,p=1", "m=6e1,t=1,p=1", "m=٦٤,t=1,p=1",
		"m=64,t=1,p=1,", "m=64,t=1,p=1,keyid=AAAA", "m=64,t=1,p=1,m=64", "t=1,m=64,p=1", "m=64,t=1", "m=,t=1,p=1", "M=64,T=1,P=1", "64,1,1", "",
		// The parameters must be within the bounds.
		"m=0,t=1,p=1", "m=64,t=0,p=1", "m=64,t=1,p=0", "m=0,t=0,p=0",
		"m=-64,t=1,p=1", "m=64,t=-1,p=1", "m=64,t=1,p=-1",
		"m=7,t=1,p=1", "m=15,t=1,p=2", "m=127,t=1,p=16",
		"m=262145,t=1,p=1", "m=64,t=17,p=1", "m=256,t=1,p=17",
		"m=262144,t=5,p=1", "m=65537,t=16,p=1", "m=262144,t=16,p=16",
		// Values that would be valid modulo 2⁸, 2³² or 2⁶⁴ must not overflow.
		"m=64,t=1,p=257", "m=4294967360,t=1,p=1", "m=64,t=4294967297,p=1",
		"m=18446744073709551680,t=1,p=1", "m=64,t=18446744073709551617,p=1", "m=64,t=1,p=18446744073709551617",
		"m=65536,t=65536,p=1", "m=4294967295,t=4294967295,p=255", "m=2147483648,t=2,p=1", "m=131072,t=32768,p=1",
	} {
		refused[fmt.Sprintf("parameters %q", parameters)] = phc(version, parameters, salt, hash)
	}
	for name, hash := range refused {
		t.Run(name, func(t *testing.T) {
			if _, ok := parse(hash); ok {
				t.Errorf("accepted the malformed hash %.200q", hash)
			}
		})
	}
}
