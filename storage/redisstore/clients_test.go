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

// RevokeClient finds the users of its prefix and nobody else's, whatever the
// prefix may mean to SCAN.
func TestRevokeClientKeepsToItsPrefix(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		plain := newPrefix(t, client)
		web := tokenauth.SlotOf("", "web").Client
		for _, prefix := range []string{plain + `[a]?*\:`, plain + `a`} {
			mine, other := newStore(t, client, prefix), newStore(t, client, plain+"ab")
			for i := range 30 { // on all servers
				replace(t, mine, newToken(fmt.Sprint("user", i), "web", 1, time.Hour))
				replace(t, other, newToken(fmt.Sprint("user", i), "web", 2, time.Hour))
			}
			if err := mine.RevokeClient(t.Context(), web); err != nil {
				t.Fatal(err)
			}
			for i := range 30 {
				slot := tokenauth.SlotOf(fmt.Sprint("user", i), "web")
				if _, err := mine.Find(t.Context(), slot); !errors.Is(err, tokenauth.ErrNotFound) {
					t.Errorf("%q: a token of the client is found: %v", prefix, err)
				}
				if _, err := other.Find(t.Context(), slot); err != nil {
					t.Errorf("%q: another store's token is gone: %v", prefix, err)
				}
			}
		}
	})
}

// A call that may have overlooked somebody says so.
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
			t.Errorf("at a replica: %v", err)
		}
		server.Stop(t)
		if err := s.RevokeClient(t.Context(), web); err == nil {
			t.Error("without a server all is well")
		}
		server.Start(t)
		server.Pause(t)
		for name, end := range endings {
			ctx, cancel := end(t.Context())
			began := time.Now()
			if err := s.RevokeClient(ctx, web); err == nil || time.Since(began) > patience {
				t.Errorf("%s: a server that hangs: %v after %v", name, err, time.Since(began))
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
			t.Errorf("while a slot moves: %v", err)
		}
		setSlot("STABLE")
		if err := s.RevokeClient(t.Context(), web); err != nil {
			t.Error(err)
		}
	})
}

// It ends in the middle when its context does.
func TestRevokeClientEndsWithItsContext(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	s := newStore(t, client, newPrefix(t, client))
	token := newToken("alice", "web", 1, time.Hour)
	replace(t, s, token)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.RevokeClient(ctx, token.Slot.Client); !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if _, err := s.Find(t.Context(), token.Slot); err != nil {
		t.Error(err)
	}
}
