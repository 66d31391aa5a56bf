package redisstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// deviceToken returns a token in a slot of its own of the user, at client "app".
func deviceToken(user string, device byte, name string, life time.Duration) tokenauth.Token {
	t := newToken(user, "app", device, life)
	t.Slot.Client = tokenauth.ClientKey{0: device, 15: 1}
	t.Device, t.DeviceName = fmt.Sprint("device", device), name
	t.IssuedAt = t.IssuedAt.Add(123 * time.Millisecond)
	return t
}

// useOf returns a use of the token at a time, which does not extend the token.
func useOf(t tokenauth.Token, at time.Time) tokenauth.Use {
	return tokenauth.Use{Slot: t.Slot, Digest: t.Digest, At: at.Truncate(time.Second)}
}

func record(t testing.TB, s tokenauth.UseRecorder, uses ...tokenauth.Use) {
	t.Helper()
	if err := s.RecordUses(t.Context(), uses); err != nil {
		t.Fatal(err)
	}
}

func usesKey(prefix string, u tokenauth.UserKey) string { return "{" + key(prefix, u) + "}:uses" }

// listed returns the token with the digest in List, or zero if there is none.
func listed(t testing.TB, s tokenauth.Lister, u tokenauth.UserKey, d tokenauth.Digest) tokenauth.Token {
	t.Helper()
	tokens, err := s.List(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range tokens {
		if token.Digest == d {
			return token
		}
	}
	return tokenauth.Token{}
}

func ttl(t *testing.T, client rueidis.Client, name string) int64 {
	t.Helper()
	n, err := client.Do(t.Context(), client.B().Ttl().Key(name).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// onAll runs a test on a single server, on a cluster, and with Sentinel.
func onAll(t *testing.T, test func(t *testing.T, o rueidis.ClientOption)) {
	onEach(t, throwaway.Redis, test)
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		_, sentinels := throwaway.StartRedisSentinel(t)
		test(t, option(t, sentinels[0].DSN()))
	})
}

// A record counts for one token only. An earlier use changes nothing, and a use
// of a token that is gone leaves no record.
func TestRecordedUsesBelongToTheirToken(t *testing.T) {
	t.Parallel()
	onAll(t, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		s := newStore(t, client, newPrefix(t, client))
		now := time.Now().Truncate(time.Second).UTC()
		var uses []tokenauth.Use
		var tokens []tokenauth.Token
		for i := range 70 { // on all masters
			for _, token := range []tokenauth.Token{
				newToken(fmt.Sprint("user", i), "web", byte(i), time.Hour),
				deviceToken(fmt.Sprint("user", i), byte(i+70), "", time.Hour),
			} {
				replace(t, s, token)
				tokens, uses = append(tokens, token), append(uses, useOf(token, now))
			}
		}
		sees := func(what string, want time.Time) {
			t.Helper()
			for _, token := range tokens {
				if got := listed(t, s, token.Slot.User, token.Digest); got.Digest != token.Digest || !got.LastSeen.Equal(want) {
					t.Errorf("%s: List returns digest %v, LastSeen %v, want %v", what, got.Digest, got.LastSeen, want)
				}
			}
		}
		sees("before any use", time.Time{})
		if err := errors.Join(client.Do(t.Context(), client.B().ScriptFlush().Build()).Error(), s.RecordUses(t.Context(), nil)); err != nil {
			t.Fatal(err)
		}
		record(t, s, uses...) // works although no server has the script
		sees("after a use", now)
		earlier, before1970 := slices.Clone(uses), slices.Clone(uses)
		for i := range uses {
			earlier[i].At, before1970[i].At = now.Add(-time.Hour), time.Unix(-5, 0)
		}
		record(t, s, earlier...)
		record(t, s, before1970...)
		sees("after earlier uses", now)
		for i := range tokens {
			tokens[i].Digest[31]++
			replace(t, s, tokens[i])
		}
		record(t, s, uses...) // of the replaced tokens
		sees("after new tokens", time.Time{})
		for i := range tokens {
			before1970[i].Digest = tokens[i].Digest
		}
		record(t, s, before1970...)
		sees("after a use before 1970", time.Unix(-5, 0))
		for _, token := range tokens {
			if err := s.RevokeUser(t.Context(), token.Slot.User); err != nil {
				t.Fatal(err)
			}
		}
		record(t, s, before1970...)
		for _, token := range tokens {
			if _, err := s.Find(t.Context(), token.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("after a use of a revoked token, Find returns error %v, want ErrNotFound", err)
			}
		}
	})
}

// If all replicas record the same use, Redis changes once.
func TestRepeatedUseWritesNothing(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.StartRedis(t).DSN()))
	s := newStore(t, client, "")
	token := deviceToken("alice", 1, "", time.Hour)
	replace(t, s, token)
	changes := func() (line string) {
		for l := range strings.Lines(do(t, client, "INFO", "persistence")) {
			if strings.HasPrefix(l, "rdb_changes_since_last_save:") {
				line = l
			}
		}
		return line
	}
	use := useOf(token, time.Now())
	use.ExpiresAt = token.ExpiresAt.Add(time.Hour)
	none := changes()
	record(t, s, use)
	once := changes()
	if once == none || once == "" {
		t.Errorf("after a use, Redis has %q, and had %q before", once, none)
	}
	for range 3 {
		record(t, s, use)
	}
	if now := changes(); now != once {
		t.Errorf("after the same use again, Redis has %q, want %q", now, once)
	}
}

// A use extends its token, and nothing else in the stored value. Redis keeps the
// token and the records for a day beyond the token's new end.
func TestUsesExtendTheirToken(t *testing.T) {
	t.Parallel()
	const day = 24 * 3600
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	for i, token := range []tokenauth.Token{newToken("alice", "web", 1, time.Hour), deviceToken("bob", 2, "Bob's phone", time.Hour)} {
		replace(t, s, token)
		name, uses := key(prefix, token.Slot.User), usesKey(prefix, token.Slot.User)
		want, err := s.Find(t.Context(), token.Slot)
		if err != nil {
			t.Fatal(err)
		}
		use, longest := useOf(token, time.Now()), time.Hour
		for step, life := range []time.Duration{2 * time.Hour, 30 * time.Minute, 30 * 24 * time.Hour, 0} {
			other := use
			other.Digest[0]++
			other.ExpiresAt = token.ExpiresAt.AddDate(1, 0, 0)
			use.At, use.ExpiresAt = use.At.Add(time.Hour), time.Time{}
			if life != 0 {
				longest = max(longest, life)
				use.ExpiresAt = use.At.Add(life)
				if use.ExpiresAt.After(want.ExpiresAt) {
					want.ExpiresAt = use.ExpiresAt.UTC()
				}
			}
			record(t, s, use, other) // the second is not a use of this token
			got, err := s.Find(t.Context(), token.Slot)
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("token %d, step %d: Find returns %v, error %v, want %v", i, step, got, err, want)
			}
			kept, recordKept := ttl(t, client, name), ttl(t, client, uses)
			if least := int64(longest/time.Second) + day; kept < least-60 || kept > least {
				t.Errorf("token %d, step %d: Redis keeps the tokens for %d s, want %d s", i, step, kept, least)
			}
			if recordKept < kept || recordKept > kept+2 {
				t.Errorf("token %d, step %d: Redis keeps the records for %d s, and the tokens for %d s", i, step, recordKept, kept)
			}
		}
	}
	// A token of another encoding may have other bytes where ExpiresAt was.
	token := newToken("carol", "", 3, time.Hour)
	replace(t, s, token)
	name, field := key(prefix, token.Slot.User), fmt.Sprintf("%x", token.Slot.Client[:])
	value := do(t, client, "HGET", name, field)
	newer := value[:64] + "\x03" + value[65:]
	do(t, client, "HSET", name, field, newer)
	use := useOf(token, time.Now())
	use.ExpiresAt = token.ExpiresAt.Add(time.Hour)
	record(t, s, use)
	if got := do(t, client, "HGET", name, field); got != newer {
		t.Errorf("a use changed a token with encoding 3 from %q to %q", newer, got)
	}
}

// A user never has more records than tokens, even if many devices come and go.
func TestRecordsOfRevokedTokensAreRemoved(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	const live = 3
	for i := range byte(50) {
		token := deviceToken("alice", i, "", time.Hour)
		replace(t, s, token)
		record(t, s, useOf(token, time.Now()))
		if i >= live {
			old := deviceToken("alice", i-live, "", time.Hour)
			if err := s.Revoke(t.Context(), old.Slot, old.Digest); err != nil {
				t.Fatal(err)
			}
		}
		uses := usesKey(prefix, token.Slot.User)
		if n, err := client.Do(t.Context(), client.B().Hlen().Key(uses).Build()).AsInt64(); err != nil || n > live+1 {
			t.Fatalf("after %d devices there are %d records, error %v, want at most %d", i+1, n, err, live+1)
		}
		if got := listed(t, s, token.Slot.User, token.Digest); got.LastSeen.IsZero() {
			t.Errorf("device %d has no record", i)
		}
	}
}

// Recording a use reports no change, so the caches keep their tokens. A use that
// extends a token reports its user.
func TestRecordedUsesAreNotReported(t *testing.T) {
	t.Parallel()
	tryOnEach(t, throwaway.Redis, func(t *trial.T, o rueidis.ClientOption) {
		w := watched(t, o, newPrefix(t, open(t, o)))
		g := watch(t, w, beat)
		var uses, extending []tokenauth.Use
		for i := range 30 { // on all masters
			token := deviceToken(fmt.Sprint("user", i), byte(i), "", time.Hour)
			replace(t, w, token)
			use := useOf(token, time.Now())
			uses = append(uses, use)
			use.ExpiresAt = token.ExpiresAt.Add(time.Hour)
			extending = append(extending, use)
		}
		// A check reports all changes that completed before it began.
		reported := func() int {
			g.goesOn(t)
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.flushes > 0 {
				t.Errorf("the feed invalidated all tokens %d times, want 0", g.flushes)
			}
			n := len(g.reported)
			clear(g.reported)
			return n
		}
		if n := reported(); n != len(uses) {
			t.Errorf("after the sign-ins the feed has reported %d users, want %d", n, len(uses))
		}
		record(t, w, uses...)
		if n := reported(); n != 0 {
			t.Errorf("after the uses the feed has reported %d users, want 0", n)
		}
		record(t, w, extending...)
		if n := reported(); n != len(uses) {
			t.Errorf("after uses that extend tokens the feed has reported %d users, want %d", n, len(uses))
		}
	})
}

// On a cluster the records are in the same slot as the tokens.
func TestRecordsAreInTheSlotOfTheTokens(t *testing.T) {
	t.Parallel()
	o := rueidis.ClientOption{InitAddress: throwaway.RedisCluster(t), DisableCache: true}
	client := open(t, o)
	slot := func(name string) int64 {
		n, err := client.Do(t.Context(), client.B().ClusterKeyslot().Key(name).Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i := range 100 {
		u := tokenauth.UserKeyOf(fmt.Sprint("user", i))
		if a, b := slot(key("tokenauth:", u)), slot(usesKey("tokenauth:", u)); a != b {
			t.Errorf("the tokens of user %d are in slot %d, and the records in slot %d", i, a, b)
		}
	}
}

// A Redis user with the rights that version 0.1.0 needs cannot record uses. All
// other operations work.
func TestWithoutRightsForRecords(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.StartRedis(t).DSN())
	do(t, open(t, o), "ACL", "SETUSER", "service", "reset", "on", ">password", "~tokenauth:*", "~{tokenauth:}*",
		"+hello", "+cluster|slots", "+ping", "+evalsha", "+eval", "+hget", "+hgetall", "+hset", "+hdel", "+ttl", "+expire", "+unlink", "+scan")
	o.Username, o.Password = "service", "password"
	s := newStore(t, open(t, o), "")
	token := deviceToken("alice", 1, "", time.Hour)
	replace(t, s, token)
	if err := s.RecordUses(t.Context(), []tokenauth.Use{useOf(token, time.Now())}); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("RecordUses returns error %v, want NOPERM", err)
	}
	if got := listed(t, s, token.Slot.User, token.Digest); got.Digest != token.Digest || !got.LastSeen.IsZero() {
		t.Errorf("List returns %v, want the token without a last use", got)
	}
	if err := s.RevokeClient(t.Context(), token.ClientID); err != nil {
		t.Error(err)
	}
	if _, err := s.Find(t.Context(), token.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
		t.Errorf("after RevokeClient, Find returns error %v, want ErrNotFound", err)
	}
}
