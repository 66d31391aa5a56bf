package redisstore_test

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

func TestStorageWithSentinel(t *testing.T) {
	t.Parallel()
	_, sentinels := throwaway.StartRedisSentinel(t)
	o := option(t, sentinels[0].DSN())
	client := open(t, o)
	storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return watched(t, o, newPrefix(t, client)) })
}

// After a failover the feed reports the changes of the new master.
func TestFeedFollowsTheNewMaster(t *testing.T) {
	t.Parallel()
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		masters, replicas := throwaway.StartReplicatedRedisCluster(t)
		o := rueidis.ClientOption{DisableCache: true}
		for _, s := range append(masters, replicas...) {
			o.InitAddress = append(o.InitAddress, strings.TrimPrefix(s.DSN(), "redis://"))
		}
		feedFollows(t, o, func() {
			node := alone(t, replicas[0])
			if err := node.Do(t.Context(), node.B().ClusterFailover().Build()).Error(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the replica is a master", func() bool { return isMaster(t, node) })
		})
	})
	t.Run("sentinel", func(t *testing.T) {
		t.Parallel()
		servers, sentinels := throwaway.StartRedisSentinel(t)
		feedFollows(t, option(t, sentinels[0].DSN()), func() {
			servers[0].Kill(t)
			node := alone(t, servers[1])
			eventually(t, "the replica is a master", func() bool { return isMaster(t, node) })
		})
	})
}

func feedFollows(t *testing.T, o rueidis.ClientOption, failOver func()) {
	const lease = 2 * time.Second
	o.ConnWriteTimeout = time.Second
	options := tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}}
	one, two := cached(t, o, "tokenauth:", options), cached(t, o, "tokenauth:", options)
	flushes := two.CacheStats().Flushes
	failOver()
	eventually(t, "the feed listens to the new master", func() bool {
		stats := two.CacheStats()
		return stats.FeedAlive && stats.Flushes > flushes
	})
	for _, user := range []string{"alice", "bob", "carol", "dave", "erin", "frank"} { // spread over the masters
		var accessToken string
		eventually(t, "a token is issued", func() bool {
			grant, err := one.Issue(t.Context(), tokenauth.Principal{UserID: user}, "")
			accessToken = grant.AccessToken.Reveal()
			return err == nil
		})
		eventually(t, "the token is valid", func() bool { _, err := two.Validate(t.Context(), accessToken); return err == nil })
		intoCache(t, two, accessToken)
		if err := one.Revoke(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
		endsWithin(t, two, accessToken, time.Now(), lease, tokenauth.ErrInvalidToken)
	}
}

// alone returns a client that connects to this server only.
func alone(t *testing.T, s *throwaway.Server) rueidis.Client {
	t.Helper()
	o := option(t, s.DSN())
	o.ForceSingleClient = true
	return open(t, o)
}

func isMaster(t *testing.T, node rueidis.Client) bool {
	t.Helper()
	info, err := node.Do(t.Context(), node.B().Info().Section("replication").Build()).ToString()
	if err != nil {
		return false // Sentinel closes all connections of a new master
	}
	return strings.Contains(info, "role:master")
}

// When the slot of a heartbeat key moves to another master, all replicas of the
// service choose another key, and the feed continues.
func TestFeedGoesOnWhenASlotMoves(t *testing.T) {
	t.Parallel()
	trial.Run(t, feedGoesOnWhenASlotMoves)
}

func feedGoesOnWhenASlotMoves(t *trial.T) {
	o := cluster(t)
	client := open(t, o)
	w := watched(t, o, "")
	one, two := watch(t, w, beat), watch(t, w, beat)
	nodes, from, to := client.Nodes(), o.InitAddress[0], o.InitAddress[1]
	beats := keys(t, nodes[from], "tokenauth:")
	if len(beats) != 1 {
		t.Fatalf("the master has the keys %v, want one heartbeat key", beats)
	}
	slot, err := client.Do(t.Context(), client.B().ClusterKeyslot().Key(beats[0]).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	id := func(address string) string { return do(t, nodes[address], "CLUSTER", "MYID") }
	setSlot := func(address string, args ...string) {
		t.Helper()
		do(t, nodes[address], append([]string{"CLUSTER", "SETSLOT", strconv.FormatInt(slot, 10)}, args...)...)
	}
	setSlot(to, "IMPORTING", id(from))
	setSlot(from, "MIGRATING", id(to))
	one.goesOn(t)
	host, port, _ := net.SplitHostPort(to)
	do(t, nodes[from], "MIGRATE", host, port, beats[0], "0", "5000")
	one.goesOn(t)
	two.goesOn(t)
	for _, address := range []string{to, from} {
		setSlot(address, "NODE", id(to))
	}
	one.goesOn(t)
	two.goesOn(t)
	if left := keys(t, nodes[from], "tokenauth:"); len(left) != 1 || left[0] == beats[0] {
		t.Errorf("the master without the slot has the keys %v, want one new heartbeat key", left)
	}
}
