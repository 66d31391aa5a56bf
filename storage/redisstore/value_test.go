package redisstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// replaceScript010 is the script with which version 0.1.0 stores a token.
// Replicas with that version may run beside others while devices are off.
var replaceScript010 = rueidis.NewLuaScript(`
local replaced = string.rep('\0', 32)
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and #old >= 64 then
	replaced = string.sub(old, 1, 32)
	if replaced == ARGV[2] then
		replaced = string.sub(old, 33, 64)
	end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. replaced .. ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then
	redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return redis.status_reply('OK')
`)

// replace010 stores a token as version 0.1.0 does.
func replace010(t *testing.T, client rueidis.Client, prefix string, token tokenauth.Token) {
	t.Helper()
	token.Replaced = tokenauth.Digest{}
	encoded, err := token.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	kept := token.ExpiresAt.Unix() - token.IssuedAt.Unix() + 24*3600
	err = replaceScript010.Exec(t.Context(), client, []string{key(prefix, token.Slot.User)},
		[]string{fmt.Sprintf("%x", token.Slot.Client[:]), string(token.Digest[:]), string(encoded), strconv.FormatInt(kept, 10)}).Error()
	if err != nil {
		t.Fatal(err)
	}
}

// stored returns the value of the token's slot.
func stored(t *testing.T, client rueidis.Client, prefix string, token tokenauth.Token) string {
	t.Helper()
	return do(t, client, "HGET", key(prefix, token.Slot.User), fmt.Sprintf("%x", token.Slot.Client[:]))
}

// While devices are off, this version stores the same bytes as version 0.1.0,
// also over each other's values.
func TestWithoutDevicesStoresWhatVersion010Stores(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix, prefix010, both := newPrefix(t, client), newPrefix(t, client), newPrefix(t, client)
	s, mixed := newStore(t, client, prefix), newStore(t, client, both)
	var last tokenauth.Token
	for i := range byte(20) {
		token := newToken("alice", "web", 1+i/2, time.Duration(1+i%5)*time.Hour) // each digest twice
		token.Principal.Roles, token.Principal.Attributes = []string{"Reader"}, map[string]string{"a": "\x00\x00"}
		replace(t, s, token)
		replace010(t, client, prefix010, token)
		if i%3 == 0 {
			replace(t, mixed, token)
		} else {
			replace010(t, client, both, token)
		}
		want := stored(t, client, prefix010, token)
		for _, p := range []string{prefix, both} {
			if got := stored(t, client, p, token); got != want {
				t.Errorf("token %d: this version stores %q, and version 0.1.0 stores %q", i, got, want)
			}
		}
		got, err := mixed.Find(t.Context(), token.Slot)
		if err != nil || got.Digest != token.Digest || i >= 2 && got.Replaced != (tokenauth.Digest{(1 + i/2) - 1}) {
			t.Errorf("token %d: Find returns %v, error %v", i, got, err)
		}
		last = token
	}
	name, name010 := key(prefix, last.Slot.User), key(prefix010, last.Slot.User)
	if a, b := ttl(t, client, name), ttl(t, client, name010); a < b-5 || a > b+5 {
		t.Errorf("this version keeps the hash for %d s, and version 0.1.0 for %d s", a, b)
	}
}

// Version 0.1.0 replaces a token of this version, whether or not it can read it.
func TestVersion010ReplacesADeviceToken(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	named := deviceToken("alice", 1, "phone", time.Hour)
	plain := newToken("alice", "app", 2, time.Hour)
	plain.Slot = named.Slot
	for _, again := range []func(){
		func() { replace010(t, client, prefix, plain) },
		func() { replace(t, s, plain) }, // devices are off again
	} {
		replace(t, s, named)
		again()
		got, err := s.Find(t.Context(), named.Slot)
		if err != nil || got.Digest != plain.Digest || got.Replaced != named.Digest || got.DeviceName != "" {
			t.Errorf("Find returns %v, error %v, want digest %v, which replaced %v", got, err, plain.Digest, named.Digest)
		}
		if value := stored(t, client, prefix, named); value[64] != 1 {
			t.Errorf("a token without device fields has encoding %d, want 1, which version 0.1.0 reads", value[64])
		}
	}
}

// A sign-in without a device name keeps the name from the sign-in before. Other
// fields of the new token do not change.
func TestDeviceNameIsKept(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	n := byte(0)
	signIn := func(name, want string) {
		t.Helper()
		n++
		token := deviceToken("alice", 1, name, time.Hour)
		token.Digest = tokenauth.Digest{n}
		token.Lifetime = time.Duration(n) * time.Minute
		for range 2 { // the client may send the script twice
			replace(t, s, token)
		}
		token.DeviceName, token.Replaced = want, tokenauth.Digest{n - 1}
		if got, err := s.Find(t.Context(), token.Slot); err != nil || fmt.Sprint(got) != fmt.Sprint(token) {
			t.Errorf("after a sign-in with name %q, Find returns %v, error %v, want %v", name, got, err, token)
		}
	}
	signIn("", "")
	signIn("phone", "phone")
	signIn("", "phone")
	signIn("", "phone")
	signIn("tablet", "tablet")
	for _, name := range []string{strings.Repeat("ü", 50), "\x00\x00", "\x01a\x01", "x", strings.Repeat("n", 127)} {
		signIn(name, name)
		signIn("", name)
	}
	// The end of a token with encoding 1 may look like a name.
	plain := newToken("alice", "app", 100, time.Hour)
	plain.Slot = deviceToken("alice", 1, "", time.Hour).Slot
	plain.Principal.Attributes = map[string]string{"a": "\x01x\x01"}
	replace(t, s, plain)
	n = 100
	signIn("", "")
	another := deviceToken("alice", 2, "", time.Hour)
	replace(t, s, another)
	if got, err := s.Find(t.Context(), another.Slot); err != nil || got.DeviceName != "" {
		t.Errorf("another device has the name %q, error %v, want none", got.DeviceName, err)
	}
}

// Whatever is stored, the scripts return no error, and a new token is intact.
func FuzzScriptsOnCorruptValues(f *testing.F) {
	client := open(f, option(f, throwaway.Redis(f)))
	for _, cut := range []int{0, 1, 31, 32, 63, 64, 65, 66, 177, 178, 185, 1000} {
		for _, tail := range []string{"", "\x00", "\x00\x00", "\x7f", "\xff", "\x03abc\x03", "\x04abc\x03", "\x7f" + strings.Repeat("n", 127) + "\x7f", "\x80" + strings.Repeat("n", 128) + "\x80"} {
			f.Add(cut, []byte(tail), 32, []byte("\xff\xff\xff\xff\xff\xff\xff\xff"))
		}
	}
	for _, kept := range []int{0, 31, 32} {
		for _, tail := range []string{"", "\x00", "1234567", "\x80\x00\x00\x00\x00\x00\x00\x00", "123456789", "nan", "1e999"} {
			f.Add(1000, []byte{}, kept, []byte(tail))
		}
	}
	f.Fuzz(func(t *testing.T, cut int, tail []byte, kept int, record []byte) {
		prefix := newPrefix(t, client)
		s := newStore(t, client, prefix)
		token := deviceToken("alice", 1, "", time.Hour)
		replace(t, s, token)
		good := []byte(stored(t, client, prefix, token))
		value := append(bytes.Clone(good[:min(max(cut, 0), len(good))]), tail...)
		record = append(bytes.Clone(token.Digest[:min(max(kept, 0), len(token.Digest))]), record...)
		name, uses, field := key(prefix, token.Slot.User), usesKey(prefix, token.Slot.User), fmt.Sprintf("%x", token.Slot.Client[:])
		corrupt := func() {
			do(t, client, "HSET", name, field, string(value))
			do(t, client, "HSET", uses, field, string(record))
		}
		corrupt()
		if _, err := s.List(t.Context(), token.Slot.User); err != nil && !errors.Is(err, tokenauth.ErrCorrupt) {
			t.Errorf("List returns error %v", err)
		}
		use := useOf(token, time.Now())
		use.ExpiresAt = token.ExpiresAt.Add(time.Hour)
		if err := s.RecordUses(t.Context(), []tokenauth.Use{use}); err != nil {
			t.Errorf("RecordUses returns error %v", err)
		}
		if got := stored(t, client, prefix, token); len(got) != len(value) {
			t.Errorf("RecordUses changed %q to %q", value, got)
		}
		before, findErr := s.Find(t.Context(), token.Slot)
		if err := s.Rename(t.Context(), token.Slot, token.Digest, "another"); err != nil && (findErr == nil || !errors.Is(err, tokenauth.ErrCorrupt)) {
			t.Errorf("Rename of a value that Find reads with error %v returns error %v", findErr, err)
		}
		if got, err := s.Find(t.Context(), token.Slot); findErr == nil && (err != nil || got.DeviceName != "another" || got.Device != before.Device) {
			t.Errorf("Rename changed %q to %q", value, stored(t, client, prefix, token))
		}
		next := deviceToken("alice", 1, "", time.Hour)
		next.Digest = tokenauth.Digest{2}
		corrupt()
		replace(t, s, next)
		if got, err := s.Find(t.Context(), next.Slot); err != nil || got.Digest != next.Digest || got.Device != next.Device {
			t.Errorf("after %q, Find of a new token returns %v, error %v", value, got, err)
		}
		corrupt()
		if _, err := s.RevokeUnused(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Errorf("RevokeUnused returns error %v", err)
		}
		corrupt()
		if err := errors.Join(s.RevokeClient(t.Context(), token.ClientID), s.Revoke(t.Context(), token.Slot, token.Digest)); err != nil {
			t.Errorf("RevokeClient and Revoke return error %v", err)
		}
		corrupt()
		if err := s.RevokeAll(t.Context()); err != nil {
			t.Errorf("RevokeAll returns error %v", err)
		}
		if left := append(keys(t, client, prefix), keys(t, client, "{"+prefix)...); len(left) > 0 {
			t.Errorf("after RevokeAll the keys are %v", left)
		}
	})
}
