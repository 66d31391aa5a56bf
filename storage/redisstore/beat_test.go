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
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// withFeed returns a store on a client with one option, and a feed by another.
func withFeed(t *testing.T, store, feed rueidis.ClientOption, prefix string) feedStore {
	t.Helper()
	w, err := redisstore.WithFeed(newStore(t, open(t, store), prefix), feed)
	if err != nil {
		t.Fatal(err)
	}
	return w.(feedStore)
}

// do sends a command to the server or cluster.
func do(t *testing.T, client rueidis.Client, command ...string) string {
	t.Helper()
	message, err := client.Do(t.Context(), client.B().Arbitrary(command[0]).Args(command[1:]...).Build()).ToMessage()
	if err != nil && !rueidis.IsRedisNil(err) {
		t.Fatalf("%v: %v", command, err)
	}
	text, _ := message.ToString()
	return text
}

// refuses checks that Watch ends with an error that says so, and has sent no
// heartbeat.
func refuses(t *testing.T, w feedStore, says string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f := newFeed()
	err := w.Watch(ctx, 250*time.Millisecond, aliveEnds{f, cancel})
	if err == nil || !strings.HasPrefix(err.Error(), "redisstore: feed: ") || !strings.Contains(err.Error(), says) {
		t.Errorf("Watch ends with %v, not %q", err, says)
	}
	if n := f.alive(); n > 0 {
		t.Errorf("there were %d heartbeats", n)
	}
}

// An aliveEnds is a feed that ends Watch at a heartbeat.
type aliveEnds struct {
	*feed
	end context.CancelFunc
}

func (a aliveEnds) Heartbeat(asOf time.Time) { a.feed.Heartbeat(asOf); a.end() }

// endsWith waits until Watch ends with an error that says so.
func (g *watching) endsWith(t *testing.T, says string) {
	t.Helper()
	select {
	case err := <-g.ended:
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Watch ends with %v, not %q", err, says)
		}
	case <-time.After(patience):
		t.Fatalf("Watch does not end with %q", says)
	}
}

// goesOn waits for some more heartbeats.
func (g *watching) goesOn(t *testing.T) {
	t.Helper()
	before := g.alive()
	eventually(t, "alive", func() bool {
		if len(g.ended) > 0 {
			t.Fatal(<-g.ended)
		}
		return g.alive() >= before+3
	})
}

// A feed that leads elsewhere than the store's client sends no heartbeat.
func TestNoHeartbeatsFromAnotherServerOrDatabase(t *testing.T) {
	t.Parallel()
	const apart = "different servers or databases"
	here, there := option(t, throwaway.StartRedis(t).DSN()), option(t, throwaway.StartRedis(t).DSN())
	second := here
	second.SelectDB = 1
	// Another service has heartbeats with the same prefix there.
	watch(t, watched(t, there, "used:"), 200*time.Millisecond)
	watch(t, watched(t, second, "used:"), 200*time.Millisecond)
	for _, prefix := range []string{"free:", "used:"} {
		refuses(t, withFeed(t, here, there, prefix), apart)
		refuses(t, withFeed(t, here, second, prefix), apart)
		refuses(t, withFeed(t, second, here, prefix), apart)
	}
	// All is well where it should be.
	watch(t, watched(t, here, "used:"), 200*time.Millisecond).goesOn(t)
}

// A feed whose connection is not told of changes sends no heartbeat, or ends.
func TestFeedEndsIfPushMessagesAreDropped(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		const silent = "drops RESP3 push messages"
		prefix := newPrefix(t, open(t, o))
		var always, later atomic.Bool
		always.Store(true)
		refuses(t, withFeed(t, o, deaf(o, &always), prefix), silent)

		w := withFeed(t, o, deaf(o, &later), prefix)
		g := watch(t, w, 200*time.Millisecond)
		watch(t, watched(t, o, prefix), 200*time.Millisecond) // who may write the heartbeats
		g.goesOn(t)
		later.Store(true)
		g.endsWith(t, silent)
	})
}

// Where the store can change no token the feed ends, and says why.
func TestFeedEndsIfHeartbeatsCannotBeWritten(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.StartRedis(t).DSN())
	client := open(t, o)
	w := watched(t, o, "")
	for _, test := range []struct{ name, value, normal, says string }{
		{"maxmemory", "1", "0", "OOM"},
		{"min-replicas-to-write", "1", "0", "NOREPLICAS"},
	} {
		g := watch(t, w, 200*time.Millisecond)
		do(t, client, "CONFIG", "SET", test.name, test.value)
		g.endsWith(t, test.says)
		refuses(t, w, test.says)
		do(t, client, "CONFIG", "SET", test.name, test.normal)
	}
	// An operator's change of rights.
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
		g := watch(t, withFeed(t, test.store, test.feed, ""), 200*time.Millisecond)
		do(t, client, "ACL", "SETUSER", "service", test.change)
		g.endsWith(t, test.says)
		do(t, client, "ACL", "SETUSER", "service", "~tokenauth:*", "+@all")
	}
	// A database of another's.
	beats := keys(t, client, "tokenauth:")
	if len(beats) != 1 {
		t.Fatalf("the keys are %v", beats)
	}
	do(t, client, "SET", beats[0], "x")
	refuses(t, w, "WRONGTYPE")
}

// A replica that is not told of a change goes on accepting for a lease at most.
func TestTokenEndsWithinTheLease(t *testing.T) {
	t.Parallel()
	const lease = 600 * time.Millisecond
	var drops atomic.Bool
	for name, test := range map[string]struct {
		feed  func(rueidis.ClientOption) rueidis.ClientOption
		fault func(t *testing.T, client rueidis.Client, o rueidis.ClientOption)
	}{
		"SWAPDB": {nil, func(t *testing.T, client rueidis.Client, _ rueidis.ClientOption) { do(t, client, "SWAPDB", "0", "1") }},
		"SWAPDB with another service's database": {nil, func(t *testing.T, client rueidis.Client, o rueidis.ClientOption) {
			o.SelectDB = 1
			watch(t, watched(t, o, ""), 50*time.Millisecond)
			do(t, client, "SWAPDB", "0", "1")
		}},
		"SWAPDB with an older copy": {nil, func(t *testing.T, client rueidis.Client, o rueidis.ClientOption) {
			second := o
			second.SelectDB = 1
			other := open(t, second)
			for _, key := range keys(t, client, "tokenauth:0000") {
				do(t, other, "HSET", key, "beat", do(t, client, "HGET", key, "beat"))
			}
			watch(t, watched(t, o, ""), 200*time.Millisecond).goesOn(t)
			do(t, client, "SWAPDB", "0", "1")
		}},
		"push messages dropped": {
			func(o rueidis.ClientOption) rueidis.ClientOption { return deaf(o, &drops) },
			func(t *testing.T, client rueidis.Client, _ rueidis.ClientOption) {
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
			o := option(t, throwaway.StartRedis(t).DSN())
			feed := o
			if test.feed != nil {
				feed = test.feed(o)
			}
			client := open(t, o)
			auth := service(t, withFeed(t, o, feed, ""), tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
			eventually(t, "serving from the cache", func() bool { return auth.CacheStats().FeedAlive })
			accessToken := issue(t, auth, "alice", "")
			intoCache(t, auth, accessToken)
			test.fault(t, client, o)
			ended := time.Now()
			eventually(t, "refused", func() bool { return refused(t, auth, accessToken) })
			if took := time.Since(ended); took > lease+2*time.Second { // a machine may be busy
				t.Errorf("it is accepted for %v, and the lease is %v", took, lease)
			}
		})
	}
}

// A key of the heartbeats that is gone is made anew. Other keys may be gone with
// it, so the cache begins anew as well.
func TestFeedGoesOnWithoutItsKey(t *testing.T) {
	t.Parallel()
	onEach(t, ownRedis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		w := watched(t, o, "")
		one, two := watch(t, w, 200*time.Millisecond), watch(t, w, 200*time.Millisecond)
		flushes := func(g *watching) int {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.flushes
		}
		one.goesOn(t)
		if n := flushes(one) + flushes(two); n > 0 {
			t.Errorf("there were %d flushes", n)
		}
		beats := keys(t, client, "tokenauth:")
		if n := len(client.Nodes()); len(beats) != n {
			t.Fatalf("for %d masters there are the keys %v", n, beats)
		}
		for _, key := range beats {
			before := flushes(one) + flushes(two)
			if err := client.Do(t.Context(), client.B().Del().Key(key).Build()).Error(); err != nil {
				t.Fatal(err)
			}
			one.goesOn(t)
			two.goesOn(t)
			if n := flushes(one) + flushes(two); n != before+2 {
				t.Errorf("there were %d flushes", n-before)
			}
		}
		for _, node := range client.Nodes() {
			do(t, node, "FLUSHALL")
		}
		one.goesOn(t)
		two.goesOn(t)
	})
}

// However many replicas there are, one heartbeat is written for each beat. It
// invalidates no user, and is nothing of a user's to anybody.
func TestReplicasShareHeartbeats(t *testing.T) {
	t.Parallel()
	onEach(t, ownRedis, func(t *testing.T, o rueidis.ClientOption) {
		const beat = 200 * time.Millisecond
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
				t.Errorf("%d replicas have written %d heartbeats in %d beats on %d masters", replicas, n, beats, len(client.Nodes()))
			}
			for _, g := range all {
				g.mu.Lock()
				if g.flushes > 0 || len(g.reported) > 0 {
					t.Errorf("%d replicas: there were %d flushes, and %v is invalidated", replicas, g.flushes, g.reported)
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
		// The sweep of this version and, by its commands, of the last one.
		if err := w.RevokeClient(t.Context(), token.Slot.Client); err != nil {
			t.Error(err)
		}
		names := keys(t, client, "tokenauth:")
		if len(names) != len(client.Nodes()) {
			t.Errorf("the keys are %v", names)
		}
		for _, name := range names {
			if n, err := client.Do(t.Context(), client.B().Hdel().Key(name).Field(fmt.Sprintf("%x", token.Slot.Client[:])).Build()).AsInt64(); n != 0 || err != nil {
				t.Errorf("HDEL returns %d, error %v", n, err)
			}
			if life, err := client.Do(t.Context(), client.B().Ttl().Key(name).Build()).AsInt64(); life < 3500 || life > 3600 || err != nil {
				t.Errorf("%s stays for %d s, error %v", name, life, err)
			}
		}
		g.goesOn(t)
	})
}
