package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return open(t) })
}

// open returns an empty store. NoSync makes it fast: no test depends on data
// that survives a crash.
func open(t *testing.T) *store {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "tokens.db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	s, err := newStore(db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func token(user, client string, digest byte) tokenauth.Token {
	now := time.Now().Truncate(time.Second)
	return tokenauth.Token{
		Slot:      tokenauth.SlotOf(user, client),
		Digest:    tokenauth.Digest{digest},
		ClientID:  client,
		Principal: tokenauth.Principal{UserID: user},
		IssuedAt:  now,
		ExpiresAt: now.Add(time.Hour),
	}
}

// store.go has less than 100 lines, as the README says.
func TestStoreIsShort(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("store.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(code, []byte("\n")); n >= 100 {
		t.Errorf("store.go has %d lines, want less than 100", n)
	}
}

// A write that waits for another one returns when its context ends. It changes
// nothing later.
func TestWriteReturnsWhenContextEnds(t *testing.T) {
	t.Parallel()
	s, first := open(t), token("alice", "", 1)
	if err := s.Replace(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	busy, err := s.db.Begin(true)
	if err != nil {
		t.Fatal(err)
	}
	for name, write := range map[string]func(context.Context) error{
		"Replace":    func(ctx context.Context) error { return s.Replace(ctx, token("alice", "", 2)) },
		"Revoke":     func(ctx context.Context) error { return s.Revoke(ctx, first.Slot, first.Digest) },
		"RevokeUser": func(ctx context.Context) error { return s.RevokeUser(ctx, first.Slot.User) },
		"Purge":      func(ctx context.Context) error { _, err := s.Purge(ctx, first.ExpiresAt.Add(time.Hour)); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := write(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s returned %v, want %v", name, err, context.DeadlineExceeded)
		}
		cancel()
	}
	// A read does not wait for the write.
	if found, err := s.Find(t.Context(), first.Slot); err != nil || found.Digest != first.Digest {
		t.Errorf("Find returned digest %v, error %v, want %v", found.Digest, err, first.Digest)
	}
	if err := busy.Rollback(); err != nil {
		t.Fatal(err)
	}
	third := token("alice", "", 3)
	if err := s.Replace(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	found, err := s.Find(t.Context(), first.Slot)
	if err != nil || found.Digest != third.Digest || found.Replaced != first.Digest {
		t.Errorf("Find returned %v with Replaced %v, error %v, want %v with %v", found.Digest, found.Replaced, err, third.Digest, first.Digest)
	}
}

// Find and List return ErrCorrupt for a token that cannot be decoded. Replace and
// RevokeUser still work on its slot.
func TestCorruptToken(t *testing.T) {
	t.Parallel()
	s, slot := open(t), tokenauth.SlotOf("alice", "")
	spoil := func() {
		t.Helper()
		err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put(key(slot), []byte("rubbish")) })
		if err != nil {
			t.Fatal(err)
		}
	}
	is := func(want error) {
		t.Helper()
		if _, err := s.Find(t.Context(), slot); !errors.Is(err, want) {
			t.Errorf("Find returned %v, want %v", err, want)
		}
	}
	spoil()
	is(tokenauth.ErrCorrupt)
	if n, err := s.Purge(t.Context(), time.Now()); n != 0 || err != nil {
		t.Errorf("Purge removed %d, error %v, want 0", n, err)
	}
	is(tokenauth.ErrCorrupt) // Purge keeps it: a later version may decode it
	if list, err := s.List(t.Context(), slot.User); len(list) != 0 || !errors.Is(err, tokenauth.ErrCorrupt) {
		t.Errorf("List returned %v, error %v, want none and %v", list, err, tokenauth.ErrCorrupt)
	}
	if err := s.Revoke(t.Context(), slot, tokenauth.Digest{1}); err != nil {
		t.Error(err)
	}
	is(tokenauth.ErrCorrupt)
	if err := s.Replace(t.Context(), token("alice", "", 1)); err != nil {
		t.Error(err)
	}
	is(nil)
	spoil()
	if err := s.RevokeUser(t.Context(), slot.User); err != nil {
		t.Error(err)
	}
	is(tokenauth.ErrNotFound)
}

func TestList(t *testing.T) {
	t.Parallel()
	s := open(t)
	old := token("alice", "web", 2)
	old.ExpiresAt = old.IssuedAt.Add(-time.Hour)
	for _, t2 := range []tokenauth.Token{token("alice", "", 1), old, token("bob", "", 3)} {
		if err := s.Replace(t.Context(), t2); err != nil {
			t.Fatal(err)
		}
	}
	for user, want := range map[string]int{"alice": 2, "bob": 1, "nobody": 0} {
		list, err := s.List(t.Context(), tokenauth.UserKeyOf(user))
		if err != nil || len(list) != want {
			t.Errorf("%s has %d tokens, want %d; error %v", user, len(list), want, err)
		}
		for _, found := range list {
			if found.Principal.UserID != user {
				t.Errorf("List of %s returned a token of %s", user, found.Principal.UserID)
			}
		}
	}
}

// A user is signed in on two devices. A new sign-in on one of them ends that
// device's token only, and the device keeps its name.
func TestDevices(t *testing.T) {
	t.Parallel()
	users, err := trialUsers()
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(open(t), users, &tokenauth.Options{Devices: new(tokenauth.DeviceOptions), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(device, name string) (accessToken string) {
		t.Helper()
		issued, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "user-1"}, &tokenauth.IssueOptions{Device: device, DeviceName: name})
		if err != nil {
			t.Fatal(err)
		}
		return issued.AccessToken.Reveal()
	}
	phone, tablet := issue("phone", "Ann's phone"), issue("tablet", "Ann's tablet")
	phoneAgain := issue("phone", "")
	for accessToken, want := range map[string]error{phone: tokenauth.ErrReplacedToken, phoneAgain: nil, tablet: nil} {
		if _, err := auth.Validate(t.Context(), accessToken); !errors.Is(err, want) {
			t.Errorf("Validate returned %v, want %v", err, want)
		}
	}
	tokens, err := auth.Tokens(t.Context(), "user-1")
	names := make(map[string]string)
	for _, found := range tokens {
		names[found.Device] = found.DeviceName
	}
	if want := map[string]string{"phone": "Ann's phone", "tablet": "Ann's tablet"}; err != nil || !maps.Equal(names, want) {
		t.Errorf("the devices are %v, error %v, want %v", names, err, want)
	}
}
