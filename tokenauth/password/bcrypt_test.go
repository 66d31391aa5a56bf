package password

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The hashes are from the tests of crypt_blowfish. One was made by libxcrypt.
func TestBcryptVerifiesHashesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, hash, password string }{
		{"2a", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"2b", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"2y", "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"},
		{"2y, 60 bytes of UTF-8", "$2y$05$abcdefghijklmnopqrstuuXnyHs.SFK1xUqzegSPycVmOdC6hSGb.", strings.Repeat("xä", 20)},
		{"a byte above 127", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq", "\xa3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, ok := parse(test.hash)
			if !ok {
				t.Fatalf("%s was rejected, want accepted", test.hash)
			}
			if !is(v, test.password) {
				t.Error("the right password is wrong")
			}
			for _, wrong := range []string{"", test.password + "x", test.password + "\x00"} {
				if is(v, wrong) {
					t.Errorf("the password %q is right", wrong)
				}
			}
		})
	}
}

// bcrypt ignores all bytes after the first 72. A longer password that begins
// with the right 72 bytes must not match, and must take as long to reject.
func TestBcryptRejectsPasswordsLongerThan72Bytes(t *testing.T) {
	t.Parallel()
	const right = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	v, ok := parse("$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui")
	if !ok {
		t.Fatal("the hash is refused")
	}
	if len(right) != maxBcryptLength || !is(v, right) {
		t.Errorf("the right password of %d bytes does not match", len(right))
	}
	for _, wrong := range []string{right[:71], right + "0", right + "\x00", right + "chars after 72 are ignored", strings.Repeat(right, 2)} {
		if is(v, wrong) {
			t.Errorf("a password of %d bytes matches", len(wrong))
		}
	}
}

func TestBcryptRefusesMalformedHashes(t *testing.T) {
	t.Parallel()
	const good = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	const salt, hash = "CCCCCCCCCCCCCCCCCCCCC.", "E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	for _, hash := range []string{good, "$2b$04$" + salt + hash, "$2y$15$" + salt + hash} {
		if _, ok := parse(hash); !ok {
			t.Fatalf("%s was rejected, want accepted", hash)
		}
	}

	refused := map[string]string{
		"nothing but the marker":         "$2",
		"nothing but the version":        "$2a$",
		"nothing but the cost":           "$2a$05$",
		"one character too few":          good[:len(good)-1],
		"one character too many":         good + "A",
		"a line break after":             good[:len(good)-1] + "\n",
		"text before the hash":           " " + good,
		"a huge hash":                    good + strings.Repeat("A", 1<<20),
		"the first version, with a 2":    "$2$05$" + salt + hash,
		"a version without a letter":     "$2$05$" + salt + hash + "A",
		"a future version":               "$3a$05$" + salt + hash,
		"the version with the bug":       "$2x$05$" + salt + hash,
		"an unknown version":             "$2c$05$" + salt + hash,
		"a capital version":              "$2A$05$" + salt + hash,
		"another character for a dollar": "$2a.05$" + salt + hash,
		"a dot for a dollar sign":        "$2a$05." + salt + hash,
		"a dollar sign in the salt":      "$2a$05$" + "$" + salt[1:] + hash,
		// Package bcrypt rejects this salt without hashing.
		"a blank in the salt":       "$2a$05$" + " " + salt[1:] + hash,
		"line breaks in the salt":   "$2a$05$" + "\n\n\n\n" + salt[4:] + hash,
		"a plus sign in the salt":   "$2a$05$" + "+" + salt[1:] + hash,
		"a padded salt":             "$2a$05$" + salt[:20] + "==" + hash,
		"a NUL in the hash":         "$2a$05$" + salt + "\x00" + hash[1:],
		"an equals sign at the end": good[:len(good)-1] + "=",
	}
	for _, cost := range []string{"00", "03", "16", "31", "32", "99", "+5", "-5", " 5", "5$", "0x", "1e", "5 "} {
		refused[fmt.Sprintf("cost %q", cost)] = "$2a$" + cost + "$" + salt + hash
	}
	for name, hash := range refused {
		t.Run(name, func(t *testing.T) {
			if _, ok := parse(hash); ok {
				t.Errorf("accepted the malformed hash %.200q", hash)
			}
		})
	}
}

// A hash of cost 31 would take more than a day.
func TestBcryptCostIsRefusedBeforeTheWork(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	u, dummy := newUsers(t, table{"alice": {UserID: "1", UserName: "alice", PasswordHash: strings.Replace(string(hash), "$04$", "$31$", 1)}}.lookup, &Options{Logger: slog.New(slog.DiscardHandler)})
	began := time.Now()
	_, err = signIn(t.Context(), u, "alice", "password")
	rejected(t, err)
	if took := time.Since(began); took > 10*time.Second || dummy.runs.Load() != 1 {
		t.Errorf("the rejection took %v and %d runs of the dummy, want 1", took, dummy.runs.Load())
	}
}
