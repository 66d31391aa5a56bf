package redisstore_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A new key removes those of the user's keys that expired more than a day ago by both
// clocks, with their last uses, and no other token.
func TestNewKeyRemovesExpiredKeys(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		const day = 24 * time.Hour
		client := open(t, o)
		prefix := newPrefix(t, client)
		s := newStore(t, client, prefix)
		now := time.Now().Truncate(time.Second).UTC()
		key := func(n byte, expires time.Time) tokenauth.Token {
			k := deviceToken("alice", n, "a key", time.Hour)
			k.ClientID, k.Device, k.ExpiresAt = "\x01key", "", expires
			k.IssuedAt = now.Add(-100*day + 123*time.Millisecond)
			return k
		}
		never := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		keys := []struct {
			token tokenauth.Token
			ends  bool
		}{
			{key(1, never), false},
			{key(2, now.Add(time.Hour)), false},
			{key(3, now.Add(-day+time.Minute)), false},
			{key(4, now.Add(-day-time.Minute)), true},
			{key(5, now.Add(-50*day)), true},
		}
		ended := func(k tokenauth.Token) bool {
			_, err := s.Find(t.Context(), k.Slot)
			if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
				t.Fatal(err)
			}
			return err != nil
		}
		for _, k := range keys {
			replace(t, s, k.token)
			record(t, s, useOf(k.token, k.token.IssuedAt.Add(time.Hour)))
		}
		// Neither a sign-in nor the record of a key's owner removes any, and neither does
		// a service whose clock is behind.
		signIn, owner, behind := deviceToken("alice", 10, "phone", time.Hour), key(11, now.Add(-time.Hour)), key(12, never)
		owner.IssuedAt, behind.IssuedAt = now, now.Add(-60*day)
		for _, token := range []tokenauth.Token{signIn, owner, behind} {
			replace(t, s, token)
			for _, k := range keys {
				if ended(k.token) {
					t.Errorf("token %d removed key %d", token.Digest[0], k.token.Digest[0])
				}
			}
		}
		// The clock of this service is ahead, so the clock of Redis decides.
		ahead := key(13, never)
		ahead.IssuedAt = now.Add(1000 * day)
		replace(t, s, ahead)
		want := []tokenauth.Token{signIn, owner, behind, ahead}
		for _, k := range keys {
			if got := ended(k.token); got != k.ends {
				t.Errorf("key %d, which expires at %v, has ended: %v, want %v", k.token.Digest[0], k.token.ExpiresAt, got, k.ends)
			}
			if record := do(t, client, "HGET", usesKey(prefix, k.token.Slot.User), fmt.Sprintf("%x", k.token.Slot.Client[:])); (record == "") != k.ends {
				t.Errorf("key %d: the record of its last use is %q", k.token.Digest[0], record)
			}
			if !k.ends {
				want = append(want, k.token)
			}
		}
		if tokens, err := s.List(t.Context(), signIn.Slot.User); err != nil || len(tokens) != len(want) {
			t.Errorf("List returns %d tokens, error %v, want %d", len(tokens), err, len(want))
		}
	})
}
