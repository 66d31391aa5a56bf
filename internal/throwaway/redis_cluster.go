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

// redisNode is the program of a server in a Redis Cluster. Its servers need a
// port each, and another for what they say to each other.
type redisNode struct{ redisPort }

const (
	redisBus     = 10000 // what is added to a port for the other one
	redisSlots   = 16384
	redisMasters = 3
)

func (n redisNode) commands(dir string) (setup, serve []string, err error) {
	args := append(n.listen(), syncsAtOnce...)
	return redisCommands(dir, append(args, "--cluster-enabled", "yes", "--cluster-config-file", filepath.Join(dir, "data", "nodes.conf"))...)
}

// startRedisCluster starts the masters and, behind them in the same order, so
// many replicas of each.
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

// joinRedisNodes makes a cluster of the nodes, of which the first are masters,
// and returns when all of them say that it is one.
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
				return fmt.Errorf("%s: %w", command[1], err)
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

// replicateRedisNodes makes the nodes behind the masters their replicas, and
// returns when these have all that the masters have, and all nodes know.
func replicateRedisNodes(ctx context.Context, nodes []redisAddress) error {
	replicas := nodes[redisMasters:]
	for i, n := range replicas {
		id, err := nodes[i%redisMasters].do(ctx, "CLUSTER", "MYID")
		if err != nil {
			return err
		}
		if _, err := n.do(ctx, "CLUSTER", "REPLICATE", id); err != nil {
			return fmt.Errorf("REPLICATE: %w", err)
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
