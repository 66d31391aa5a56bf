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

// A redisCluster is one that has faults.
type redisCluster struct {
	masters []*member
	nodes   []*member // and their replicas
}

// clusterTarget starts a cluster of its own, as its masters have to be killed.
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
			// The nodes tell of each other by their own addresses.
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

// throughEntrances connects to what is in front of an address.
func throughEntrances(entrances map[string]string) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, address string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
		entrance, ok := entrances[address]
		if !ok {
			return nil, fmt.Errorf("torture: there is no node %s", address)
		}
		return d.DialContext(ctx, "tcp", entrance)
	}
}

// faults are those of one master, and of all.
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
		// The cluster lacks a part of its keys, and says CLUSTERDOWN.
		fromTo("a slot without a master", c.all("CLUSTER DELSLOTS 0"), func(ctx context.Context) error {
			if err := c.masters[0].do("CLUSTER ADDSLOTS 0")(ctx); err != nil {
				return err
			}
			return c.whole()
		}),
	)
}

// all asks all nodes but those.
func (c *redisCluster) all(command string, but ...*member) func(context.Context) error {
	var servers []*redisServer
	for _, node := range c.nodes {
		if !slices.Contains(but, node) {
			servers = append(servers, node.redisServer)
		}
	}
	return all(servers, command)
}

// whole returns when all nodes say that the cluster is well, and the replicas
// that they have what their masters have. A master that was killed waits for
// some seconds before it says so.
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

// Of a cluster's replicas none takes over by itself but where that is the fault.
const (
	neverTakeOver = "CONFIG SET cluster-replica-no-failover yes"
	takeOver      = "CONFIG SET cluster-replica-no-failover no"
)

// failover has a replica take over from a master, which is one again after that.
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
	// The others vote for a replica of one master once in twice cluster-node-timeout.
	// As long, and at least for 2 seconds, a node that took over keeps the votes
	// that it had: Redis 7.0 counts them again if it is to take over by hand once
	// more, and then two believe that they are the master.
	f.rest = 4 * time.Second
	f.ready = c.all(now)
	f.alert = replica.do(takeOver)
	f.calm = c.all(before, master)
	f.tidy = func(ctx context.Context) error {
		if err := f.follows(ctx, master); err != nil {
			return err
		}
		if err := f.ready(ctx); err != nil { // the master may have been started again
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

// isMaster reports whether, by an answer to CLUSTER NODES, the node has slots.
func (m *member) isMaster(nodes string) bool {
	for line := range strings.Lines(nodes) {
		// The ID, address, flags, master, ping, pong, epoch, link, and slots.
		fields := strings.Fields(line)
		if len(fields) > 8 && strings.HasPrefix(fields[1], m.address+"@") {
			return strings.Contains(fields[2], "master")
		}
	}
	return false
}
