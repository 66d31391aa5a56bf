package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// RevokeClient changes only the keys of its own prefix, even if the prefix has
// characters that are special in the pattern of SCAN.
func TestRevokeClientChangesOnlyItsPrefix(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		plain := newPrefix(t, client)
		web := tokenauth.SlotOf("", "web").Client
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

// RevokeClient returns an error if it may have missed a user.
func TestRevokeClientFailsIfItMayMissUsers(t *testing.T) {
	t.Parallel()
	web := tokenauth.SlotOf("", "web").Client
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		server := throwaway.StartRedis(t)
		client := open(t, option(t, server.DSN()))
		s := newStore(t, client, "")
		if err := client.Do(t.Context(), client.B().Replicaof().Host("127.0.0.1").Port(1).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if err := s.RevokeClient(t.Context(), web); err == nil || !strings.Contains(err.Error(), "READONLY") {
			t.Errorf("RevokeClient on a replica returns error %v, want READONLY", err)
		}
		server.Stop(t)
		if err := s.RevokeClient(t.Context(), web); err == nil {
			t.Error("RevokeClient returns nil although the server is stopped")
		}
		server.Start(t)
		server.Pause(t)
		for name, end := range endings {
			ctx, cancel := end(t.Context())
			began := time.Now()
			if err := s.RevokeClient(ctx, web); err == nil || time.Since(began) > soon {
				t.Errorf("%s: RevokeClient on a server that hangs returns error %v after %v, want an error within %v", name, err, time.Since(began), soon)
			}
			cancel()
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
		if err := s.RevokeClient(t.Context(), web); err != nil {
			t.Error(err)
		}
		setSlot("MIGRATING", ids[to])
		if err := s.RevokeClient(t.Context(), web); err == nil || !strings.Contains(err.Error(), "moved") {
			t.Errorf("while a slot moves, RevokeClient returns error %v, want one with %q", err, "moved")
		}
		setSlot("STABLE")
		if err := s.RevokeClient(t.Context(), web); err != nil {
			t.Error(err)
		}
	})
}

// RevokeClient stops when its context ends, before it has read all keys.
func TestRevokeClientStopsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	s := newStore(t, client, newPrefix(t, client))
	token := newToken("alice", "web", 1, time.Hour)
	replace(t, s, token)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.RevokeClient(ctx, token.Slot.Client); !errors.Is(err, context.Canceled) {
		t.Errorf("RevokeClient returns error %v, want context.Canceled", err)
	}
	if _, err := s.Find(t.Context(), token.Slot); err != nil {
		t.Error(err)
	}
}
