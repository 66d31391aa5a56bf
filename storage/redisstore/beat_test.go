package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// withFeed returns a store on a client with the option store, and with a feed
// with the option feed.
func withFeed(t testing.TB, store, feed rueidis.ClientOption, prefix string) feedStore {
	t.Helper()
	w, err := redisstore.WithFeed(newStore(t, open(t, store), prefix), feed)
	if err != nil {
		t.Fatal(err)
	}
	return w.(feedStore)
}

// do sends a command to the server or cluster.
func do(t testing.TB, client rueidis.Client, command ...string) string {
	t.Helper()
	message, err := client.Do(t.Context(), client.B().Arbitrary(command[0]).Args(command[1:]...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%v: %v", command, err)
	}
	text, _ := message.ToString()
	return text
}

// refuses checks that Watch returns an error that contains the text, and sends no
// heartbeat.
func refuses(t testing.TB, w feedStore, says string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f := newFeed()
	err := w.Watch(ctx, patience, aliveEnds{f, cancel}) // the first check fails, so the beat may be long
	if err == nil || !strings.HasPrefix(err.Error(), "redisstore: feed: ") || !strings.Contains(err.Error(), says) {
		t.Errorf("Watch returns error %v, want one with %q", err, says)
	}
	if n := f.alive(); n > 0 {
		t.Errorf("Watch sent %d heartbeats, want 0", n)
	}
}

// An aliveEnds is a feed that cancels Watch at the first heartbeat.
type aliveEnds struct {
	*feed
	end context.CancelFunc
}

func (a aliveEnds) Heartbeat(asOf time.Time) { a.feed.Heartbeat(asOf); a.end() }

// endsWith waits until Watch returns an error that contains the text.
func (g *watching) endsWith(t *trial.T, says string) {
	t.Helper()
	select {
	case err := <-g.ended:
		if err == nil || !strings.HasPrefix(err.Error(), "redisstore: feed: ") || !strings.Contains(err.Error(), says) {
			lateIfTimeout(t, err)
			t.Errorf("Watch returns error %v, want one with %q", err, says)
		}
	case <-time.After(patience):
		t.Fatalf("Watch has not returned, want an error with %q", says)
	}
}

// goesOn waits for two more heartbeats. The second check began after the call.
func (g *watching) goesOn(t *trial.T) {
	t.Helper()
	before := g.alive()
	g.until(t, "two more heartbeats", func() bool { return g.alive() >= before+2 })
}

// A feed on another server or database than the store's client sends no
// heartbeat.
func TestNoHeartbeatsFromAnotherServerOrDatabase(t *testing.T) {
	t.Parallel()
	trial.Run(t, noHeartbeatsFromAnotherServerOrDatabase)
}

func noHeartbeatsFromAnotherServerOrDatabase(t *trial.T) {
	const apart = "different servers or databases"
	here, there := option(t, throwaway.StartRedis(t).DSN()), option(t, throwaway.StartRedis(t).DSN())
	second := here
	second.SelectDB = 1
	// The other server and database have heartbeats with the same prefix.
	watch(t, watched(t, there, "used:"), beat)
	watch(t, watched(t, second, "used:"), beat)
	for _, prefix := range []string{"free:", "used:"} {
		refuses(t, withFeed(t, here, there, prefix), apart)
		refuses(t, withFeed(t, here, second, prefix), apart)
		refuses(t, withFeed(t, second, here, prefix), apart)
	}
	// A feed on the right server and database works.
	watch(t, watched(t, here, "used:"), beat).goesOn(t)
}

// A feed that receives no push messages sends no heartbeat. If the messages stop
// later, Watch ends.
func TestFeedEndsIfPushMessagesAreDropped(t *testing.T) {
	t.Parallel()
	tryOnEach(t, throwaway.Redis, func(t *trial.T, o rueidis.ClientOption) {
		const silent = "drops RESP3 push messages"
		prefix := newPrefix(t, open(t, o))
		var always, later atomic.Bool
		always.Store(true)
		refuses(t, withFeed(t, o, deaf(o, &always), prefix), silent)

		w := withFeed(t, o, deaf(o, &later), prefix)
		g := watch(t, w, beat)
		watch(t, watched(t, o, prefix), beat) // another replica, which may write the heartbeats
		g.goesOn(t)
		later.Store(true)
		g.endsWith(t, silent)
	})
}

// If the store cannot change tokens, Watch ends, and its error has the reason.
func TestFeedEndsIfHeartbeatsCannotBeWritten(t *testing.T) {
	t.Parallel()
	trial.Run(t, feedEndsIfHeartbeatsCannotBeWritten)
}

func feedEndsIfHeartbeatsCannotBeWritten(t *trial.T) {
	o := option(t, throwaway.StartRedis(t).DSN())
	client := open(t, o)
	w := watched(t, o, "")
	for _, test := range []struct{ name, value, normal, says string }{
		{"maxmemory", "1", "0", "OOM"},
		{"min-replicas-to-write", "1", "0", "NOREPLICAS"},
	} {
		g := watch(t, w, beat)
		do(t, client, "CONFIG", "SET", test.name, test.value)
		g.endsWith(t, test.says)
		refuses(t, w, test.says)
		do(t, client, "CONFIG", "SET", test.name, test.normal)
	}
	// An operator changes the rights of the Redis user.
	do(t, client, "ACL", "SETUSER", "service", "reset", "on", ">password", "~tokenauth:*", "+@all")
	restricted := o
	restricted.Username, restricted.Password = "service", "password"
	const cannotWrite, cannotRead = "cannot write the heartbeat", "the feed's connection cannot read the heartbeat: NOPERM"
	for _, test := range []struct {
		store, feed rueidis.ClientOption
		change      string
		says        string
	}{
		{restricted, o, "-evalsha", cannotWrite},
		{restricted, o, "-hset", cannotWrite},
		{o, restricted, "-hget", cannotRead},
		{o, restricted, "resetkeys", cannotRead},
	} {
		g := watch(t, withFeed(t, test.store, test.feed, ""), beat)
		do(t, client, "ACL", "SETUSER", "service", test.change)
		g.endsWith(t, test.says)
		do(t, client, "ACL", "SETUSER", "service", "~tokenauth:*", "+@all")
	}
	// The key of the heartbeats is used for another type.
	beats := keys(t, client, "tokenauth:")
	if len(beats) != 1 {
		t.Fatalf("the keys are %v, want one heartbeat key", beats)
	}
	do(t, client, "SET", beats[0], "x")
	refuses(t, w, "WRONGTYPE")
}

// A replica that receives no report of a change accepts the token until the lease
// ends, and no longer.
func TestTokenEndsWithinTheLease(t *testing.T) {
	t.Parallel()
	const lease = 600 * time.Millisecond
	var drops atomic.Bool
	for name, test := range map[string]struct {
		feed  func(rueidis.ClientOption) rueidis.ClientOption
		fault func(t *trial.T, client rueidis.Client, o rueidis.ClientOption)
	}{
		"SWAPDB": {nil, func(t *trial.T, client rueidis.Client, _ rueidis.ClientOption) { do(t, client, "SWAPDB", "0", "1") }},
		"SWAPDB with another service's database": {nil, func(t *trial.T, client rueidis.Client, o rueidis.ClientOption) {
			o.SelectDB = 1
			watch(t, watched(t, o, ""), beat/4)
			do(t, client, "SWAPDB", "0", "1")
		}},
		"SWAPDB with an older copy": {nil, func(t *trial.T, client rueidis.Client, o rueidis.ClientOption) {
			second := o
			second.SelectDB = 1
			other := open(t, second)
			for _, key := range keys(t, client, "tokenauth:0000") {
				do(t, other, "HSET", key, "beat", do(t, client, "HGET", key, "beat"))
			}
			watch(t, watched(t, o, ""), beat).goesOn(t)
			do(t, client, "SWAPDB", "0", "1")
		}},
		"push messages dropped": {
			func(o rueidis.ClientOption) rueidis.ClientOption {
				drops.Store(false) // an earlier run may have set it
				return deaf(o, &drops)
			},
			func(t *trial.T, client rueidis.Client, _ rueidis.ClientOption) {
				drops.Store(true)
				for _, key := range keys(t, client, "tokenauth:") {
					if !strings.HasPrefix(key, "tokenauth:0000") {
						do(t, client, "DEL", key)
					}
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial.Run(t, func(t *trial.T) {
				o := option(t, throwaway.StartRedis(t).DSN())
				feed := o
				if test.feed != nil {
					feed = test.feed(o)
				}
				client := open(t, o)
				auth := service(t, withFeed(t, o, feed, ""), tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
				eventually(t, "the cache serves", func() bool { return auth.CacheStats().FeedAlive })
				accessToken := issue(t, auth, "alice", "")
				intoCache(t, auth, accessToken)
				test.fault(t, client, o)
				endsWithin(t, auth, accessToken, time.Now(), lease, tokenauth.ErrInvalidToken)
			})
		})
	}
}

// If the key of the heartbeats is removed, the feed creates it again. Other keys
// may have been removed with it, so the feed invalidates all tokens.
func TestFeedSurvivesTheRemovalOfItsKey(t *testing.T) {
	t.Parallel()
	tryOnEach(t, ownRedis, func(t *trial.T, o rueidis.ClientOption) {
		client := open(t, o)
		w := watched(t, o, "")
		one, two := watch(t, w, beat), watch(t, w, beat)
		flushes := func(g *watching) int {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.flushes
		}
		one.goesOn(t)
		if n := flushes(one) + flushes(two); n > 0 {
			t.Errorf("before the removal the feeds invalidated all tokens %d times, want 0", n)
		}
		beats := keys(t, client, "tokenauth:")
		if n := len(client.Nodes()); len(beats) != n {
			t.Fatalf("%d masters have the keys %v, want one each", n, beats)
		}
		for _, key := range beats {
			before := flushes(one) + flushes(two)
			if err := client.Do(t.Context(), client.B().Del().Key(key).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			one.goesOn(t)
			two.goesOn(t)
			if n := flushes(one) + flushes(two); n != before+2 {
				t.Errorf("the feeds invalidated all tokens %d times, want 2", n-before)
			}
		}
		for _, node := range client.Nodes() {
			do(t, node, "FLUSHALL")
		}
		one.goesOn(t)
		two.goesOn(t)
	})
}

// All replicas together write one heartbeat in each beat on each master. It
// invalidates no user, and does not affect RevokeClient or the tokens of a user.
func TestReplicasShareHeartbeats(t *testing.T) {
	t.Parallel()
	tryOnEach(t, ownRedis, func(t *trial.T, o rueidis.ClientOption) {
		client := open(t, o)
		writes := func() (n int) {
			for _, node := range client.Nodes() {
				for line := range strings.Lines(do(t, node, "INFO", "commandstats")) {
					var calls int
					if _, err := fmt.Sscanf(line, "cmdstat_hset:calls=%d,", &calls); err == nil {
						n += calls
					}
				}
			}
			return n
		}
		for _, replicas := range []int{1, 3} {
			var all []*watching
			for range replicas {
				all = append(all, watch(t, watched(t, o, ""), beat))
			}
			began, before := time.Now(), writes()
			for range 4 {
				for _, g := range all {
					g.goesOn(t)
				}
			}
			beats := int(time.Since(began)/beat) + 1
			if n := writes() - before; n < 3*len(client.Nodes()) || n > (beats+beats/4+1)*len(client.Nodes()) {
				t.Errorf("%d replicas wrote %d heartbeats in %d beats on %d masters, want about one in each beat on each master", replicas, n, beats, len(client.Nodes()))
			}
			for _, g := range all {
				g.mu.Lock()
				if g.flushes > 0 || len(g.reported) > 0 {
					t.Errorf("%d replicas: a feed invalidated all tokens %d times, and the users %v, want none", replicas, g.flushes, g.reported)
				}
				g.mu.Unlock()
				if err := g.end(t); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		}
		w := watched(t, o, "")
		token := newToken("alice", "web", 1, time.Hour)
		replace(t, w, token)
		g := watch(t, w, beat)
		// RevokeClient of this version, and the commands of its last version.
		if err := w.RevokeClient(t.Context(), token.Slot.Client); err != nil {
			t.Error(err)
		}
		names := keys(t, client, "tokenauth:")
		if len(names) != len(client.Nodes()) {
			t.Errorf("the keys are %v, want one heartbeat key on each master", names)
		}
		for _, name := range names {
			if n, err := client.Do(t.Context(), client.B().Hdel().Key(name).Field(fmt.Sprintf("%x", token.Slot.Client[:])).Build()).AsInt64(); n != 0 || err != nil {
				t.Errorf("HDEL of a client's field in %s returns %d, error %v, want 0", name, n, err)
			}
			if life, err := client.Do(t.Context(), client.B().Ttl().Key(name).Build()).AsInt64(); life < 3500 || life > 3600 || err != nil {
				t.Errorf("%s stays for %d s, error %v, want an hour", name, life, err)
			}
		}
		g.goesOn(t)
	})
}
