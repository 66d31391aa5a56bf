package tokenauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"net/http"
	"testing"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// forge returns an access token with a correct checksum that names any slot.
func forge(slot tokenauth.Slot) string {
	body := make([]byte, 69)
	body[0] = 1
	copy(body[1:], slot.User[:])
	copy(body[17:], slot.Client[:])
	sum := crc32.Update(crc32.ChecksumIEEE([]byte("tat_")), crc32.IEEETable, body[:65])
	binary.BigEndian.PutUint32(body[65:], sum)
	return "tat_" + base64.RawURLEncoding.EncodeToString(body)
}

// A client that has a key can compute its slot. A made-up access token for that slot must
// not bring the stored key into the cache.
func TestForgedAccessTokenDoesNotTurnAKeyIntoASignIn(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		key, _ := makeKey(t, keys, alice(), tokenauth.Key{Roles: []string{"Reader"}})
		if status, _ := with(auth.RequireBearer, key); status != http.StatusForbidden {
			t.Fatalf("before: %d", status)
		}
		_, strict := keyed(t, &s.Store, users, tokenauth.Options{})
		stored, err := strict.Validate(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		if status, _ := with(auth.RequireBearer, forge(stored.Slot)); status != http.StatusUnauthorized {
			t.Fatalf("the forged token: %d", status)
		}
		if status, body := with(auth.RequireBearer, key); status != http.StatusForbidden {
			t.Errorf("a guard for sign-ins answers a key with %d %s", status, body)
		}
		users.disable("17", true)
		if err := auth.RevokeUser(t.Context(), "17"); err != nil {
			t.Fatal(err)
		}
		if status, body := with(auth.RequireRole("Reader"), key); status == http.StatusOK {
			t.Errorf("the key of a disabled user passes a guard for sign-ins: %d %s", status, body)
		}
		expectKey(t, keys, key, "invalid")
	})
}

func pointerSlot(key string) (s tokenauth.Slot) {
	d := sha256.Sum256([]byte(key))
	sum := sha256.Sum256(append([]byte("tokenauth/v1/pointer\x00"), d[:]...))
	copy(s.User[:], sum[:16])
	copy(s.Client[:], sum[16:])
	return s
}

// The same with the pointer to an imported key, whose slot follows from the key's text.
func TestForgedAccessTokenDoesNotTurnAPointerIntoASignIn(t *testing.T) {
	inKeyBubble(t, tokenauth.Options{Keys: &tokenauth.KeyOptions{Prefix: "sk-", Imported: []string{"sk-"}}}, func(t *testing.T, s *fedStore, users *owners, auth *tokenauth.Service, keys *tokenauth.Keys, feed tokenauth.Invalidator) {
		made := importKey(t, keys, oldKey, alice(), tokenauth.Key{Roles: []string{"Reader"}})
		if _, err := s.Store.Find(t.Context(), pointerSlot(oldKey)); err != nil {
			t.Fatal(err)
		}
		with(auth.RequireBearer, forge(pointerSlot(oldKey)))
		if status, body := with(auth.RequireBearer, oldKey); status != http.StatusForbidden {
			t.Errorf("a guard for sign-ins answers an imported key with %d %s", status, body)
		}
		if err := keys.Revoke(t.Context(), "17", made.ID); err != nil {
			t.Fatal(err)
		}
		expectKey(t, keys, oldKey, "invalid")
	})
}
