package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// RevokeClient changes only the keys of its own prefix, even if the prefix has
// characters that are special in the pattern of SCAN.
func TestRevokeClientChangesOnlyItsPrefix(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		plain := newPrefix(t, client)
		const web = "web"
		for _, prefix := range []string{plain + `[a]?*\:`, plain + `a`} {
			mine, other := newStore(t, client, prefix), newStore(t, client, plain+"ab")
			for i := range 30 { // spread over all servers
				replace(t, mine, newToken(fmt.Sprint("user", i), "web", 1, time.Hour))
				replace(t, other, newToken(fmt.Sprint("user", i), "web", 2, time.Hour))
			}
			if err := mine.RevokeClient(t.Context(), web); err != nil {
				t.Fatal(err)
			}
			for i := range 30 {
				slot := tokenauth.SlotOf(fmt.Sprint("user", i), "web")
				if _, err := mine.Find(t.Context(), slot); !errors.Is(err, tokenauth.ErrNotFound) {
					t.Errorf("prefix %q: Find of a revoked token returns error %v, want ErrNotFound", prefix, err)
				}
				if _, err := other.Find(t.Context(), slot); err != nil {
					t.Errorf("prefix %q: RevokeClient removed a token of another store: %v", prefix, err)
				}
			}
		}
	})
}

// sweeps are the calls that change the tokens of all users.
var sweeps = map[string]func(context.Context, *redisstore.Store) error{
	"RevokeClient": func(ctx context.Context, s *redisstore.Store) error { return s.RevokeClient(ctx, "web") },
	"RevokeAll":    func(ctx context.Context, s *redisstore.Store) error { return s.RevokeAll(ctx) },
	"RevokeUnused": func(ctx context.Context, s *redisstore.Store) error {
		_, err := s.RevokeUnused(ctx, time.Now().Add(time.Hour))
		return err
	},
}

// A sweep returns an error if it may have missed a user.
func TestSweepsFailIfTheyMayMissUsers(t *testing.T) {
	t.Parallel()
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		server := throwaway.StartRedis(t)
		client := open(t, option(t, server.DSN()))
		s := newStore(t, client, "")
		if err := client.Do(t.Context(), client.B().Replicaof().Host("127.0.0.1").Port(1).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		for call, sweep := range sweeps {
			if err := sweep(t.Context(), s); err == nil || !strings.Contains(err.Error(), "READONLY") {
				t.Errorf("%s on a replica returns error %v, want READONLY", call, err)
			}
		}
		server.Stop(t)
		for call, sweep := range sweeps {
			if err := sweep(t.Context(), s); err == nil {
				t.Errorf("%s returns nil although the server is stopped", call)
			}
		}
		server.Start(t)
		server.Pause(t)
		for name, end := range endings {
			for call, sweep := range sweeps {
				ctx, cancel := end(t.Context())
				began := time.Now()
				if err := sweep(ctx, s); err == nil || time.Since(began) > soon {
					t.Errorf("%s: %s on a server that hangs returns error %v after %v, want an error within %v", name, call, err, time.Since(began), soon)
				}
				cancel()
			}
		}
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		o := rueidis.ClientOption{InitAddress: throwaway.RedisCluster(t), DisableCache: true}
		client := open(t, o)
		s := newStore(t, client, "")
		nodes, ids := client.Nodes(), map[string]string{}
		for address, node := range nodes {
			id, err := node.Do(t.Context(), node.B().ClusterMyid().Build()).ToString()
			if err != nil {
				t.Fatal(err)
			}
			ids[address] = id
		}
		from, to := o.InitAddress[0], o.InitAddress[1]
		setSlot := func(args ...string) {
			t.Helper()
			node := nodes[from]
			if err := node.Do(t.Context(), node.B().Arbitrary("CLUSTER", "SETSLOT", "0").Args(args...).Build()).Error(); err != nil {
				t.Fatal(err)
			}
		}
		for call, sweep := range sweeps {
			if err := sweep(t.Context(), s); err != nil {
				t.Errorf("%s: %v", call, err)
			}
			setSlot("MIGRATING", ids[to])
			if err := sweep(t.Context(), s); err == nil || !strings.Contains(err.Error(), "moved") {
				t.Errorf("while a slot moves, %s returns error %v, want one with %q", call, err, "moved")
			}
			setSlot("STABLE")
			if err := sweep(t.Context(), s); err != nil {
				t.Errorf("%s: %v", call, err)
			}
		}
	})
}

// A sweep stops when its context ends, before it has read all keys.
func TestSweepsStopWhenTheirContextEnds(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	s := newStore(t, client, newPrefix(t, client))
	token := newToken("alice", "web", 1, time.Hour)
	replace(t, s, token)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for call, sweep := range sweeps {
		if err := sweep(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("%s returns error %v, want context.Canceled", call, err)
		}
	}
	if _, err := s.Find(t.Context(), token.Slot); err != nil {
		t.Error(err)
	}
}

// RevokeClient removes the client's tokens on devices, whose field names do not
// show the client. It keeps the tokens of other clients.
func TestRevokeClientRemovesDeviceTokens(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		s := newStore(t, client, newPrefix(t, client))
		for i := range 30 {
			user := fmt.Sprint("user", i)
			var gone, stay []tokenauth.Token
			for d := range byte(4) {
				token := deviceToken(user, d, "phone", time.Hour)
				if d >= 2 {
					token.ClientID = []string{"ap", "appl"}[d-2]
					stay = append(stay, token)
				} else {
					gone = append(gone, token)
				}
			}
			plain := newToken(user, "app", 10, time.Hour)
			named := newToken(user, "", 11, time.Hour)
			named.Principal.UserName = "app"
			for _, token := range append(append(gone, plain), append(stay, named)...) {
				replace(t, s, token)
			}
		}
		if err := s.RevokeClient(t.Context(), "app"); err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			tokens, err := s.List(t.Context(), tokenauth.UserKeyOf(fmt.Sprint("user", i)))
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, token := range tokens {
				left = append(left, token.ClientID)
			}
			slices.Sort(left)
			if want := []string{"", "ap", "appl"}; !slices.Equal(left, want) {
				t.Errorf("user %d has tokens at the clients %q, want %q", i, left, want)
			}
		}
	})
}

// RevokeAll removes all keys of users, and every cache refuses their tokens. It
// keeps the heartbeats, so the feed continues, and the keys of other services.
func TestRevokeAllReachesEveryCache(t *testing.T) {
	t.Parallel()
	tryOnEach(t, throwaway.Redis, func(t *trial.T, o rueidis.ClientOption) {
		client := open(t, o)
		plain := newPrefix(t, client)
		prefix := plain + "a"
		other := newStore(t, client, plain+"ab")
		auth := cached(t, o, prefix, tokenauth.Options{})
		s := newStore(t, client, prefix)
		var accessTokens []string
		for i := range 30 {
			user := fmt.Sprint("user", i)
			accessToken := issue(t, auth, user, "")
			intoCache(t, auth, accessToken)
			accessTokens = append(accessTokens, accessToken)
			token := deviceToken(user, 1, "phone", time.Hour)
			replace(t, s, token)
			record(t, s, useOf(token, time.Now()))
			replace(t, other, token)
			record(t, other, useOf(token, time.Now()))
		}
		g := watch(t, watched(t, o, prefix), beat)
		if err := s.RevokeAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, accessToken := range accessTokens {
			eventually(t, fmt.Sprintf("token %d is refused", i), func() bool { return refused(t, auth, accessToken) })
		}
		g.goesOn(t)
		g.mu.Lock()
		if g.flushes > 0 || len(g.reported) < len(accessTokens) {
			t.Errorf("the feed invalidated all tokens %d times, and reported %d users, want 0 and %d", g.flushes, len(g.reported), len(accessTokens))
		}
		g.mu.Unlock()
		for _, name := range append(keys(t, client, prefix), keys(t, client, "{"+prefix)...) {
			if strings.HasPrefix(strings.TrimPrefix(name, "{"), prefix+"b") || strings.HasPrefix(name, prefix+strings.Repeat("0", 24)) {
				continue // of the other service, or a heartbeat
			}
			t.Errorf("after RevokeAll there is a key %s", name)
		}
		for i := range accessTokens {
			token := deviceToken(fmt.Sprint("user", i), 1, "", time.Hour)
			if got := listed(t, other, token.Slot.User, token.Digest); got.LastSeen.IsZero() {
				t.Errorf("RevokeAll changed a token of another service to %v", got)
			}
		}
	})
}

// RevokeUnused removes the tokens that were issued before a time and not used
// since then, and their records. It reports them to the feed.
func TestRevokeUnusedRemovesOldTokens(t *testing.T) {
	t.Parallel()
	tryOnEach(t, throwaway.Redis, func(t *trial.T, o rueidis.ClientOption) {
		const users = 30
		client := open(t, o)
		prefix := newPrefix(t, client)
		w := watched(t, o, prefix)
		now := time.Now().Truncate(time.Second).UTC()
		before := now.Add(-time.Hour + 500*time.Millisecond)
		names := tokenauth.UserKey(bytes.Repeat([]byte{0xFF}, 16))
		service := newToken("", "", 99, time.Hour)
		service.Slot.User, service.IssuedAt = names, now.AddDate(0, 0, -10)
		replace(t, w, service)
		type test struct {
			name     string
			issuedAt time.Time
			usedAt   time.Time // zero for no use
			stale    bool      // whether the use is of the token before
			ends     bool
		}
		tests := []test{
			{name: "old, not used", issuedAt: before.Add(-time.Hour), ends: true},
			{name: "issued before 1970", issuedAt: time.Unix(-1, 0), ends: true},
			{name: "in the same second, milliseconds before", issuedAt: before.Add(-time.Millisecond), ends: true},
			{name: "in the same second, at the time", issuedAt: before},
			{name: "new", issuedAt: now},
			{name: "old, used since", issuedAt: before.Add(-time.Hour), usedAt: now},
			{name: "old, used in the next second", issuedAt: before.Add(-time.Hour), usedAt: before.Add(500 * time.Millisecond)},
			{name: "old, used in the second before", issuedAt: before.Add(-time.Hour), usedAt: before.Add(-500 * time.Millisecond), ends: true},
			{name: "old, used long ago", issuedAt: before.Add(-2 * time.Hour), usedAt: before.Add(-time.Hour), ends: true},
			{name: "old, the token before was used", issuedAt: before.Add(-time.Hour), usedAt: now, stale: true, ends: true},
		}
		tokenOf := func(user, i int) tokenauth.Token {
			token := deviceToken(fmt.Sprint("user", user), byte(i), "", 24*time.Hour)
			token.IssuedAt, token.Digest[1] = tests[i].issuedAt.UTC(), 1
			return token
		}
		want := int64(0)
		for user := range users {
			for i, test := range tests {
				token := tokenOf(user, i)
				replace(t, w, token)
				use := useOf(token, test.usedAt)
				if test.stale {
					old := token
					old.Digest[1] = 0
					use.Digest = old.Digest
					replace(t, w, old)
				}
				if !test.usedAt.IsZero() {
					record(t, w, use)
				}
				if test.stale {
					replace(t, w, token)
				}
				if test.ends {
					want++
				}
			}
		}
		g := watch(t, w, beat)
		if ended, err := w.RevokeUnused(t.Context(), before); err != nil || ended != want {
			t.Errorf("RevokeUnused returns %d, error %v, want %d", ended, err, want)
		}
		g.goesOn(t)
		g.mu.Lock()
		if len(g.reported) != users || g.flushes > 0 {
			t.Errorf("the feed reported %d users, and invalidated all tokens %d times, want %d and 0", len(g.reported), g.flushes, users)
		}
		g.mu.Unlock()
		if ended, err := w.RevokeUnused(t.Context(), before); err != nil || ended != 0 {
			t.Errorf("a second RevokeUnused returns %d, error %v, want 0", ended, err)
		}
		for user := range users {
			for i, test := range tests {
				token := tokenOf(user, i)
				_, err := w.Find(t.Context(), token.Slot)
				if ends := errors.Is(err, tokenauth.ErrNotFound); ends != test.ends {
					t.Errorf("user %d: %s: Find returns error %v, want ErrNotFound: %v", user, test.name, err, test.ends)
				}
				record := do(t, client, "HGET", usesKey(prefix, token.Slot.User), fmt.Sprintf("%x", token.Slot.Client[:]))
				if (record != "") != (!test.usedAt.IsZero() && !test.ends) {
					t.Errorf("user %d: %s: the record is %q", user, test.name, record)
				}
			}
		}
		if _, err := w.Find(t.Context(), service.Slot); err != nil {
			t.Errorf("Find of a service's name returns error %v", err)
		}
	})
}
