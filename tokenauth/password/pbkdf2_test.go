package password

import (
	"fmt"
	"strings"
	"testing"
)

// pbkdf2PHC joins the fields of a PHC string with dollar signs.
func pbkdf2PHC(name, parameters, salt, hash string) string {
	return "$" + name + "$" + parameters + "$" + salt + "$" + hash
}

// The hashes are from the documentation and tests of passlib, one of them also
// as a PHC string. Others were made by Python's hashlib.
func TestPBKDF2VerifiesHashesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	const salt = "c2l4dGVlbiBvZiBieXRlcw"
	for _, test := range []struct{ name, hash, password string }{
		{"passlib, SHA-1", "$pbkdf2$1212$OB.dtnSEXZK8U5cgxU/GYQ$y5LKPOplRmok7CZp/aqVDVg8zGI", "password"},
		{"passlib, SHA-1, Greek", "$pbkdf2$1212$THDqatpidANpadlLeTeOEg$HV3oi1k5C5LQCgG1BMOL.BX4YZc", "Ιωαννης"},
		{"passlib, SHA-256", "$pbkdf2-sha256$1212$4vjV83LKPjQzk31VI4E0Vw$hsYF68OiOUPdDZ1Fg.fJPeq1h/gXXY7acBp9/6c.tmQ", "password"},
		{"passlib, SHA-512", "$pbkdf2-sha512$1212$RHY0Fr3IDMSVO/RSZyb5ow$eNLfBK.eVozomMr.1gYa17k9B7KIK25NOEshvhrSX.esqY3s.FvWZViXz4KoLlQI.BzY/YTNJOiKc5gBYFYGww", "password"},
		{"passlib, documented", "$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M", "password"},
		{"PHC, SHA-256", "$pbkdf2-sha256$i=6400,l=32$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M", "password"},
		{"PHC without a length", "$pbkdf2-sha256$i=6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M", "password"},
		{"PHC, SHA-1", pbkdf2PHC("pbkdf2", "i=1000,l=20", salt, "iADtVz3woNSgQou3+qKS9a4JrIQ"), "pässword"},
		{"PHC, SHA-1 by name", pbkdf2PHC("pbkdf2-sha1", "i=1000,l=20", salt, "iADtVz3woNSgQou3+qKS9a4JrIQ"), "pässword"},
		{"PHC, SHA-512", pbkdf2PHC("pbkdf2-sha512", "i=1000,l=64", salt, "5Q0IzWYWKUEmOzSfh1j27pi0cfMe3aDjbjtmOHIQzA7jjS/HmgH9QhVio2bgH4wiUGUwsA+h9XyPsr0h8Hpa/Q"), "pässword"},
		{"PHC, two blocks and a short salt", pbkdf2PHC("pbkdf2-sha256", "i=1000,l=40", "ZWlnaHQgYnk", "SL8jbhuc01iL/8ONAq1SxVdHY9erlWuSx7DLVg/Yf7CH22jgbApbUw"), "pässword"},
		{"PHC, iterations recommended by OWASP", pbkdf2PHC("pbkdf2-sha256", "i=600000,l=32", salt, "assJxOBHupbCj7pT/t+KGZC6sdVBsE4Xjh9lL45D4fc"), "pässword"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			v, ok := parse(test.hash)
			if !ok {
				t.Fatalf("%s was rejected, want accepted", test.hash)
			}
			if !is(v, test.password) {
				t.Error("the right password does not match")
			}
			for _, wrong := range []string{"", test.password + "x", test.password + "\x00"} {
				if is(v, wrong) {
					t.Errorf("the password %q matches", wrong)
				}
			}
		})
	}
}

func TestPBKDF2AcceptsUpToTheBounds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, parameters string
		iterations       int
		salt, hash       int
	}{
		{"pbkdf2", "i=1", 1, 16, 20},
		{"pbkdf2", "i=4000000,l=20", 4_000_000, 16, 20},
		{"pbkdf2", "i=1000000,l=64", 1_000_000, 16, 64},
		{"pbkdf2-sha256", "i=4000000,l=32", 4_000_000, 8, 32},
		{"pbkdf2-sha256", "i=2000000,l=64", 2_000_000, 64, 64},
		{"pbkdf2-sha512", "i=2000000,l=64", 2_000_000, 16, 64},
		{"pbkdf2-sha512", "2000000", 2_000_000, 16, 16},
	} {
		hash := pbkdf2PHC(test.name, test.parameters, zeros(test.salt), zeros(test.hash))
		p, ok := parsePBKDF2(hash)
		if !ok || p.iterations != test.iterations || len(p.salt) != test.salt || len(p.hash) != test.hash {
			t.Errorf("%s: hash accepted: %v; got %d iterations, a salt of %d and a hash of %d bytes", hash, ok, p.iterations, len(p.salt), len(p.hash))
		}
	}
}

func TestPBKDF2RefusesMalformedHashes(t *testing.T) {
	t.Parallel()
	const name, parameters = "pbkdf2-sha256", "i=1000,l=32"
	salt, hash := zeros(16), zeros(32)
	good := pbkdf2PHC(name, parameters, salt, hash)
	if _, ok := parse(good); !ok {
		t.Fatalf("%s was rejected, want accepted", good)
	}

	refused := map[string]string{
		"the text before":                " " + good,
		"the text after":                 good + " ",
		"a line break after":             good + "\n",
		"a field after":                  good + "$",
		"a NUL after":                    good + "\x00",
		"no hash":                        "$" + name + "$" + parameters + "$" + salt,
		"no parameters":                  "$" + name + "$" + salt + "$" + hash,
		"nothing but the marker":         "$pbkdf2",
		"nothing but dollar signs":       "$pbkdf2$$$",
		"a version":                      "$" + name + "$v=1$" + parameters + "$" + salt + "$" + hash,
		"a padded salt":                  pbkdf2PHC(name, parameters, salt+"==", hash),
		"a padded hash":                  pbkdf2PHC(name, parameters, salt, hash+"="),
		"stray bits in the salt":         pbkdf2PHC(name, parameters, salt[:len(salt)-1]+"B", hash),
		"stray bits in the hash":         pbkdf2PHC(name, parameters, salt, hash[:len(hash)-1]+"B"),
		"passlib's alphabet in a PHC":    pbkdf2PHC(name, parameters, ".."+salt[2:], hash),
		"PHC's alphabet in passlib's":    pbkdf2PHC(name, "1000", "++"+salt[2:], hash),
		"a salt in the URL alphabet":     pbkdf2PHC(name, parameters, "--"+salt[2:], hash),
		"a line break in the salt":       pbkdf2PHC(name, parameters, salt[:8]+"\n"+salt[8:], hash),
		"a carriage return in the hash":  pbkdf2PHC(name, "1000", salt, hash[:8]+"\r"+hash[8:]),
		"a blank in the salt":            pbkdf2PHC(name, parameters, salt[:8]+" "+salt[8:], hash),
		"a length that base64 never has": pbkdf2PHC(name, parameters, salt+"AAA", hash),
		"no salt":                        pbkdf2PHC(name, parameters, "", hash),
		"an empty hash":                  pbkdf2PHC(name, "i=1000", salt, ""),
		"a salt of 7 bytes":              pbkdf2PHC(name, parameters, zeros(7), hash),
		"a salt of 65 bytes":             pbkdf2PHC(name, parameters, zeros(65), hash),
		"a hash of 15 bytes":             pbkdf2PHC(name, "i=1000", salt, zeros(15)),
		"a hash of 65 bytes":             pbkdf2PHC(name, "i=1000", salt, zeros(65)),
		"a wrong length":                 pbkdf2PHC(name, parameters, salt, zeros(31)),
		"a huge salt":                    pbkdf2PHC(name, parameters, zeros(1<<20), hash),
		"a huge hash":                    pbkdf2PHC(name, "i=1000", salt, zeros(1<<20)),
		"a huge number":                  pbkdf2PHC(name, "i=1"+strings.Repeat("0", 1<<20), salt, hash),
		"a huge number of fields":        good + strings.Repeat("$", 1<<20),
		"too many with SHA-1":            pbkdf2PHC("pbkdf2", "i=4000001", salt, zeros(20)),
		"too many for two blocks":        pbkdf2PHC("pbkdf2", "i=2000001", salt, zeros(21)),
		"too many with SHA-512":          pbkdf2PHC("pbkdf2-sha512", "i=2000001", salt, zeros(64)),
	}
	for _, name := range []string{"pbkdf2-", "pbkdf2-sha224", "pbkdf2-sha384", "pbkdf2-sha512-256", "pbkdf2-sha-256", "pbkdf2-SHA256", "PBKDF2-sha256", "pbkdf2-sha256 ", "pbkdf2-md5", "pbkdf2_sha256", "pbkdf2-blake2b-512"} {
		refused[fmt.Sprintf("name %q", name)] = pbkdf2PHC(name, parameters, salt, hash)
	}
	for _, parameters := range []string{
		// Each value must have only one spelling.
		"i=01000,l=32", "i=1000,l=032", "i=+1000,l=32", "i=1000,l=+32", "i= 1000", "i=1000 ", "i=1000\n", "i=1_000", "i=0x3e8", "i=1e3", "i=1000.0", "i=١٠٠٠",
		"i=1000,", "i=1000,l=", "i=1000,l=32,", "i=1000,l=32,l=32", "i=1000,i=1000", "l=32,i=1000", "l=32", "i=", "I=1000,L=32", "i=1000,x=1", "c=1000",
		"1000,l=32", "01000", "+1000", " 1000", "1000 ", "1_000", "0x3e8", "", "rounds=1000",
		// The iterations must be within the bounds.
		"i=0", "i=-1", "i=4000001", "i=2147483647", "i=2147483648", "i=4294967296", "i=4294968296", "i=18446744073709552616",
		"0", "-1", "4000001", "2147483648", "4294968296", "18446744073709552616",
		"i=1000,l=0", "i=1000,l=-32", "i=1000,l=31", "i=1000,l=33", "i=1000,l=288", "i=1000,l=4294967328",
	} {
		refused[fmt.Sprintf("parameters %q", parameters)] = pbkdf2PHC(name, parameters, salt, hash)
	}
	for name, hash := range refused {
		t.Run(name, func(t *testing.T) {
			if _, ok := parse(hash); ok {
				t.Errorf("accepted the malformed hash %.200q", hash)
			}
		})
	}
}
