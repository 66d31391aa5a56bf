package password

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

// is reports whether the password is that of the hash, which can be computed.
func is(v verifier, password string) bool {
	matches, err := v.verify(password)
	if err != nil {
		panic(err)
	}
	return matches
}

func TestHashMakesSaltedArgon2id(t *testing.T) {
	t.Parallel()
	const password = "correct horse 😀"
	first, err := Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Hash(password)
	if err != nil {
		t.Fatal(err)
	}
	if first == second {
		t.Errorf("two hashes of one password are equal: %s", first)
	}
	form := regexp.MustCompile(`^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`)
	for _, hash := range []string{first, second} {
		if !form.MatchString(hash) || len(hash) >= 128 {
			t.Errorf("got hash %s", hash)
		}
	}
	a, ok := parseArgon2id(first)
	if !ok {
		t.Fatalf("%s was rejected, want accepted", first)
	}
	if len(a.salt) != 16 || len(a.hash) != 32 {
		t.Errorf("got a salt of %d and a hash of %d bytes", len(a.salt), len(a.hash))
	}
	if !is(a, password) {
		t.Error("the password does not match its hash")
	}
}

// Hash accepts the same passwords as the token endpoint.
func TestHashRefusesPasswordsThatCannotSignIn(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{
		"nothing":            "",
		"1025 bytes":         strings.Repeat("x", wire.MaxPassword+1),
		"513 letters of two": strings.Repeat("ä", wire.MaxPassword/2+1),
		"not UTF-8":          "pass\xffword",
		"half a letter":      "pass\xc3",
		"a surrogate":        "pass\xed\xa0\x80",
		"a NUL":              "pass\x00word",
		"a NUL at the end":   "password\x00",
		"nothing but a NUL":  "\x00",
	} {
		if hash, err := Hash(password); !errors.Is(err, ErrUnacceptable) || hash != "" {
			t.Errorf("%s: Hash returned %q, %v", name, hash, err)
		}
	}
	for name, password := range map[string]string{
		"1024 bytes":          strings.Repeat("x", wire.MaxPassword),
		"blanks and controls": " \t\n\x7f",
	} {
		if _, err := Hash(password); err != nil {
			t.Errorf("%s: Hash returned error %v", name, err)
		}
	}
}

// acceptedBcrypt matches the bcrypt hashes that parse may accept.
var acceptedBcrypt = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}$`)

// acceptedPBKDF2 matches the PHC strings and passlib hashes that parse may
// accept.
var acceptedPBKDF2 = regexp.MustCompile(`^\$pbkdf2(-sha1|-sha256|-sha512)?\$(i=([1-9][0-9]{0,6})(,l=[1-9][0-9])?\$[+/A-Za-z0-9]{11,86}\$[+/A-Za-z0-9]{22,86}|[1-9][0-9]{0,6}\$[./A-Za-z0-9]{11,86}\$[./A-Za-z0-9]{22,86})$`)

// Each accepted hash has a bounded cost, and only one spelling.
func FuzzParse(f *testing.F) {
	for _, hash := range []string{
		"",
		"$2",
		"$argon2id$",
		"$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
		"$argon2id$v=19$m=262144,t=4,p=16$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=65536,t=65536,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2i$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc",
		"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2y$05$abcdefghijklmnopqrstuuXnyHs.SFK1xUqzegSPycVmOdC6hSGb.",
		"$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeWA",
		aspnetV2Hash,
		aspnetV3Hash,
		" " + aspnetV3Hash[:30] + "\r\n" + aspnetV3Hash[30:] + "\t",
		"AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M",
		v3(2, 2_000_000, 64, 128),
		v3(0, 1<<31, 1<<31, 48),
		"$pbkdf2$1212$OB.dtnSEXZK8U5cgxU/GYQ$y5LKPOplRmok7CZp/aqVDVg8zGI",
		"$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
		"$pbkdf2-sha256$i=600000,l=32$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
		"$pbkdf2-sha512$i=2000000$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
		"$pbkdf2-sha512$i=4294967297,l=32$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
	} {
		f.Add(hash)
	}
	f.Fuzz(func(t *testing.T, hash string) {
		v, ok := parse(hash)
		if !ok {
			return
		}
		cheap := v.cheap()
		switch v := v.(type) {
		case argon2id:
			traffic := uint64(v.memory) * uint64(v.passes)
			if v.passes < 1 || v.passes > 16 || v.lanes < 1 || v.lanes > 16 || v.memory < 8*uint32(v.lanes) || traffic > 1<<20 ||
				len(v.salt) < 8 || len(v.salt) > 64 || len(v.hash) < 16 || len(v.hash) > 64 {
				t.Errorf("%q was accepted with m=%d,t=%d,p=%d and a salt of %d and a hash of %d bytes",
					hash, v.memory, v.passes, v.lanes, len(v.salt), len(v.hash))
			}
			if got := v.String(); got != hash {
				t.Errorf("%q was encoded again as %q", hash, got)
			}
			if !cheap && !outdated(v) && traffic < 2*19<<10 {
				t.Errorf("%q does not count as weak", hash)
			}
		case bcryptHash:
			cost, err := bcrypt.Cost(v.text)
			if err != nil || cost > 15 {
				t.Errorf("%q is accepted with cost %d, error %v", hash, cost, err)
			}
			if !acceptedBcrypt.MatchString(hash) {
				t.Errorf("accepted the malformed hash %q", hash)
			}
			if cheap != (cost < 9) {
				t.Errorf("%q is cheap: %v", hash, cheap)
			}
		case pbkdf2Hash:
			size := v.prf.new().Size()
			work := uint64(v.iterations) * uint64((len(v.hash)+size-1)/size)
			if v.iterations < 1 || work > 4_000_000 || size == 64 && work > 2_000_000 ||
				len(v.salt) < 8 || len(v.salt) > 64 || len(v.hash) < 16 || len(v.hash) > 64 {
				t.Errorf("%q is accepted with %d iterations and a salt of %d and a hash of %d bytes", hash, v.iterations, len(v.salt), len(v.hash))
			}
			if strings.HasPrefix(hash, "$") {
				if !acceptedPBKDF2.MatchString(hash) {
					t.Errorf("accepted the malformed hash %q", hash)
				}
				return
			}
			// Encoded again, as version 2 or 3, it is the same except for white
			// space.
			v2 := base64.StdEncoding.EncodeToString(slices.Concat([]byte{0}, v.salt, v.hash))
			header := []byte{1}
			for _, n := range []int{map[int]int{20: 0, 32: 1, 64: 2}[size], v.iterations, len(v.salt)} {
				header = binary.BigEndian.AppendUint32(header, uint32(n))
			}
			v3 := base64.StdEncoding.EncodeToString(slices.Concat(header, v.salt, v.hash))
			isV2 := size == 20 && v.iterations == 1000 && len(v.salt) == 16 && len(v.hash) == 32
			if got := strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(hash); got != v3 && (got != v2 || !isV2) {
				t.Errorf("%q was encoded again as %q", hash, v3)
			}
		default:
			t.Errorf("%q was parsed as %T", hash, v)
		}
	})
}
