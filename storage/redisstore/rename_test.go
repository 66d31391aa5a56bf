package redisstore_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Rename changes the name in every encoding, and nothing else: neither another field nor
// the time for which Redis keeps the hash.
func TestRenameChangesTheNameInEachEncoding(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	bare := newToken("alice", "app", 1, time.Hour)
	bare.Principal.Attributes = map[string]string{"a": "\x01x\x01"} // the end of the value looks like a name
	tokens := []tokenauth.Token{bare, deviceToken("bob", 2, "", time.Hour), deviceToken("carol", 3, "phone", time.Hour), refreshToken("dave", 4, time.Hour, 30*24*time.Hour)}
	tokens[2].Lifetime = 90 * 24 * time.Hour
	for i, token := range tokens {
		replace(t, s, token)
		before := ttl(t, client, key(prefix, token.Slot.User))
		for _, name := range []string{"", "CI", "\x00\x00", "\x02ab\x02", strings.Repeat("ü", 50), "", strings.Repeat("n", 127), "x"} {
			for range 2 { // the client may send the script twice
				if err := s.Rename(t.Context(), token.Slot, token.Digest, name); err != nil {
					t.Fatal(err)
				}
			}
			want := token
			want.DeviceName = name
			got, err := s.Find(t.Context(), token.Slot)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("token %d: after Rename to %q, Find returns %+v, error %v, want %+v", i, name, got, err, want)
			}
		}
		if after := ttl(t, client, key(prefix, token.Slot.User)); after > before || after < before-60 {
			t.Errorf("token %d: Redis keeps the hash for %d s after Rename, and %d s before", i, after, before)
		}
	}
	// A name that is too long for the encoding is cut, as Replace cuts it.
	if err := s.Rename(t.Context(), bare.Slot, bare.Digest, strings.Repeat("n", 300)); err != nil {
		t.Error(err)
	}
	if got, err := s.Find(t.Context(), bare.Slot); err != nil || got.DeviceName != strings.Repeat("n", 127) {
		t.Errorf("after Rename to 300 bytes, Find returns the name %q, error %v, want 127 bytes", got.DeviceName, err)
	}
}

// While names stay empty, Rename keeps the encoding that version 0.1.0 reads.
func TestRenameToNothingKeepsEncoding1(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	token := newToken("alice", "app", 1, time.Hour)
	replace(t, s, token)
	before := stored(t, client, prefix, token)
	if err := s.Rename(t.Context(), token.Slot, token.Digest, ""); err != nil {
		t.Fatal(err)
	}
	if after := stored(t, client, prefix, token); after != before {
		t.Errorf("Rename changed the value %q to %q", before, after)
	}
}

// Rename leaves a value that it cannot read as it is, and returns ErrCorrupt.
func TestRenameLeavesCorruptValues(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	token := deviceToken("alice", 1, "phone", time.Hour)
	replace(t, s, token)
	good := stored(t, client, prefix, token)
	for what, value := range map[string]string{
		"digests only":            good[:64],
		"an encoding and no more": good[:65],
		"encoding 4":              good[:64] + "\x04" + good[65:],
		"encoding 0":              good[:64] + "\x00" + good[65:],
		"another length":          good[:len(good)-1] + "\x04",
		"a length of 255":         good[:len(good)-1] + "\xff",
		"a length and no more":    good[:64] + "\x02\x7f",
	} {
		do(t, client, "HSET", key(prefix, token.Slot.User), fmt.Sprintf("%x", token.Slot.Client[:]), value)
		if err := s.Rename(t.Context(), token.Slot, token.Digest, "tablet"); !errors.Is(err, tokenauth.ErrCorrupt) {
			t.Errorf("%s: Rename returns error %v, want ErrCorrupt", what, err)
		}
		if got := stored(t, client, prefix, token); got != value {
			t.Errorf("%s: Rename changed %q to %q", what, value, got)
		}
	}
}

// Redis keeps the hash of a key that never expires until the year 9999, and the record of
// its last use for two years. Keys that expire earlier do not shorten this. After the last
// of the user's keys has ended, the record ends, too.
func TestRedisKeepsKeysThatNeverExpire(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		prefix := newPrefix(t, client)
		s := newStore(t, client, prefix)
		key, short := deviceToken("alice", 1, "CI", time.Hour), deviceToken("alice", 2, "another", time.Hour)
		key.ClientID, key.Device = "\x01key", ""
		key.ExpiresAt = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		replace(t, s, key)
		replace(t, s, short)
		record(t, s, useOf(key, time.Now()), useOf(short, time.Now()))
		if err := s.Rename(t.Context(), key.Slot, key.Digest, "nightly"); err != nil {
			t.Fatal(err)
		}
		if ended, err := s.RevokeUnused(t.Context(), time.Now().AddDate(1000, 0, 0)); err != nil || ended != 1 {
			t.Errorf("RevokeUnused returns %d, error %v, want 1", ended, err)
		}
		name, uses := fmt.Sprintf("%s%x", prefix, key.Slot.User[:]), usesKey(prefix, key.Slot.User)
		if n, want := ttl(t, client, name), key.ExpiresAt.Unix()-time.Now().Unix(); n < want {
			t.Errorf("Redis keeps the keys for %d s, want at least %d s", n, want)
		}
		const years = 2 * 366 * 24 * 3600
		for hour := range 2 {
			if n := ttl(t, client, uses); n < years-60 || n > years+1 {
				t.Errorf("Redis keeps the records for %d s, want %d s", n, years)
			}
			do(t, client, "EXPIRE", uses, "1000") // as if two years were almost over
			record(t, s, useOf(key, time.Now().Add(time.Duration(hour+1)*time.Hour)))
		}
		if got := listed(t, s, key.Slot.User, key.Digest); !got.ExpiresAt.Equal(key.ExpiresAt) || got.DeviceName != "nightly" || got.LastSeen.IsZero() {
			t.Errorf("List returns %+v, want it to expire at %v", got, key.ExpiresAt)
		}
	})
}
