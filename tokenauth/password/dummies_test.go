package password

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// A dummy has the cost of the account's hash, but neither its salt nor its
// digest.
func TestDummiesKeepTheCostButNoSecret(t *testing.T) {
	t.Parallel()
	made, err := Hash("my password")
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]bool)
	for _, stored := range []string{
		made,
		phc("v=19", "m=256,t=3,p=1", "c29tZXNhbHRzb21lc2FsdA", "bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
		phc("v=19", "m=256,t=2,p=2", "c29tZXNhbHRzb21lc2FsdA", "bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"),
		"$2a$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
		aspnetV2Hash,
		aspnetV3Hash,
		"$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
		"$pbkdf2-sha512$i=6400$0ZrzXitFSGltTQnBWOsdAw$Y11AchqV4b0sUisdZd0Xr97KWoymNE0LNNrnEgY4H9M",
	} {
		v, ok := parse(stored)
		if !ok {
			t.Fatalf("%s was rejected, want accepted", stored)
		}
		d := v.dummy()
		if d.kind() != v.kind() || d.cheap() != v.cheap() || kinds[d.kind()] {
			t.Errorf("%s has kind %q, its dummy has %q", stored, v.kind(), d.kind())
		}
		kinds[d.kind()] = true
		if is(d, "my password") || is(d, "") {
			t.Errorf("a password matches the dummy of %s", stored)
		}
		switch d := d.(type) {
		case argon2id:
			of := v.(argon2id)
			if len(d.salt) != len(of.salt) || len(d.hash) != len(of.hash) || !zero(d.salt) || !zero(d.hash) || zero(of.salt) || zero(of.hash) {
				t.Errorf("the dummy of %s is %s", of, d)
			}
		case pbkdf2Hash:
			of := v.(pbkdf2Hash)
			if len(d.salt) != len(of.salt) || len(d.hash) != len(of.hash) || !zero(d.salt) || !zero(d.hash) || zero(of.salt) || zero(of.hash) {
				t.Errorf("the dummy of %s is %+v", stored, d)
			}
		case bcryptHash:
			if strings.Trim(string(d.text[7:]), ".") != "" || len(d.text) != 60 || !bytes.Equal(d.text[:7], v.(bcryptHash).text[:7]) {
				t.Errorf("the dummy of %s is %s", stored, d.text)
			}
			// Any other error would be returned before hashing.
			if err := bcrypt.CompareHashAndPassword(d.text, []byte("my password")); !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
				t.Errorf("comparing with the dummy %s: got error %v", d.text, err)
			}
		default:
			t.Errorf("%s is parsed as %T", stored, v)
		}
	}
}

func zero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }

// learnMany learns the accounts from..to-1. One in ten has the first format of
// the host, and the others have the second.
func learnMany(d *dummies, from, to int) {
	for i := from; i < to; i++ {
		format := 1
		if i%10 == 0 {
			format = 0
		}
		d.learn(fmt.Sprint("id-", i), hostHash{format: format})
	}
}

// kindsOf returns the kinds of the dummies of a thousand user names.
func kindsOf(d *dummies) (kinds [1000]string) {
	for i := range kinds {
		kinds[i] = d.of(fmt.Sprint("nobody", i)).kind()
	}
	return kinds
}

// The dummies are distributed like the hashes of the accounts. Each account
// counts once. A name keeps its dummy.
func TestDummiesFollowTheSharesOfTheFormats(t *testing.T) {
	t.Parallel()
	d := newDummies(new(counter))
	if got := d.of("nobody").kind(); got != "counter" {
		t.Errorf("before any account, the dummy has kind %q", got)
	}
	share := func(kinds [1000]string) float64 {
		n := 0
		for _, kind := range kinds {
			switch kind {
			case "host 0":
				n++
			case "host 1":
			default:
				t.Fatalf("a dummy has kind %q", kind)
			}
		}
		return float64(n) / 1000
	}
	var last [1000]string
	accounts := 0
	for _, step := range []struct {
		accounts int
		off      float64 // the allowed difference from a tenth
		changed  int     // the number of names whose dummy may change, of 1000
	}{{100, 0.05, 1000}, {900, 0.05, 60}, {3000, 0.06, 100}} {
		learnMany(d, accounts, step.accounts)
		accounts = step.accounts
		kinds := kindsOf(d)
		if got := share(kinds); math.Abs(got-0.1) > step.off {
			t.Errorf("after %d accounts: got a share of %v, want about 0.1", accounts, got)
		}
		changed := 0
		for i := range kinds {
			if kinds[i] != last[i] {
				changed++
			}
		}
		if last = kinds; changed > step.changed {
			t.Errorf("up to %d accounts: the dummies of %d of 1000 names changed", accounts, changed)
		}
		if len(d.sample) != min(accounts, sampleSize) {
			t.Errorf("after %d accounts the sample has %d of them", accounts, len(d.sample))
		}
	}

	// Looking up one account many times changes nothing.
	for range 500 {
		d.learn("id-0", hostHash{format: 0})
	}
	if kindsOf(d) != last {
		t.Error("one account was counted more than once")
	}
	// The dummies follow a table whose hashes were upgraded.
	for i := range accounts {
		d.learn(fmt.Sprint("id-", i), hostHash{format: 2})
	}
	if got := d.of("nobody").kind(); got != "host 2" || len(d.sample) != sampleSize {
		t.Errorf("after the upgrade, the dummy has kind %q, and the sample has %d accounts", got, len(d.sample))
	}
}

// All spellings of an unknown name get the same dummy hash, because all
// spellings of an existing name get the same hash.
func TestDummiesIgnoreTheSpelling(t *testing.T) {
	t.Parallel()
	d := newDummies(new(counter))
	for i := range 200 {
		d.learn(fmt.Sprint("id-", i), hostHash{format: i})
	}
	for i := range 200 {
		name := fmt.Sprint("Nobody", i)
		want := d.of(name).kind()
		for _, spelling := range []string{strings.ToUpper(name), strings.ToLower(name), name + "  ", strings.Replace(name, "o", "ó", 1)} {
			if got := d.of(spelling).kind(); got != want {
				t.Errorf("%q has the dummy %q, and %q has %q", name, want, spelling, got)
			}
		}
	}
}

// If a table has several formats, unknown names take the work of each of them.
func TestRejectionsOfUnknownNamesTakeTheWorkOfEachFormat(t *testing.T) {
	t.Parallel()
	runs := make(map[string]int)
	named := func(format string) format {
		return func(stored string) func(string) bool {
			if !strings.HasPrefix(stored, format) {
				return nil
			}
			return func(string) bool { runs[format]++; return true }
		}
	}
	accounts := table{}
	for i := range 100 {
		stored := "first"
		if i%4 == 0 {
			stored = "second"
		}
		name := fmt.Sprint("alice", i)
		accounts[name] = Account{UserID: name, UserName: name, PasswordHash: stored, Disabled: i%3 == 0}
	}
	u, usual := newUsers(t, accounts.lookup, &Options{Formats: []format{named("first"), named("second")}})
	for name := range accounts {
		signIn(t.Context(), u, name, "my password")
	}
	// A disabled account takes the work of its own hash.
	for i := 0; i < 100; i += 3 {
		name := fmt.Sprint("alice", i)
		maps.DeleteFunc(runs, func(string, int) bool { return true })
		_, err := signIn(t.Context(), u, name, "my password")
		rejected(t, err)
		if runs[accounts[name].PasswordHash] != 1 || len(runs) != 1 {
			t.Errorf("account %s with a hash of format %s: ran %v", name, accounts[name].PasswordHash, runs)
		}
	}
	usual.runs.Store(0)
	maps.DeleteFunc(runs, func(string, int) bool { return true })
	for i := range 1000 {
		_, err := signIn(t.Context(), u, fmt.Sprint("nobody", i), "my password")
		rejected(t, err)
	}
	if runs["first"]+runs["second"] != 1000 || runs["second"] < 150 || runs["second"] > 350 || usual.runs.Load() != 1000 {
		t.Errorf("1000 unknown names ran %v, and the default hash %d times", runs, usual.runs.Load())
	}
	// Each name takes the work of only one format.
	maps.DeleteFunc(runs, func(string, int) bool { return true })
	for range 50 {
		_, err := signIn(t.Context(), u, "nobody", "my password")
		rejected(t, err)
	}
	if runs["first"] != 0 && runs["second"] != 0 {
		t.Errorf("one name ran %v, want one format", runs)
	}
}
