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
			t.Errorf("it listens on %+v, not only in its folder %s", a, dir)
		}
		if info := ask(t, a, "INFO", "keyspace"); strings.Contains(info, "keys=") {
			t.Errorf("it is not empty: %s", info)
		}
		ask(t, a, "SET", "key", "a value\r\nof two lines")
		s.Stop(t)
		if _, err := a.do(t.Context(), "PING"); err == nil {
			t.Error("a stopped server answers")
		}
		s.Start(t)
		if got := ask(t, a, "GET", "key"); got != "a value\r\nof two lines" {
			t.Errorf("after Stop and Start the value is %q", got)
		}

		s.Pause(t)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := a.do(ctx, "PING"); err == nil || ctx.Err() == nil {
			t.Errorf("a paused server answers with %v, and the context with %v", err, ctx.Err())
		}
		s.Resume(t)
		ask(t, a, "PING")
		if _, err := a.do(t.Context(), "LPUSH", "key", "x"); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
			t.Errorf("what the server refuses returns %v", err)
		}
		if s.DSN() != dsn {
			t.Errorf("the URL was %s and is %s", dsn, s.DSN())
		}
		s.Pause(t) // so that it goes away even so
	})
	if dir == "" {
		return
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its test the folder %s is there: %v", dir, err)
	}
}

func TestRedisClusterHasThreeMasters(t *testing.T) {
	t.Parallel()
	addresses := RedisCluster(t)
	if len(addresses) != 3 {
		t.Fatalf("the addresses are %v", addresses)
	}
	for _, address := range addresses {
		a := redisAddress{"tcp", address}
		if nodes := ask(t, a, "CLUSTER", "NODES"); strings.Count(nodes, "master") != 3 {
			t.Errorf("%s knows %s", address, nodes)
		}
		served := false
		for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
			_, err := a.do(t.Context(), "SET", key, "x")
			served = served || err == nil
			if err != nil && !strings.HasPrefix(err.Error(), "MOVED") {
				t.Errorf("%s: %v", address, err)
			}
		}
		if !served {
			t.Errorf("%s has no key of twelve", address)
		}
	}
}

// A master of a cluster that was killed is back at its address with its data,
// and a while later the cluster is whole again.
func TestKilledClusterMasterComesBack(t *testing.T) {
	t.Parallel()
	servers := StartRedisCluster(t)
	killed := servers[0].engine.(redisNode).address()
	ask(t, killed, "SET", "alice", "x") // in slot 749, which the first has
	servers[0].Kill(t)
	if _, err := killed.do(t.Context(), "PING"); err == nil {
		t.Error("a killed master answers")
	}
	ask(t, servers[1].engine.(redisNode).address(), "PING")
	servers[0].Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := killed.say(ctx, []string{"CLUSTER", "INFO"}, "cluster_state:ok"); err != nil {
		t.Fatal("the cluster is not whole again: ", err)
	}
	if got := ask(t, killed, "GET", "alice"); got != "x" {
		t.Errorf("after Kill and Start the value is %q", got)
	}
}

// A replica has what its master has, and takes over when the master is dead.
func TestClusterReplicaTakesOver(t *testing.T) {
	t.Parallel()
	masters, replicas := StartReplicatedRedisCluster(t)
	if len(masters) != 3 || len(replicas) != 3 {
		t.Fatalf("there are %d masters and %d replicas", len(masters), len(replicas))
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
	ask(t, addressOfPort(masters[0]), "SET", "alice", "x") // in slot 749, which the first has
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
		t.Errorf("the replica that has taken over has the value %q", got)
	}
	masters[0].Start(t)
	if err := addressOfPort(masters[0]).say(ctx, []string{"INFO", "replication"}, "role:slave", "master_link_status:up"); err != nil {
		t.Errorf("the master that was dead: %v", err)
	}
}

func TestSentinelsFailOver(t *testing.T) {
	t.Parallel()
	servers, sentinels := StartRedisSentinel(t)
	if len(servers) != 2 || len(sentinels) != 3 {
		t.Fatalf("there are %d servers and %d sentinels", len(servers), len(sentinels))
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
			t.Errorf("the DSN is %v, without %s", u, addressOfPort(s).address)
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
		t.Errorf("the replica that has taken over has the value %q", got)
	}
	servers[0].Start(t)
	if err := first.say(ctx, []string{"INFO", "replication"}, "role:slave", "master_link_status:up"); err != nil {
		t.Errorf("the master that was dead: %v", err)
	}

	// A sentinel remembers.
	sentinels[0].Stop(t)
	sentinels[0].Start(t)
	if err := addressOfPort(sentinels[0]).say(ctx, []string{"INFO", "sentinel"}, "address="+second.address); err != nil {
		t.Error(err)
	}
}

func addressOfPort(s *Server) redisAddress {
	return s.engine.(interface{ address() redisAddress }).address()
}

func TestRedisVariableNamesTheServer(t *testing.T) {
	s := StartRedis(t)
	t.Setenv("TOKENAUTH_REDIS_URL", s.DSN())
	if got := Redis(t); got != s.DSN() {
		t.Errorf("Redis returns %s, not %s", got, s.DSN())
	}
	t.Setenv("TOKENAUTH_REDIS_URL", "")
	if got := Redis(t); got == s.DSN() {
		t.Error("Redis returns a server that is not its test's alone")
	}
}

func TestMissingRedisIsErrMissing(t *testing.T) {
	uninstall(t)
	for _, e := range []program{redis{}, redisPort{}, redisNode{}, redisSentinel{}} {
		_, err := newServer(e)
		if _, ok := errors.AsType[errMissing](err); !ok || !strings.Contains(err.Error(), "apt-get install redis-server") {
			t.Errorf("without a server there is the error %v", err)
		}
	}
}
