package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/storage/storagetest/throwaway"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// A redisCluster is one that has faults.
type redisCluster struct {
	servers []*throwaway.Server
	nodes   []*redisServer
}

// admitCluster starts a cluster of its own, as its masters have to be killed.
func admitCluster(tb testing.TB) *patient {
	tb.Helper()
	servers := throwaway.StartRedisCluster(tb)
	c := &redisCluster{servers: servers}
	p := &patient{network: "tcp"}
	for _, server := range servers {
		option, err := rueidis.ParseURL(server.DSN())
		must(tb, err)
		p.addresses = append(p.addresses, option.InitAddress[0])
		c.nodes = append(c.nodes, newRedisServer(tb, option))
	}
	p.connect = func(tb testing.TB, networks []*network) tokenauth.Storage {
		option := rueidis.ClientOption{InitAddress: p.addresses, ConnWriteTimeout: redisPatience}
		if networks != nil {
			// The nodes tell of each other by their own addresses.
			entrances := make(map[string]string)
			for i, address := range p.addresses {
				entrances[address] = networks[i].entrance()
			}
			option.DialCtxFn = throughEntrances(entrances)
		}
		return openRedis(tb, option)
	}
	p.faults = append(c.faults(tb), networkFaults()...)
	p.missing = append(p.missing, "fail-over to a replica: the throwaway cluster has none, and what a fail-over may lose is no promise (package redisstore)")
	p.afterwards = tellPatience
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
func (c *redisCluster) faults(tb testing.TB) []*fault {
	faults := serverFaults(tb, c.servers[0], c.whole)
	for _, f := range faults {
		f.name = "a master: " + f.name
	}
	kill := c.all("CLIENT KILL TYPE normal")
	return append(faults,
		&fault{name: "a master killed, until the others say CLUSTERDOWN", lasts: 3 * time.Second, strike: func(ctx context.Context) (func() error, error) {
			if err := c.all("CONFIG SET cluster-node-timeout 500")(ctx); err != nil {
				return nil, err
			}
			c.servers[0].Kill(tb)
			return func() error {
				c.servers[0].Start(tb)
				if err := c.whole(); err != nil {
					return err
				}
				return c.all("CONFIG SET cluster-node-timeout 15000")(ctx)
			}, nil
		}},
		once("connections killed, once", kill),
		while("connections killed, 20 times a second", whileItLasts, again(50*time.Millisecond, kill)),
		fromTo("out of memory", c.all("CONFIG SET maxmemory 1"), c.all("CONFIG SET maxmemory 0")),
		fromTo("a master out of memory", c.nodes[0].do("CONFIG SET maxmemory 1"), c.nodes[0].do("CONFIG SET maxmemory 0")),
		&fault{name: "a master busy with a script", lasts: whileItLasts, strike: c.nodes[0].busy},
		// The cluster lacks a part of its keys, and says CLUSTERDOWN.
		fromTo("a slot without a master", c.all("CLUSTER DELSLOTS 0"), func(ctx context.Context) error {
			if err := c.nodes[0].do("CLUSTER ADDSLOTS 0")(ctx); err != nil {
				return err
			}
			return c.whole()
		}),
	)
}

// all asks all nodes.
func (c *redisCluster) all(commands ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		for _, node := range c.nodes {
			if err := node.do(commands...)(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// whole returns when all nodes say that the cluster is well. A master that was
// killed waits for some seconds before it says so.
func (c *redisCluster) whole() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, node := range c.nodes {
		for {
			m, err := node.ask(ctx, node.admin, "CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if text, _ := m.ToString(); strings.Contains(text, "cluster_state:ok") {
				break
			}
			if wait(ctx, 10*time.Millisecond); ctx.Err() != nil {
				return fmt.Errorf("the cluster is not well again: %w", ctx.Err())
			}
		}
	}
	return nil
}
