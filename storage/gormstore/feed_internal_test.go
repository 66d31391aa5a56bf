package gormstore

import (
	"encoding/hex"
	"testing"
)

// Every database user can send payloads on the channel. A payload is either a user key
// in hexadecimal, in upper or lower case, or it invalidates all tokens.
func FuzzFeedPayload(f *testing.F) {
	for _, seed := range []string{"", "all", "beat x", "000102030405060708090a0b0c0d0e0f", "000102030405060708090A0B0C0D0E0F", "000102030405060708090a0b0c0d0e0g", "00010203040506070809"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		key, ok := userKey(payload)
		decoded, err := hex.DecodeString(payload)
		if want := err == nil && len(decoded) == len(key); ok != want {
			t.Fatalf("%q is a key: %v, want %v", payload, ok, want)
		}
		if ok && string(decoded) != string(key[:]) {
			t.Errorf("%q is key %x", payload, key)
		}
	})
}
