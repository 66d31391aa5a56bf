package throwaway

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// ask sends a command to a Redis server and returns the answer.
func ask(t *testing.T, a redisAddress, command ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := a.do(ctx, command...)
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	return answer
}

func addressOf(t *testing.T, dsn string) redisAddress {
	t.Helper()
	a, err := redis{}.connect(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return a.(redisAddress)
}

func TestRedisServerStopsStartsAndPauses(t *testing.T) {
	t.Parallel()
	var dir string
	t.Run("while its test runs", func(t *testing.T) {
		s := StartRedis(t)
		dir = s.supervisor.dir
		dsn := s.DSN()
		a := addressOf(t, dsn)
		if a.network != "unix" || !strings.HasPrefix(a.address, dir) {
			t.Errorf("the server listens on %+v, want a socket in its folder %s", a, dir)
		}
		if info := ask(t, a, "INFO", "keyspace"); strings.Contains(info, "keys=") {
			t.Errorf("a new server is not empty: %s", info)
		}
		ask(t, a, "SET", "key", "a value\r\nof two lines")
		s.Stop(t)
		if _, err := a.do(t.Context(), "PING"); err == nil {
			t.Error("a stopped server answers PING")
		}
		s.Start(t)
		if got := ask(t, a, "GET", "key"); got != "a value\r\nof two lines" {
			t.Errorf("after Stop and Start the value is %q", got)
		}

		s.Pause(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := a.do(ctx, "PING"); err == nil || ctx.Err() == nil {
			t.Errorf("PING to a paused server returns error %v, with the context's error %v, want a timeout", err, ctx.Err())
		}
		s.Resume(t)
		ask(t, a, "PING")
		if _, err := a.do(t.Context(), "LPUSH", "key", "x"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("LPUSH to a string returns error %v, want WRONGTYPE", err)
		}
		if s.DSN() != dsn {
			t.Errorf("the URL has changed from %s to %s", dsn, s.DSN())
		}
		s.Pause(t) // a paused server must be removed too
	})
	if dir == "" {
		return
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its test the folder %s still exists: %v", dir, err)
	}
}

func TestRedisClusterHasThreeMasters(t *testing.T) {
	t.Parallel()
	addresses := RedisCluster(t)
	if len(addresses) != 3 {
		t.Fatalf("got the addresses %v, want three", addresses)
	}
	for _, address := range addresses {
		a := redisAddress{"tcp", address}
		if nodes := ask(t, a, "CLUSTER", "NODES"); strings.Count(nodes, "master") != 3 {
			t.Errorf("node %s knows these nodes, want three masters: %s", address, nodes)
		}
		served := false
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
			_, err := a.do(t.Context(), "SET", key, "x")
			served = served || err == nil
			if err != nil && !strings.HasPrefix(err.Error(), "MOVED") {
				t.Errorf("SET on node %s returns error %v, want MOVED", address, err)
			}
		}
		if !served {
			t.Errorf("node %s serves none of twelve keys", address)
		}
	}
}

// After Kill and Start, a master of a cluster has its address and its data. A
// while later the cluster is complete again.
func TestKilledClusterMasterRejoins(t *testing.T) {
	t.Parallel()
	servers := StartRedisCluster(t)
	killed := servers[0].engine.(redisNode).address()
	ask(t, killed, "SET", "alice", "x") // in slot 749, which the first master has
	servers[0].Kill(t)
	if _, err := killed.do(t.Context(), "PING"); err == nil {
		t.Error("a killed master answers PING")
	}
	ask(t, servers[1].engine.(redisNode).address(), "PING")
	servers[0].Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := killed.say(ctx, []string{"CLUSTER", "INFO"}, "cluster_state:ok"); err != nil {
		t.Fatal("the cluster is not complete again: ", err)
	}
	if got := ask(t, killed, "GET", "alice"); got != "x" {
		t.Errorf("after Kill and Start the value is %q, want %q", got, "x")
	}
}

// A replica has the data of its master, and replaces the master when that is
// killed.
func TestClusterReplicaTakesOver(t *testing.T) {
	t.Parallel()
	masters, replicas := StartReplicatedRedisCluster(t)
	if len(masters) != 3 || len(replicas) != 3 {
		t.Fatalf("got %d masters and %d replicas, want 3 and 3", len(masters), len(replicas))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range masters {
		port := masters[i].engine.(redisNode).port
		err := addressOfPort(replicas[i]).say(ctx, []string{"INFO", "replication"}, "role:slave", fmt.Sprintf("master_port:%d", port))
		if err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
	}
	for _, s := range append(replicas, masters...) {
		ask(t, addressOfPort(s), "CONFIG", "SET", "cluster-node-timeout", "500")
	}
	ask(t, addressOfPort(masters[0]), "SET", "alice", "x") // in slot 749, which the first master has
	if err := addressOfPort(replicas[0]).say(ctx, []string{"INFO", "keyspace"}, "keys=1"); err != nil {
		t.Fatal(err)
	}
	masters[0].Kill(t)
	if err := addressOfPort(replicas[0]).say(ctx, []string{"INFO", "replication"}, "role:master"); err != nil {
		t.Fatal(err)
	}
	if err := addressOfPort(replicas[0]).say(ctx, []string{"CLUSTER", "INFO"}, "cluster_state:ok"); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, addressOfPort(replicas[0]), "GET", "alice"); got != "x" {
		t.Errorf("the new master has the value %q, want %q", got, "x")
	}
	masters[0].Start(t)
	if err := addressOfPort(masters[0]).say(ctx, []string{"INFO", "replication"}, "role:slave", "master_link_status:up"); err != nil {
		t.Errorf("the old master has not become a replica: %v", err)
	}
}

func TestSentinelsFailOver(t *testing.T) {
	t.Parallel()
	servers, sentinels := StartRedisSentinel(t)
	if len(servers) != 2 || len(sentinels) != 3 {
		t.Fatalf("got %d servers and %d sentinels, want 2 and 3", len(servers), len(sentinels))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	u, err := url.Parse(sentinels[2].DSN())
	if err != nil {
		t.Fatal(err)
	}
	all := append([]string{u.Host}, u.Query()["addr"]...)
	for _, s := range sentinels {
		if !slices.Contains(all, addressOfPort(s).address) || len(all) != len(sentinels) {
			t.Errorf("the DSN %v does not contain %s, or has too many addresses", u, addressOfPort(s).address)
		}
	}
	first, second := addressOfPort(servers[0]), addressOfPort(servers[1])
	ask(t, first, "SET", "key", "x")
	if err := second.say(ctx, []string{"INFO", "keyspace"}, "keys=1"); err != nil {
		t.Fatal(err)
	}
	servers[0].Kill(t)
	for _, s := range sentinels {
		if err := addressOfPort(s).say(ctx, []string{"INFO", "sentinel"}, "status=ok,address="+second.address); err != nil {
			t.Fatal(err)
		}
	}
	if got := ask(t, second, "GET", "key"); got != "x" {
		t.Errorf("the new master has the value %q, want %q", got, "x")
	}
	servers[0].Start(t)
	if err := first.say(ctx, []string{"INFO", "replication"}, "role:slave", "master_link_status:up"); err != nil {
		t.Errorf("the old master has not become a replica: %v", err)
	}

	// A sentinel knows the new master after a restart.
	sentinels[0].Stop(t)
	sentinels[0].Start(t)
	if err := addressOfPort(sentinels[0]).say(ctx, []string{"INFO", "sentinel"}, "address="+second.address); err != nil {
		t.Error(err)
	}
}

func addressOfPort(s *Server) redisAddress {
	return s.engine.(interface{ address() redisAddress }).address()
}

func TestRedisVariableSelectsTheServer(t *testing.T) {
	s := StartRedis(t)
	t.Setenv("TOKENAUTH_REDIS_URL", s.DSN())
	if got := Redis(t); got != s.DSN() {
		t.Errorf("Redis returns %s, want %s", got, s.DSN())
	}
	t.Setenv("TOKENAUTH_REDIS_URL", "")
	if got := Redis(t); got == s.DSN() {
		t.Error("without the variable, Redis returns the server of another test")
	}
}

func TestMissingRedisIsErrMissing(t *testing.T) {
	uninstall(t)
	for _, e := range []program{redis{}, redisPort{}, redisNode{}, redisSentinel{}} {
		_, err := newServer(e)
		if _, ok := errors.AsType[errMissing](err); !ok || !strings.Contains(err.Error(), "apt-get install redis-server") {
			t.Errorf("without an installed server, newServer returns error %v", err)
		}
	}
}
