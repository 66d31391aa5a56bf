package password

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth/internal/wire"
)

func TestOutdatedReportsWeakHashes(t *testing.T) {
	t.Parallel()
	hash := func(parameters string, salt, hash int) string {
		return phc("v=19", parameters, zeros(salt), zeros(hash))
	}
	made, err := Hash("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, hash string
		want       bool
	}{
		{"what Hash makes", made, false},
		{"the default", hash("m=19456,t=2,p=1", 16, 32), false},
		{"more memory", hash("m=65536,t=2,p=1", 16, 32), false},
		{"more memory, one pass, as much work", hash("m=47104,t=1,p=1", 16, 32), false},
		{"more passes", hash("m=19456,t=3,p=1", 16, 32), false},
		{"more lanes", hash("m=19456,t=2,p=4", 16, 32), false},
		{"a longer salt and hash", hash("m=19456,t=2,p=1", 32, 64), false},
		{"less memory", hash("m=19455,t=3,p=1", 16, 32), true},
		{"less memory and more passes", hash("m=12288,t=4,p=1", 16, 32), true},
		{"fewer passes", hash("m=19456,t=1,p=1", 16, 32), true},
		{"a shorter salt", hash("m=19456,t=2,p=1", 15, 32), true},
		{"a shorter hash", hash("m=19456,t=2,p=1", 16, 31), true},
		{"bcrypt", "$2a$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", true},
		{"Identity v2", aspnetV2Hash, true},
		{"Identity v3", aspnetV3Hash, true},
		{"PBKDF2", pbkdf2PHC("pbkdf2-sha512", "i=2000000", zeros(16), zeros(64)), true},
	} {
		v, ok := parse(test.hash)
		if !ok || outdated(v) != test.want {
			t.Errorf("%s: hash accepted: %v; outdated: %v", test.name, ok, ok && outdated(v))
		}
	}
	if !outdated(hostHash{}) {
		t.Error("a host's format is not outdated")
	}
}

func TestCheapReportsHashesBelowTheDefaultCost(t *testing.T) {
	t.Parallel()
	argon := func(parameters string) string { return phc("v=19", parameters, zeros(16), zeros(32)) }
	for _, test := range []struct {
		hash string
		want bool
	}{
		{argon("m=19456,t=2,p=1"), false},
		{argon("m=65536,t=3,p=4"), false},
		{argon("m=19456,t=1,p=1"), true},
		{argon("m=12288,t=3,p=1"), true},
		{argon("m=65536,t=2,p=4"), true}, // four lanes run in parallel
		{"$2a$08$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", true},
		{"$2a$09$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", false},
		{"$2y$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", false},
		{aspnetV2Hash, true},
		{aspnetV3Hash, true},
		{v3(2, 100_000, 16, 16+32), false},
		{pbkdf2PHC("pbkdf2-sha256", "29000", zeros(16), zeros(32)), true},
		{pbkdf2PHC("pbkdf2-sha256", "i=600000", zeros(16), zeros(32)), false},
		{pbkdf2PHC("pbkdf2", "i=75000", zeros(16), zeros(20)), true},
		{pbkdf2PHC("pbkdf2", "i=75000", zeros(16), zeros(40)), false}, // two blocks take twice the work
	} {
		v, ok := parse(test.hash)
		if !ok || v.cheap() != test.want {
			t.Errorf("%s: hash accepted: %v; cheap: %v", test.hash, ok, ok && v.cheap())
		}
	}
}

// A hashTable has one account. Its upgrade replaces the hash by
// compare-and-swap.
type hashTable struct {
	mu       sync.Mutex
	account  Account
	upgrades int
	lost     int
}

func (h *hashTable) lookup(context.Context, string) (Account, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.account, nil
}

func (h *hashTable) upgrade(_ context.Context, userID, oldHash, newHash string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.account.UserID != userID {
		return fmt.Errorf("host: an upgrade of %q", userID)
	}
	if h.account.PasswordHash != oldHash {
		h.lost++
		return nil
	}
	h.account.PasswordHash = newHash
	h.upgrades++
	return nil
}

// weakHashes are hashes of "my password" that must be upgraded.
var weakHashes = map[string]string{
	"Identity v2": aspnetV2Hash,
	"Identity v3": aspnetV3Hash,
	"argon2id":    cheapHash("my password"),
	"the host's":  "clear:my password",
}

func clear(stored string) func(string) bool {
	if right, ok := strings.CutPrefix(stored, "clear:"); ok {
		return func(password string) bool { return password == right }
	}
	return nil
}

func TestSignInUpgradesWeakHashes(t *testing.T) {
	t.Parallel()
	for name, hash := range weakHashes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &hashTable{account: Account{UserID: "1", UserName: "alice", PasswordHash: hash, Stamp: "s"}}
			u, err := New(h.lookup, &Options{Upgrade: h.upgrade, Formats: []format{clear}})
			if err != nil {
				t.Fatal(err)
			}
			// A wrong password must not replace the hash.
			_, err = signIn(t.Context(), u, "alice", "your password")
			rejected(t, err)
			if h.account.PasswordHash != hash {
				t.Fatal("a wrong password replaced the hash")
			}
			first, err := signIn(t.Context(), u, "alice", "my password")
			if err != nil {
				t.Fatal(err)
			}
			upgraded := h.account.PasswordHash
			if !strings.HasPrefix(upgraded, "$argon2id$v=19$m=19456,t=2,p=1$") || h.upgrades != 1 {
				t.Fatalf("after %d upgrades the hash is %s", h.upgrades, upgraded)
			}
			// Earlier principals stay valid, and the hash is not replaced again.
			if err := u.Recheck(t.Context(), first); err != nil {
				t.Errorf("Recheck of the principal from before the upgrade: got error %v", err)
			}
			second, err := signIn(t.Context(), u, "alice", "my password")
			if err != nil || second.Stamp != first.Stamp {
				t.Errorf("the next sign-in: got %+v, %v", second, err)
			}
			if h.account.PasswordHash != upgraded || h.upgrades != 1 {
				t.Errorf("the hash was replaced %d times, want 1", h.upgrades)
			}
			_, err = signIn(t.Context(), u, "alice", "your password")
			rejected(t, err)
		})
	}
}

func TestHashesAreNotUpgraded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", wire.MaxPassword+1)
	strong, err := Hash("my password")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name     string
		account  Account
		password string
		o        Options
	}{
		{"without Upgrade", Account{PasswordHash: aspnetV2Hash, Stamp: "s"}, "my password", Options{Upgrade: nil}},
		{"with KeepHashes", Account{PasswordHash: aspnetV2Hash, Stamp: "s"}, "my password", Options{KeepHashes: true}},
		{"without a stamp", Account{PasswordHash: aspnetV2Hash}, "my password", Options{}},
		{"of the default strength", Account{PasswordHash: strong, Stamp: "s"}, "my password", Options{}},
		{"of a password too long to sign in", Account{PasswordHash: cheapHash(long), Stamp: "s"}, long, Options{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.account.UserID, test.account.UserName = "1", "alice"
			if test.name != "without Upgrade" {
				test.o.Upgrade = func(context.Context, string, string, string) error {
					t.Error("the hash was replaced")
					return nil
				}
			}
			u, err := New((&hashTable{account: test.account}).lookup, &test.o)
			if err != nil {
				t.Fatal(err)
			}
			p, err := signIn(t.Context(), u, "alice", test.password)
			if err != nil {
				t.Fatal(err)
			}
			if err := u.Recheck(t.Context(), p); err != nil {
				t.Errorf("Recheck returns %v", err)
			}
		})
	}
}

// The user is signed in even if the upgrade fails. No hash appears in the log.
func TestSignInSucceedsIfTheUpgradeFails(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	u, err := New(table{"alice": {UserID: "id-7", UserName: "alice", PasswordHash: aspnetV2Hash, Stamp: "s"}}.lookup, &Options{
		Upgrade: func(_ context.Context, _, oldHash, newHash string) error {
			return fmt.Errorf("host: cannot write %q for %q: %w", newHash, oldHash, errDown)
		},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signIn(t.Context(), u, "alice", "my password"); err != nil {
		t.Error(err)
	}
	text := log.String()
	if strings.Count(text, "\n") != 1 || !strings.Contains(text, "level=WARN") || !strings.Contains(text, "user_id=id-7") || !strings.Contains(text, errDown.Error()) {
		t.Errorf("got log %s", text)
	}
	for _, secret := range []string{"my password", aspnetV2Hash, "argon2id"} {
		if strings.Contains(text, secret) {
			t.Errorf("the log contains %q: %s", secret, text)
		}
	}
}

// Options.Timeout limits an upgrade. An upgrade that ends because the client
// disconnected is not logged.
func TestUpgradeEndsAfterTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		u, err := New(table{"alice": {UserID: "1", UserName: "alice", PasswordHash: cheapHash("my password"), Stamp: "s"}}.lookup, &Options{
			Upgrade: func(ctx context.Context, _, _, _ string) error {
				<-ctx.Done()
				return ctx.Err()
			},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if _, err := signIn(t.Context(), u, "alice", "my password"); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("sign-in: got error %v after %v", err, time.Since(began))
		}
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("got %d log lines: %s", n, &log)
		}
		log.Reset()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := signIn(ctx, u, "alice", "my password"); err != nil || log.Len() != 0 {
			t.Errorf("sign-in: got error %v and log %q", err, &log)
		}
	})
}

// While other sign-ins wait to hash, no hash is made for an upgrade.
func TestUpgradeIsSkippedWhileOthersWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := &hashTable{account: Account{UserID: "1", UserName: "alice", PasswordHash: "slow", Stamp: "s"}}
		release := make(chan struct{})
		slow := func(stored string) func(string) bool {
			if stored != "slow" {
				return nil
			}
			return func(string) bool { <-release; return true }
		}
		u, err := New(h.lookup, &Options{Upgrade: h.upgrade, Formats: []format{slow}, MaxHashing: 1})
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error)
		for range 3 {
			go func() {
				_, err := signIn(t.Context(), u, "alice", "my password")
				results <- err
			}()
		}
		synctest.Wait()
		for i, upgrades := range []int{0, 0, 1} {
			release <- struct{}{}
			if err := <-results; err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if h.upgrades != upgrades {
				t.Errorf("after %d sign-ins the hash was replaced %d times", i+1, h.upgrades)
			}
		}
	})
}

// Concurrent sign-ins with the old hash all succeed, and so do later ones. The
// hash is replaced only once.
func TestConcurrentUpgradesReplaceTheHashOnce(t *testing.T) {
	t.Parallel()
	h := &hashTable{account: Account{UserID: "1", UserName: "alice", PasswordHash: aspnetV2Hash, Stamp: "s"}}
	u, err := New(h.lookup, &Options{Upgrade: h.upgrade, MaxHashing: 8})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p, err := signIn(t.Context(), u, "alice", "my password")
			if err == nil {
				err = u.Recheck(t.Context(), p)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if h.upgrades != 1 {
		t.Errorf("the hash was replaced %d times", h.upgrades)
	}
	if _, err := signIn(t.Context(), u, "alice", "my password"); err != nil {
		t.Errorf("sign-in after the upgrade: got error %v", err)
	}
}

// The formats of the host are tried before those of the package, in their
// order. A hash that they refuse takes as long as any rejection.
func TestHostFormatsComeFirst(t *testing.T) {
	t.Parallel()
	always := func(answer bool, name string, calls *[]string) format {
		return func(stored string) func(string) bool {
			*calls = append(*calls, name)
			if stored != aspnetV2Hash {
				return nil
			}
			return func(string) bool { return answer }
		}
	}
	var calls []string
	u, dummy := newUsers(t, table{"alice": {UserID: "1", UserName: "alice", PasswordHash: aspnetV2Hash}, "bob": {UserID: "2", UserName: "bob", PasswordHash: cheapHash("my password")}}.lookup,
		&Options{Formats: []format{func(string) func(string) bool { calls = append(calls, "first"); return nil }, always(false, "second", &calls), always(true, "third", &calls)}})
	_, err := signIn(t.Context(), u, "alice", "my password")
	rejected(t, err)
	if got := strings.Join(calls, " "); got != "first second" {
		t.Errorf("got calls of %s", got)
	}
	if n := dummy.runs.Load(); n != 1 {
		t.Errorf("the dummy ran %d times", n)
	}
	if _, err := signIn(t.Context(), u, "bob", "my password"); err != nil {
		t.Errorf("hash of a format of the package: got error %v", err)
	}
	if errors.Is(err, errBusy) {
		t.Error("errBusy must not be ErrRejected")
	}
}
