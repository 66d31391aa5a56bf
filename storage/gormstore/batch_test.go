package gormstore_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// batchSlots returns the slots of n users, in some order.
func batchSlots(n int) []tokenauth.Slot {
	all := make([]tokenauth.Slot, n)
	for i, user := range rand.Perm(n) {
		all[i] = batchToken(user).Slot
	}
	return all
}

// batchToken returns a token in which each field differs from those of other users.
func batchToken(n int) tokenauth.Token {
	user, client := fmt.Sprint("user", n), fmt.Sprint("client", n%3)
	return tokenauth.Token{
		Slot: tokenauth.SlotOf(user, client), Digest: tokenauth.Digest{byte(n), byte(n >> 8), 1}, ClientID: client,
		IssuedAt: time.Unix(int64(n), 0).UTC(), ExpiresAt: time.Unix(int64(n)+1_000_000, 0).UTC(),
		Principal: tokenauth.Principal{UserID: user, UserName: strings.Repeat("ü", n%7), Roles: slices.Repeat([]string{user}, n%3), Attributes: map[string]string{"n": fmt.Sprint(n)}, Stamp: fmt.Sprint("stamp", n)},
	}
}

// expectFound checks that FindBatch returns the same as Find, and returns that.
func expectFound(t *testing.T, s *gormstore.Store, slots []tokenauth.Slot) []tokenauth.Found {
	t.Helper()
	before := slices.Clone(slots)
	found, err := s.FindBatch(t.Context(), slots)
	if err != nil || len(found) != len(slots) || !slices.Equal(slots, before) {
		t.Fatalf("FindBatch of %d slots returns %d results, error %v", len(slots), len(found), err)
	}
	for i, slot := range slots {
		token, err := s.Find(t.Context(), slot)
		if !reflect.DeepEqual(found[i].Token, token) {
			t.Errorf("in slot %d of %d FindBatch finds %+v, Find %+v", i, len(slots), found[i].Token, token)
		}
		for _, is := range []error{tokenauth.ErrNotFound, tokenauth.ErrCorrupt} {
			if errors.Is(found[i].Err, is) != errors.Is(err, is) {
				t.Errorf("in slot %d of %d FindBatch returns %v, Find %v", i, len(slots), found[i].Err, err)
			}
		}
		if (found[i].Err == nil) != (err == nil) {
			t.Errorf("in slot %d of %d FindBatch returns %v, Find %v", i, len(slots), found[i].Err, err)
		}
	}
	return found
}

func TestFindBatchReturnsTheSameAsFind(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		for name, config := range map[string]*gorm.Config{"defaults": nil, "prepared": {PrepareStmt: true}} {
			t.Run(name, func(t *testing.T) {
				s := newStore(t, e.open(t, config), &gormstore.Options{TablePrefix: "other_"})
				for n := range 150 {
					if n%5 == 4 {
						continue // an empty slot
					}
					for range n%2 + 1 { // every second token replaced another one
						if err := s.Replace(t.Context(), batchToken(n)); err != nil {
							t.Fatal(err)
						}
					}
				}
				all := batchSlots(150)
				for _, n := range []int{1, 2, 3, 7, 8, 9, 16, 63, 64, 65, 150} {
					found := expectFound(t, s, all[:n])
					if i := slices.IndexFunc(found, func(f tokenauth.Found) bool { return f.Err == nil }); n > 15 && i < 0 {
						t.Errorf("FindBatch of %d slots finds no token", n)
					}
				}
				if found, err := s.FindBatch(t.Context(), nil); len(found) != 0 || err != nil {
					t.Errorf("without a slot FindBatch returns %v, error %v", found, err)
				}
			})
		}
	})
}

// A corrupt row affects only its own slot, whichever column is corrupt.
func TestFindBatchReturnsValidTokensDespiteCorruptRows(t *testing.T) {
	spoil := map[string][]string{ // assignments, or statements that make them possible
		"all":      {"format = 2", "attributes = '{'"},
		"postgres": {"digest = 'short'", "digest = NULL", "replaced = 'short'", "expires_at = NULL", "issued_at = NULL", "client_id = NULL", "roles = NULL", "attributes = NULL", "user_id = NULL", "user_name = NULL", "stamp = NULL"},
		"sqlite":   {"digest = X'00'", "replaced = 'short'", "expires_at = 'never'", "issued_at = 'x'", "format = 'x'", "format = 1.5"},
		"mariadb":  {"digest = 'short'", "digest = NULL", "replaced = 'short'", "expires_at = NULL", "issued_at = NULL", "client_id = NULL", "roles = NULL", "attributes = NULL", "user_id = NULL", "user_name = NULL", "stamp = NULL"},
	}
	allow := map[string]string{
		"postgres": "ALTER COLUMN digest DROP NOT NULL, ALTER COLUMN expires_at DROP NOT NULL, ALTER COLUMN issued_at DROP NOT NULL, ALTER COLUMN client_id DROP NOT NULL, ALTER COLUMN roles DROP NOT NULL, ALTER COLUMN attributes DROP NOT NULL, ALTER COLUMN user_id DROP NOT NULL, ALTER COLUMN user_name DROP NOT NULL, ALTER COLUMN stamp DROP NOT NULL",
		"mariadb":  "MODIFY digest VARBINARY(64), MODIFY replaced VARBINARY(64), MODIFY expires_at BIGINT, MODIFY issued_at BIGINT, MODIFY client_id VARBINARY(256), MODIFY roles BLOB, MODIFY attributes BLOB, MODIFY user_id VARBINARY(512), MODIFY user_name VARBINARY(512), MODIFY stamp VARBINARY(512)",
	}
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		exec := func(statement string, args ...any) {
			t.Helper()
			if err := db.Exec(statement, args...).Error; err != nil {
				t.Fatal(err)
			}
		}
		if allow[e.name] != "" {
			exec("ALTER TABLE tokenauth_tokens " + allow[e.name])
		}
		spoils := slices.Concat(spoil["all"], spoil[e.name])
		slots := make([]tokenauth.Slot, 0, 2*len(spoils))
		for n, assignment := range spoils {
			for _, n := range []int{2*n + 1, 2*n + 2} {
				if err := s.Replace(t.Context(), batchToken(n)); err != nil {
					t.Fatal(err)
				}
				slots = append(slots, batchToken(n).Slot)
			}
			spoiled := slots[2*n]
			exec("UPDATE tokenauth_tokens SET "+assignment+" WHERE user_key = ? AND client_key = ?", spoiled.User[:], spoiled.Client[:])
		}
		for i, f := range expectFound(t, s, slots) {
			corrupt := i%2 == 0
			if corrupt == (f.Err == nil) || corrupt && !errors.Is(f.Err, tokenauth.ErrCorrupt) {
				t.Errorf("%s, corrupt %v: the error is %v", spoils[i/2], corrupt, f.Err)
			}
		}
		for i := range slots {
			expectFound(t, s, slots[i:i+1])
		}
	})
}

// A failure of the database is an error of FindBatch, not a missing token.
func TestFindBatchReturnsDatabaseErrors(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		slots := batchSlots(3)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for n := range slots {
			if found, err := s.FindBatch(ended, slots[:n+1]); !errors.Is(err, context.Canceled) || found != nil {
				t.Errorf("FindBatch of %d with an ended context: %v, error %v", n+1, found, err)
			}
		}
		if err := db.Migrator().DropTable("tokenauth_tokens"); err != nil {
			t.Fatal(err)
		}
		for n := range slots {
			found, err := s.FindBatch(t.Context(), slots[:n+1])
			if err == nil || found != nil || errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt) {
				t.Errorf("FindBatch of %d without a table: %v, error %v", n+1, found, err)
			}
		}
	})
}
