package inject

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// sentinelTarget starts servers of its own, because the faults kill them.
func sentinelTarget(tb testing.TB) *Target {
	tb.Helper()
	servers, sentinels := throwaway.StartRedisSentinel(tb)
	option, err := store.SentinelOption(sentinels[0].DSN())
	must(tb, err)
	p := &Target{Connect: func(tb testing.TB, _ []*network.Network) tokenauth.Storage { return store.OpenRedis(tb, option) }}
	set := option.Sentinel.MasterSet
	var watch []*redisServer
	for _, address := range option.InitAddress {
		watch = append(watch, newRedisServer(tb, rueidis.ClientOption{InitAddress: []string{address}}))
	}
	f := &failover{tb: tb, master: newMember(tb, servers[0]), replica: newMember(tb, servers[1])}
	f.hand = func(ctx context.Context, _ *member) error { return watch[0].do("SENTINEL FAILOVER " + set)(ctx) }
	f.agreed = func(ctx context.Context, on *member, _ ...*member) error {
		for _, sentinel := range watch {
			if err := sentinel.says(ctx, "sentinel", "status=ok,address="+on.address+","); err != nil {
				return err
			}
		}
		return on.says(ctx, "replication", "role:master")
	}
	// The sentinels notify clients at once, but the old master only after 10 seconds.
	// A client may still wait for an answer of the old master.
	f.split = store.RedisPatience + 200*time.Millisecond
	patience := "SENTINEL SET " + set + " down-after-milliseconds "
	f.ready = func(context.Context) error { return nil }
	f.alert = all(watch, patience+"500")
	f.calm = all(watch, patience+"5000")
	f.tidy = func(ctx context.Context) error {
		f.master, f.replica = f.replica, f.master
		host, port, err := net.SplitHostPort(f.master.address)
		if err != nil {
			return err
		}
		if err := f.replica.do("REPLICAOF " + host + " " + port)(ctx); err != nil {
			return err
		}
		if err := f.follows(ctx, f.replica); err != nil {
			return err
		}
		// Sentinels check a replica every 10 seconds. A sentinel that has not seen yet
		// that the old master is a replica would make it one again, even if it has
		// become the master meanwhile.
		if err := all(watch, "SENTINEL RESET "+set)(ctx); err != nil {
			return err
		}
		for _, sentinel := range watch {
			if err := sentinel.says(ctx, "sentinel", fmt.Sprintf("status=ok,address=%s,slaves=1,sentinels=%d", f.master.address, len(watch))); err != nil {
				return err
			}
		}
		return nil
	}
	p.Faults = serverFaults(tb, sentinels[0], nil)
	for _, fault := range p.Faults {
		fault.Name = strings.Replace(fault.Name, "server", "a sentinel", 1)
	}
	p.Faults = append(p.Faults, f.faults()...)
	p.Afterwards = tellPatience
	return p
}
