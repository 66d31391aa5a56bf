package throwaway

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// redisNode is the [program] for a node of a Redis Cluster. It needs a port for
// clients, and a second port to communicate with other nodes.
type redisNode struct{ redisPort }

const (
	redisBus     = 10000 // the offset from the port to the second port
	redisSlots   = 16384
	redisMasters = 3
)

func (n redisNode) commands(dir string) (setup, serve []string, err error) {
	args := append(n.listen(), syncsAtOnce...)
	return redisCommands(dir, append(args, "--cluster-enabled", "yes", "--cluster-config-file", filepath.Join(dir, "data", "nodes.conf"))...)
}

// startRedisCluster starts a cluster in which each master has the given number
// of replicas. It returns the masters first, and then the replicas in the order
// of their masters.
func startRedisCluster(tb testing.TB, replicas int) []*Server {
	tb.Helper()
	start := make([]func() (*Server, error), redisMasters*(1+replicas))
	for i := range start {
		start[i] = startRedisNode
	}
	servers := startAll(tb, start...)
	var nodes []redisAddress
	for _, s := range servers {
		nodes = append(nodes, s.engine.(redisNode).address())
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := joinRedisNodes(ctx, nodes)
	if err == nil {
		err = replicateRedisNodes(ctx, nodes)
	}
	if err != nil {
		tb.Fatalf("throwaway: redis: making a cluster: %v", err)
	}
	return servers
}

func startRedisNode() (*Server, error) {
	return startAtPort(func(port int) program { return redisNode{redisPort{port: port}} }, redisBus)
}

// joinRedisNodes joins the nodes to form a cluster. The first redisMasters
// nodes become masters, and each gets an equal part of the slots. The function
// returns when every node reports a complete cluster.
func joinRedisNodes(ctx context.Context, nodes []redisAddress) error {
	host, port, _ := net.SplitHostPort(nodes[0].address)
	for i, n := range nodes {
		commands := [][]string{{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)}}
		if i < redisMasters {
			slots := []string{"CLUSTER", "ADDSLOTS"}
			for slot := i * redisSlots / redisMasters; slot < (i+1)*redisSlots/redisMasters; slot++ {
				slots = append(slots, strconv.Itoa(slot))
			}
			commands = append(commands, slots)
		}
		for _, command := range append(commands, []string{"CLUSTER", "MEET", host, port}) {
			if _, err := n.do(ctx, command...); err != nil {
				return fmt.Errorf("CLUSTER %s: %w", command[1], err)
			}
		}
	}
	for _, n := range nodes {
		err := n.say(ctx, []string{"CLUSTER", "INFO"}, "cluster_state:ok",
			fmt.Sprintf("cluster_size:%d\r", redisMasters), fmt.Sprintf("cluster_known_nodes:%d\r", len(nodes)))
		if err != nil {
			return err
		}
	}
	return nil
}

// replicateRedisNodes makes the nodes after the first redisMasters replicas of
// the masters. It returns when the replicas have the data of their masters, and
// all nodes know the replicas.
func replicateRedisNodes(ctx context.Context, nodes []redisAddress) error {
	replicas := nodes[redisMasters:]
	for i, n := range replicas {
		id, err := nodes[i%redisMasters].do(ctx, "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		if _, err := n.do(ctx, "CLUSTER", "REPLICATE", id); err != nil {
			return fmt.Errorf("CLUSTER REPLICATE: %w", err)
		}
	}
	for _, n := range replicas {
		if err := n.say(ctx, []string{"INFO", "replication"}, "master_link_status:up"); err != nil {
			return err
		}
	}
	for _, n := range nodes {
		knows := func(answer string) bool { return strings.Count(answer, "slave") == len(replicas) }
		if err := n.until(ctx, []string{"CLUSTER", "NODES"}, knows); err != nil {
			return err
		}
	}
	return nil
}
