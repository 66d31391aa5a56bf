package throwaway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// redisPort is the [program] for a Redis server that listens on a port. If the
// field named of is not zero, the server is a replica of the server at that
// port.
type redisPort struct {
	redis
	port, of int
}

func (p redisPort) commands(dir string) (setup, serve []string, err error) {
	args := append(p.listen(), syncsAtOnce...)
	if p.of != 0 {
		args = append(args, "--replicaof", "127.0.0.1 "+strconv.Itoa(p.of))
	}
	return redisCommands(dir, args...)
}

func (p redisPort) listen() []string {
	return []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(p.port)}
}

// syncsAtOnce makes a master send its data to a new replica at once. By default
// it waits 5 seconds for more replicas.
var syncsAtOnce = []string{"--repl-diskless-sync-delay", "0"}

func (p redisPort) admin(string) string { return "redis://" + p.address().address }

func (p redisPort) connect(string) (connection, error) { return p.address(), nil }

func (p redisPort) address() redisAddress {
	return redisAddress{"tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port))}
}

// startAll starts servers concurrently. If one does not start, the test fails.
// The servers are removed when the test ends.
func startAll(tb testing.TB, start ...func() (*Server, error)) []*Server {
	tb.Helper()
	servers := make([]*Server, len(start))
	errs := make([]error, len(start))
	var wg sync.WaitGroup
	for i := range start {
		wg.Go(func() { servers[i], errs[i] = start[i]() })
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
	return servers
}

// startAtPort starts a server on a free port. The argument higher contains
// offsets from that port: startAtPort chooses the port so that the ports at
// these offsets are free, too. If another process takes one of these ports
// before the server does, startAtPort tries other ports.
func startAtPort(at func(port int) program, higher ...int) (s *Server, err error) {
	for range 5 {
		var port int
		if port, err = freeRedisPort(higher...); err != nil {
			return nil, err
		}
		if s, err = newServer(at(port)); err == nil {
			s.dsn = s.admin
			return s, nil
		}
		if !strings.Contains(err.Error(), "in use") {
			break
		}
	}
	return nil, err
}

func freeRedisPort(higher ...int) (port int, err error) {
	for range 100 {
		// Higher ports may be ephemeral ports, which the system assigns to
		// outgoing connections.
		port = 10000 + rand.IntN(12000)
		ports := []int{port}
		for _, h := range higher {
			ports = append(ports, port+h)
		}
		if err = canListen(ports...); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("throwaway: found no free port: %w", err)
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

// say waits until the answer to a command such as INFO contains all the texts.
func (a redisAddress) say(ctx context.Context, command []string, texts ...string) error {
	return a.until(ctx, command, func(answer string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(answer, text) })
	})
}

// until repeats a command until is(answer) returns true. It ignores errors,
// because some are temporary. For example, Redis closes all connections when it
// becomes a replica.
func (a redisAddress) until(ctx context.Context, command []string, is func(answer string) bool) error {
	for {
		answer, err := a.do(ctx, command...)
		if err == nil && is(answer) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: the last answer of %s to %v was %q, with error %v", ctx.Err(), a.address, command, answer, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
