package inject

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/examples/torture/internal/network"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A redisCluster is a Redis Cluster into which faults are injected.
type redisCluster struct {
	masters []*member
	nodes   []*member // the masters, then their replicas
}

// clusterTarget starts a cluster of its own, because the faults kill masters.
func clusterTarget(tb testing.TB) *Target {
	tb.Helper()
	masters, replicas := throwaway.StartReplicatedRedisCluster(tb)
	c := new(redisCluster)
	p := &Target{Network: "tcp"}
	for _, server := range append(masters, replicas...) {
		m := newMember(tb, server)
		p.Addresses = append(p.Addresses, m.address)
		c.nodes = append(c.nodes, m)
	}
	c.masters = c.nodes[:len(masters)]
	for _, m := range c.nodes[len(masters):] {
		must(tb, m.do(neverTakeOver)(tb.Context()))
	}
	p.Connect = func(tb testing.TB, networks []*network.Network) tokenauth.Storage {
		option := rueidis.ClientOption{InitAddress: p.Addresses, ConnWriteTimeout: store.RedisPatience}
		if networks != nil {
			// The nodes tell clients their own addresses, not those of the networks.
			entrances := make(map[string]string)
			for i, address := range p.Addresses {
				entrances[address] = networks[i].Entrance()
			}
			option.DialCtxFn = throughEntrances(entrances)
		}
		return store.OpenRedis(tb, option)
	}
	p.Faults = append(c.faults(tb), networkFaults()...)
	p.Faults = append(p.Faults, c.failover(tb, c.masters[0], c.nodes[len(masters)]).faults()...)
	p.Afterwards = tellPatience
	return p
}

// throughEntrances returns a dial function that connects to the entrance in front of
// an address.
func throughEntrances(entrances map[string]string) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		entrance, ok := entrances[address]
		if !ok {
			return nil, fmt.Errorf("torture: inject: there is no network before the node %s", address)
		}
		return d.DialContext(ctx, "tcp", entrance)
	}
}

// faults returns the faults of one master and of the whole cluster.
func (c *redisCluster) faults(tb testing.TB) []*Fault {
	faults := serverFaults(tb, c.masters[0].server, c.whole)
	for _, f := range faults {
		f.Name = "a master: " + f.Name
	}
	kill := c.all("CLIENT KILL TYPE normal")
	return append(faults,
		&Fault{Name: "a master killed, until the others say CLUSTERDOWN", Lasts: 3 * time.Second, Strike: func(ctx context.Context) (func() error, error) {
			if err := c.all("CONFIG SET cluster-node-timeout 500")(ctx); err != nil {
				return nil, err
			}
			c.masters[0].server.Kill(tb)
			return func() error {
				c.masters[0].server.Start(tb)
				if err := c.whole(); err != nil {
					return err
				}
				return c.all("CONFIG SET cluster-node-timeout 15000")(ctx)
			}, nil
		}},
		once("connections killed, once", kill),
		while("connections killed, 20 times a second", whileItLasts, Again(50*time.Millisecond, kill)),
		fromTo("out of memory", c.all("CONFIG SET maxmemory 1"), c.all("CONFIG SET maxmemory 0")),
		fromTo("a master out of memory", c.masters[0].do("CONFIG SET maxmemory 1"), c.masters[0].do("CONFIG SET maxmemory 0")),
		&Fault{Name: "a master busy with a script", Lasts: whileItLasts, Strike: c.masters[0].busy},
		// Without a master for a slot, the cluster answers CLUSTERDOWN.
		fromTo("a slot without a master", c.all("CLUSTER DELSLOTS 0"), func(ctx context.Context) error {
			if err := c.masters[0].do("CLUSTER ADDSLOTS 0")(ctx); err != nil {
				return err
			}
			return c.whole()
		}),
	)
}

// all returns a function that sends the command to all nodes except some.
func (c *redisCluster) all(command string, but ...*member) func(context.Context) error {
	var servers []*redisServer
	for _, node := range c.nodes {
		if !slices.Contains(but, node) {
			servers = append(servers, node.redisServer)
		}
	}
	return all(servers, command)
}

// whole returns when all nodes report that the cluster is ok, and all replicas that
// they follow their masters. A restarted master reports it only after some seconds.
func (c *redisCluster) whole() error {
	ctx := context.Background()
	for i, node := range c.nodes {
		well := func(answer string) bool { return strings.Contains(answer, "cluster_state:ok") }
		if err := node.until(ctx, well, "CLUSTER", "INFO"); err != nil {
			return err
		}
		if i >= len(c.masters) {
			if err := node.says(ctx, "replication", "role:slave", "master_link_status:up"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Replicas of the cluster take over by themselves only if the fault requires it.
const (
	neverTakeOver = "CONFIG SET cluster-replica-no-failover yes"
	takeOver      = "CONFIG SET cluster-replica-no-failover no"
)

// failover returns a fail-over from the master to the replica. Its tidy makes the
// master the master again.
func (c *redisCluster) failover(tb testing.TB, master, replica *member) *failover {
	const before, now = "CONFIG SET cluster-node-timeout 15000", "CONFIG SET cluster-node-timeout 1000"
	f := &failover{tb: tb, master: master, replica: replica}
	f.hand = func(ctx context.Context, to *member) error { return to.do("CLUSTER FAILOVER")(ctx) }
	f.agreed = func(ctx context.Context, on *member, told ...*member) error {
		for _, node := range c.nodes {
			if (node == master || node == replica) && !slices.Contains(told, node) {
				continue
			}
			if err := node.until(ctx, on.isMaster, "CLUSTER", "NODES"); err != nil {
				return err
			}
		}
		return nil
	}
	// The other masters vote for a replica of one master at most once in twice
	// cluster-node-timeout. For that time, and at least for 2 seconds, a node that took
	// over keeps its votes. If it must take over by hand again meanwhile, Redis 7.0
	// counts them once more, and there are two masters.
	f.rest = 4 * time.Second
	f.ready = c.all(now)
	f.alert = replica.do(takeOver)
	f.calm = c.all(before, master)
	f.tidy = func(ctx context.Context) error {
		if err := f.follows(ctx, master); err != nil {
			return err
		}
		if err := f.ready(ctx); err != nil { // a restarted master has the default settings
			return err
		}
		if err := f.handOver(ctx, noWitness{}, master, replica); err != nil {
			return err
		}
		if err := replica.do(neverTakeOver)(ctx); err != nil {
			return err
		}
		if err := c.all(before)(ctx); err != nil {
			return err
		}
		return c.whole()
	}
	return f
}

// isMaster reports whether the answer to CLUSTER NODES shows the node as a master
// with slots.
func (m *member) isMaster(nodes string) bool {
	for line := range strings.Lines(nodes) {
		// Fields: ID, address, flags, master, ping, pong, epoch, link, and slots.
		fields := strings.Fields(line)
		if len(fields) > 8 && strings.HasPrefix(fields[1], m.address+"@") {
			return strings.Contains(fields[2], "master")
		}
	}
	return false
}
