package throwaway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// redisNode is the program of a server in a Redis Cluster. Its servers need a
// port each, and another for what they say to each other.
type redisNode struct {
	redis
	port int
}

const (
	redisBus   = 10000 // what is added to a port for the other one
	redisSlots = 16384
)

func (n redisNode) commands(dir string) (setup, serve []string, err error) {
	return redisCommands(dir,
		"--bind", "127.0.0.1", "--port", strconv.Itoa(n.port),
		"--cluster-enabled", "yes", "--cluster-config-file", filepath.Join(dir, "data", "nodes.conf"))
}

func (n redisNode) admin(string) string { return "redis://" + n.address().address }

func (n redisNode) connect(string) (connection, error) { return n.address(), nil }

func (n redisNode) address() redisAddress {
	return redisAddress{"tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(n.port))}
}

func startRedisCluster(tb testing.TB) []*Server {
	tb.Helper()
	nodes := make([]redisNode, 3)
	servers := make([]*Server, len(nodes))
	errs := make([]error, len(nodes))
	var wg sync.WaitGroup
	for i := range nodes {
		wg.Go(func() { nodes[i], servers[i], errs[i] = startRedisNode() })
	}
	wg.Wait()
	for _, s := range servers {
		if s != nil {
			tb.Cleanup(s.close)
		}
	}
	for _, err := range errs {
		if err != nil {
			giveUp(tb, redis{}, err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := joinRedisNodes(ctx, nodes); err != nil {
		tb.Fatalf("throwaway: redis: making a cluster: %v", err)
	}
	return servers
}

// startRedisNode starts a server on ports that were free a moment ago. Should
// somebody have taken one meanwhile, it looks for others.
func startRedisNode() (n redisNode, s *Server, err error) {
	for range 5 {
		if n.port, err = freeRedisPort(); err != nil {
			return n, nil, err
		}
		if s, err = newServer(n); err == nil || !strings.Contains(err.Error(), "in use") {
			break
		}
	}
	if err == nil {
		s.dsn = s.admin
	}
	return n, s, err
}

func freeRedisPort() (port int, err error) {
	for range 100 {
		// Above are those that systems give to clients.
		port = 10000 + rand.IntN(12000)
		if err = canListen(port, port+redisBus); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("throwaway: redis: no free port: %w", err)
}

func canListen(ports ...int) error {
	for _, port := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		defer l.Close()
	}
	return nil
}

// joinRedisNodes makes a cluster of the nodes and returns when all of them say
// that it is one.
func joinRedisNodes(ctx context.Context, nodes []redisNode) error {
	first := nodes[0].address()
	host, port, _ := net.SplitHostPort(first.address)
	for i, n := range nodes {
		slots := []string{"CLUSTER", "ADDSLOTS"}
		for slot := i * redisSlots / len(nodes); slot < (i+1)*redisSlots/len(nodes); slot++ {
			slots = append(slots, strconv.Itoa(slot))
		}
		for _, command := range [][]string{
			{"CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i + 1)}, slots, {"CLUSTER", "MEET", host, port},
		} {
			if _, err := n.address().do(ctx, command...); err != nil {
				return fmt.Errorf("%s: %w", command[1], err)
			}
		}
	}
	for _, n := range nodes {
		for {
			info, err := n.address().do(ctx, "CLUSTER", "INFO")
			if err != nil {
				return err
			}
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_size:%d\r", len(nodes))) {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %s", ctx.Err(), info)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return nil
}
