package throwaway

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"
)

// redisSentinel is the [program] for a sentinel, which monitors a Redis server.
type redisSentinel struct {
	redisPort
	master redisAddress
}

// masterSet is the name by which the sentinels know the server and its replica.
const masterSet = "throwaway"

// redisQuorum is how many sentinels must agree that a server is down.
const redisSentinels, redisQuorum = 3, 2

func (s redisSentinel) commands(dir string) (setup, serve []string, err error) {
	server, err := findRedis()
	if err != nil {
		return nil, nil, err
	}
	host, port, _ := net.SplitHostPort(s.master.address)
	data := filepath.Join(dir, "data")
	// A sentinel writes its state to its configuration file.
	file := filepath.Join(data, "sentinel.conf")
	setup = []string{"sh", "-c", `mkdir "$0" && printf '%s\n' "$@" >"$0/sentinel.conf"`, data,
		"bind 127.0.0.1", "port " + strconv.Itoa(s.port), "dir " + data,
		fmt.Sprintf("sentinel monitor %s %s %s %d", masterSet, host, port, redisQuorum),
		// 5 seconds are long enough for a busy machine.
		"sentinel down-after-milliseconds " + masterSet + " 5000",
		// The time limit for one step of a failover. A step may take this long,
		// because a sentinel acts only once a second. The sentinels wait twice
		// this long before they start another failover by themselves.
		"sentinel failover-timeout " + masterSet + " 3000",
	}
	return setup, []string{server, file, "--sentinel"}, nil
}

func startRedisSentinel(tb testing.TB) (servers, sentinels []*Server) {
	tb.Helper()
	master := startAll(tb, startRedisPort(0))
	first := master[0].engine.(redisPort)
	servers = append(master, startAll(tb, startRedisPort(first.port))...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// A sentinel asks the master for its replicas when it starts, and then only
	// every 10 seconds. So start the sentinels only after the replica has
	// connected to the master.
	err := servers[1].engine.(redisPort).address().say(ctx, []string{"INFO", "replication"}, "master_link_status:up")
	if err != nil {
		tb.Fatalf("throwaway: redis: making a replica: %v", err)
	}
	watch := func() (*Server, error) {
		return startAtPort(func(at int) program {
			return redisSentinel{redisPort{port: at}, first.address()}
		})
	}
	sentinels = startAll(tb, watch, watch, watch)
	u := url.URL{Scheme: "redis", Host: sentinels[0].engine.(redisSentinel).address().address}
	query := url.Values{"master_set": {masterSet}}
	for _, s := range sentinels {
		a := s.engine.(redisSentinel).address()
		if err := a.say(ctx, []string{"INFO", "sentinel"}, fmt.Sprintf("status=ok,address=%s,slaves=1,sentinels=%d", first.address().address, redisSentinels)); err != nil {
			tb.Fatalf("throwaway: redis: making sentinels: %v", err)
		}
		if a.address != u.Host {
			query.Add("addr", a.address)
		}
	}
	u.RawQuery = query.Encode()
	for _, s := range sentinels {
		s.dsn = u.String()
	}
	return servers, sentinels
}

func startRedisPort(of int) func() (*Server, error) {
	return func() (*Server, error) {
		return startAtPort(func(port int) program { return redisPort{port: port, of: of} })
	}
}
