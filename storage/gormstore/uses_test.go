package gormstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// lastSeen returns the LastSeen and the ExpiresAt of the user's only token.
func lastSeen(t *testing.T, s *gormstore.Store, user string) (seen, expires time.Time) {
	t.Helper()
	tokens, err := s.List(t.Context(), tokenauth.UserKeyOf(user))
	if err != nil || len(tokens) != 1 {
		t.Fatalf("List returns %d tokens, error %v", len(tokens), err)
	}
	return tokens[0].LastSeen, tokens[0].ExpiresAt
}

// A use is recorded for the token that the slot holds, if it is later than the recorded
// one. It extends a token, but does not shorten it.
func TestRecordUses(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		ctx := t.Context()
		first, second := deviceToken("alice", 1), deviceToken("alice", 1)
		second.Digest = tokenauth.Digest{2}
		if err := s.Replace(ctx, first); err != nil {
			t.Fatal(err)
		}
		at := func(hours int) time.Time { return hour.Add(time.Duration(hours) * time.Hour) }
		var none time.Time
		for i, step := range []struct {
			token         tokenauth.Token
			at, expires   time.Time // of the use
			seen, expired time.Time // of the token afterwards
		}{
			{second, at(5), at(50), none, first.ExpiresAt}, // another digest
			{first, at(1), none, at(1), first.ExpiresAt},
			{first, at(1), at(9), at(1), at(9)},
			{first, at(2), at(8), at(2), at(9)}, // does not shorten the token
			{first, at(1), at(10), at(2), at(10)},
			{second, at(7), at(50), at(2), at(10)},
		} {
			u := use(step.token, step.at)
			u.ExpiresAt = step.expires
			if err := s.RecordUses(ctx, []tokenauth.Use{u}); err != nil {
				t.Fatal(err)
			}
			if seen, expires := lastSeen(t, s, "alice"); !seen.Equal(step.seen) || !expires.Equal(step.expired) {
				t.Errorf("step %d: seen %v, expires %v, want %v and %v", i, seen, expires, step.seen, step.expired)
			}
		}
		// The use of a replaced token counts for no other token.
		if err := s.Replace(ctx, second); err != nil {
			t.Fatal(err)
		}
		if seen, expires := lastSeen(t, s, "alice"); !seen.IsZero() || !expires.Equal(second.ExpiresAt) {
			t.Errorf("a new token was seen %v, expires %v", seen, expires)
		}
		if err := s.RecordUses(ctx, []tokenauth.Use{use(second, at(1))}); err != nil {
			t.Fatal(err)
		}
		if seen, _ := lastSeen(t, s, "alice"); !seen.Equal(at(1)) {
			t.Errorf("the new token was seen %v", seen)
		}
		// An empty slot stays empty, and Purge removes its use.
		if err := s.Revoke(ctx, second.Slot, second.Digest); err != nil {
			t.Fatal(err)
		}
		u := use(second, at(3))
		u.ExpiresAt = at(60)
		if err := s.RecordUses(ctx, []tokenauth.Use{u}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Find(ctx, second.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("an empty slot: error %v, want ErrNotFound", err)
		}
		many := make([]tokenauth.Use, 150) // several batches, in any order
		for i, n := range rand.Perm(len(many)) {
			token := deviceToken(fmt.Sprint("user", n), byte(n))
			if err := s.Replace(ctx, token); err != nil {
				t.Fatal(err)
			}
			many[i] = use(token, at(1))
		}
		if err := s.RecordUses(ctx, many); err != nil {
			t.Fatal(err)
		}
		rows := func() (n int) {
			t.Helper()
			if err := db.Raw(`SELECT count(*) FROM tokenauth_uses`).Scan(&n).Error; err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := rows(); n != 151 {
			t.Errorf("%d uses are recorded, want 151", n)
		}
		if _, err := s.Purge(ctx, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if n := rows(); n != 150 {
			t.Errorf("after Purge %d uses are recorded, want 150", n)
		}
		if seen, _ := lastSeen(t, s, "user149"); !seen.Equal(at(1)) {
			t.Errorf("after Purge a token was seen %v", seen)
		}
		if err := s.RecordUses(ctx, nil); err != nil {
			t.Error(err)
		}
	})
}

// RecordUses waits neither for a sign-in nor for the row of a use that it need not write.
// If it has nothing to write, it changes no page.
func TestRecordUsesTakesNoLock(t *testing.T) {
	lockable(t, func(t *testing.T, db *gorm.DB) {
		s := newStore(t, db, nil)
		tokens := []tokenauth.Token{deviceToken("alice", 1), deviceToken("bob", 2)}
		for _, token := range tokens {
			if err := s.Replace(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		record := func(what string, uses ...tokenauth.Use) {
			t.Helper()
			if err := s.RecordUses(ctx, uses); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		extends := use(tokens[0], hour)
		extends.ExpiresAt = tokens[0].ExpiresAt.Add(time.Hour)
		record("the first use", extends)
		versions := func() (text string) {
			t.Helper()
			if db.Name() != "postgres" {
				return ""
			}
			err := db.Raw(`SELECT string_agg(concat_ws(' ', ctid, xmin, xmax, v), ', ' ORDER BY v) FROM (SELECT ctid, xmin, xmax, expires_at AS v FROM tokenauth_tokens
				UNION ALL SELECT ctid, xmin, xmax, used_at FROM tokenauth_uses) AS rows`).Scan(&text).Error
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
		before := versions()
		record("again", extends)
		if after := versions(); after != before {
			t.Errorf("a use that was recorded before changes %s to %s", before, after)
		}
		for _, held := range []string{
			`UPDATE tokenauth_uses SET used_at = 0`, // as another replica does, or RevokeUnused
			`UPDATE tokenauth_tokens SET digest = digest, user_name = 'a sign-in in progress'`,
		} {
			holding := db.Begin(&sql.TxOptions{Isolation: sql.LevelReadCommitted})
			if err := holding.Exec(held).Error; err != nil {
				t.Fatal(err)
			}
			record(held, extends)
			if strings.Contains(held, "tokens") {
				record("a new use during a sign-in", use(tokens[1], hour), use(tokens[0], hour.Add(time.Hour)))
			}
			if err := holding.Rollback().Error; err != nil {
				t.Fatal(err)
			}
		}
		if seen, _ := lastSeen(t, s, "alice"); !seen.Equal(hour.Add(time.Hour)) {
			t.Errorf("the token was seen %v", seen)
		}
	})
}

// recordMeanwhile records uses of the same tokens at all stores at once, while users sign
// in and are revoked. No call fails. The latest use of each token remains.
func recordMeanwhile(t *testing.T, stores ...*gormstore.Store) {
	t.Helper()
	const users, rounds = 40, 12
	token := func(user, round int) tokenauth.Token {
		token := deviceToken(fmt.Sprint("user", user), byte(user))
		token.Digest = tokenauth.Digest{byte(user), byte(round), 1}
		return token
	}
	for user := range users {
		if err := stores[0].Replace(t.Context(), token(user, 0)); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for _, s := range stores {
		for range 2 {
			wg.Go(func() {
				for round := range rounds {
					uses := make([]tokenauth.Use, users)
					for i, user := range rand.Perm(users) {
						uses[i] = use(token(user, 0), hour.Add(time.Duration(round)*time.Hour))
						uses[i].ExpiresAt = hour.Add(time.Duration(round+10) * time.Hour)
					}
					if err := s.RecordUses(t.Context(), uses); err != nil {
						t.Errorf("RecordUses: %v", err)
					}
				}
			})
		}
		wg.Go(func() {
			for round := range rounds {
				for user := range users / 4 { // the others keep their tokens
					if err := s.Replace(t.Context(), token(user, round)); err != nil {
						t.Errorf("a sign-in: %v", err)
					}
					if err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf(fmt.Sprint("user", users/4-user-1))); err != nil {
						t.Errorf("a revocation: %v", err)
					}
				}
				if _, err := s.RevokeUnused(t.Context(), hour); err != nil {
					t.Errorf("RevokeUnused: %v", err)
				}
				if _, err := s.Purge(t.Context(), time.Unix(1, 0)); err != nil {
					t.Errorf("Purge: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for user := users / 4; user < users; user++ {
		seen, expires := lastSeen(t, stores[0], fmt.Sprint("user", user))
		if !seen.Equal(hour.Add((rounds-1)*time.Hour)) || !expires.Equal(hour.Add((rounds+9)*time.Hour)) {
			t.Errorf("user %d: seen %v, expires %v", user, seen, expires)
		}
	}
}

func TestReplicasRecordUses(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		other, err := gormstore.New(t.Context(), db, nil)
		if err != nil {
			t.Fatal(err)
		}
		recordMeanwhile(t, s, other)
	})
}

// RevokeUnused ends tokens that were issued and last used before a time. It keeps the
// rows that are not tokens.
func TestRevokeUnused(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, _ := e.store(t)
		ctx := t.Context()
		name, beat := deviceToken("name", 1), deviceToken("beat", 2)
		for i := range name.Slot.User {
			name.Slot.User[i], beat.Slot.User[i] = 0xff, 0
		}
		issued := func(user string, at time.Time) tokenauth.Token {
			token := deviceToken(user, 3)
			token.IssuedAt = at
			return token
		}
		before := hour.Add(500 * time.Millisecond)
		unused, justBefore, same := issued("unused", hour.Add(-time.Hour)), issued("just before", before.Add(-time.Millisecond)), issued("same", before)
		earlier, later := issued("used earlier", hour.Add(-time.Hour)), issued("used later", hour.Add(-time.Hour))
		stale := issued("stale use", hour.Add(-time.Hour))
		for _, token := range []tokenauth.Token{name, beat, unused, justBefore, same, earlier, later, stale} {
			if err := s.Replace(ctx, token); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.RecordUses(ctx, []tokenauth.Use{use(earlier, hour), use(later, hour.Add(time.Second)), use(stale, hour.Add(time.Hour))}); err != nil {
			t.Fatal(err)
		}
		stale.Digest = tokenauth.Digest{99} // a use of another token does not count
		if err := s.Replace(ctx, stale); err != nil {
			t.Fatal(err)
		}
		if ended, err := s.RevokeUnused(ctx, before); ended != 4 || err != nil {
			t.Errorf("RevokeUnused ended %d tokens, error %v, want 4", ended, err)
		}
		for _, token := range []tokenauth.Token{name, beat, same, later} {
			if _, err := s.Find(ctx, token.Slot); err != nil {
				t.Errorf("the token of %s: %v", token.Principal.UserID, err)
			}
		}
		for _, token := range []tokenauth.Token{unused, justBefore, earlier, stale} {
			if _, err := s.Find(ctx, token.Slot); !errors.Is(err, tokenauth.ErrNotFound) {
				t.Errorf("the token of %s: error %v, want ErrNotFound", token.Principal.UserID, err)
			}
		}
	})
}

// RevokeClient, and a change of a client, also end the tokens of the client's devices.
func TestClientEndingsEndDevices(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		if err := s.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "app"}); err != nil {
			t.Fatal(err)
		}
		for how, end := range map[string]func() error{
			"RevokeClient": func() error { return s.RevokeClient(t.Context(), "app") },
			"RevokeClient in a transaction": func() error {
				return db.Transaction(func(tx *gorm.DB) error { return s.WithTx(tx).RevokeClient(t.Context(), "app") })
			},
			"SetDisabled": func() error { return s.Clients().SetDisabled(t.Context(), "app", true) },
			"SetDisabled in a transaction": func() error {
				return db.Transaction(func(tx *gorm.DB) error { return s.Clients().WithTx(tx).SetDisabled(t.Context(), "app", true) })
			},
		} {
			plain, device, other := plainToken("alice", 1, time.Hour), deviceToken("alice", 1), deviceToken("alice", 2)
			plain.ClientID, plain.Slot, other.ClientID = "app", tokenauth.SlotOf("alice", "app"), "other"
			for _, token := range []tokenauth.Token{plain, device, other} {
				if err := s.Replace(t.Context(), token); err != nil {
					t.Fatal(err)
				}
			}
			if err := end(); err != nil {
				t.Fatalf("%s: %v", how, err)
			}
			if how == "SetDisabled in a transaction" && e.name == "mariadb" {
				continue // Service.Run ends the tokens
			}
			tokens, err := s.List(t.Context(), device.Slot.User)
			if err != nil || len(tokens) != 1 || tokens[0].ClientID != "other" {
				t.Errorf("%s leaves %+v, error %v", how, tokens, err)
			}
		}
	})
}

// RevokeAll ends all tokens in every cache. It keeps the row of the heartbeat.
func TestRevokeAllReachesCaches(t *testing.T) {
	t.Parallel()
	w, db := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
	auth := replica(t, w, time.Minute)
	const n = 2500
	if err := db.Exec(`INSERT INTO tokenauth_tokens SELECT decode(md5(i::text), 'hex'), '\x00000000000000000000000000000000', 1,
		decode(md5(i::text) || md5(i::text), 'hex'), NULL, 0, 99999999999, '', i::text, '', '', '{}', '' FROM generate_series(1, ?) AS i`, n).Error; err != nil {
		t.Fatal(err)
	}
	accessTokens := make([]string, 20)
	for i := range accessTokens {
		accessTokens[i] = issueTo(t, auth, fmt.Sprint("user", i))
		warm(t, auth, accessTokens[i])
	}
	if err := w.RevokeAll(t.Context()); err != nil { // by another process
		t.Fatal(err)
	}
	for _, accessToken := range accessTokens {
		refuses(t, auth, accessToken, "RevokeAll")
	}
	var rows []string
	if err := db.Raw(`SELECT user_name FROM tokenauth_tokens`).Scan(&rows).Error; err != nil || len(rows) != 1 || rows[0] != "heartbeat of the feed" {
		t.Errorf("RevokeAll leaves %q, error %v", rows, err)
	}
	if !auth.CacheStats().FeedAlive {
		t.Error("the feed is no longer alive")
	}
}

// The feed does not report that a use was recorded, or that it extended the token. It
// reports every other change of a token.
func TestFeedDoesNotReportUses(t *testing.T) {
	t.Parallel()
	w, db := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
	// A column of the host whose type has no equality must not break the trigger.
	if err := db.Exec(`ALTER TABLE tokenauth_tokens ADD COLUMN hosts json NOT NULL DEFAULT '{}'`).Error; err != nil {
		t.Fatal(err)
	}
	feed := running(t, w)
	settle := func() { // after two heartbeats all notifications have arrived
		t.Helper()
		n := feed.alive.Load()
		eventually(t, "a heartbeat comes", func() bool { return feed.alive.Load() >= n+2 })
	}
	token := deviceToken("alice", 1)
	token.IssuedAt = time.Now().UTC().Truncate(time.Millisecond)
	token.ExpiresAt = token.IssuedAt.Truncate(time.Second).Add(token.Lifetime)
	token.Principal.Attributes = map[string]string{"long": strings.Repeat(strings.Join(strings.Split(fmt.Sprint(rand.Perm(5000)), " "), ""), 3)} // TOASTed
	if err := w.Replace(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	settle()
	for hours := range 3 {
		u := use(token, token.IssuedAt.Truncate(time.Hour).Add(time.Duration(hours)*time.Hour))
		u.ExpiresAt = token.ExpiresAt.Add(time.Duration(hours) * time.Hour)
		if err := w.RecordUses(t.Context(), []tokenauth.Use{u}); err != nil {
			t.Fatal(err)
		}
	}
	settle()
	if changed, all := feed.changed.Load(), feed.all.Load(); changed+all != 0 {
		t.Errorf("the feed reported %d users, and %d times all", changed, all)
	}
	if _, expires := lastSeen(t, w.Store, "alice"); !expires.Equal(token.ExpiresAt.Add(2 * time.Hour)) {
		t.Fatalf("the token expires at %v: it was not extended", expires)
	}
	// On a busy machine the feed may just be lost and not report a change. So each change
	// is made until the feed reports it, and changes the row each time.
	for _, change := range []string{
		`roles = md5(roles)`, `digest = decode(md5(digest::text) || md5('y'), 'hex')`, `expires_at = expires_at - 1`, `expires_at = expires_at`,
		`expires_at = expires_at + 1, user_name = md5(user_name)`, `expires_at = expires_at + 1, hosts = json_build_object('a', random())`,
		`expires_at = expires_at + 1, attributes = reverse(attributes)`,
	} {
		settle()
		before := feed.changed.Load()
		eventually(t, "the feed reports "+change, func() bool {
			if err := db.Exec(`UPDATE tokenauth_tokens SET ` + change + ` WHERE user_id <> ''`).Error; err != nil {
				t.Fatal(err)
			}
			return feed.changed.Load() > before
		})
	}
}

// The check of the version before devices accepts the new trigger.
func TestVersionBeforeDevicesAcceptsTheTrigger(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	if err := gormstore.Migrate(t.Context(), db, &gormstore.Options{Feed: true}); err != nil {
		t.Fatal(err)
	}
	var triggers int
	err := db.Raw(`SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
		WHERE t.tgrelid = 'tokenauth_tokens'::regclass AND t.tgenabled = 'A'
		AND (t.tgname = 'tokenauth_tell' AND t.tgtype = 25 OR t.tgname = 'tokenauth_tell_all' AND t.tgtype = 32) AND t.tgattr::text = ''
		AND 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig) AND pg_catalog.strpos(p.prosrc, 'beat row ') > 0`).Scan(&triggers).Error
	if err != nil || triggers != 2 {
		t.Errorf("found %d triggers, error %v, want 2", triggers, err)
	}
}
