package throwaway

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// StartGalera starts a Galera cluster with the given number of MariaDB nodes,
// for this test only. Each node accepts writes, and the DSNs of all nodes lead
// to the same database. The cluster is removed when the test ends.
//
// A node that was stopped or killed rejoins the cluster after [Server.Start],
// as long as a majority of the nodes runs. If a cluster has two nodes and
// [Server.Kill] ends one, the other has no majority and refuses statements. If
// [Server.Stop] ends a node, the other continues alone. After [Server.Kill] or
// [Server.Pause], the other nodes notice the failure after 5 seconds, and
// commits wait until then.
func StartGalera(tb testing.TB, nodes int) []*Server {
	tb.Helper()
	servers, err := startGalera(tb, nodes)
	if err != nil {
		giveUp(tb, galera{}, err)
	}
	return servers
}

func startGalera(tb testing.TB, nodes int) (servers []*Server, err error) {
	var join string
	for range nodes {
		s, err := startAtPort(func(port int) program { return galera{port: port, join: join} }, galeraIST, galeraSST)
		if err != nil {
			return nil, err
		}
		tb.Cleanup(s.close)
		servers = append(servers, s)
		join = strings.TrimPrefix(join+","+s.engine.(galera).group(), ",")
	}
	// When a node is started again, it joins the others. This includes the
	// first node, which founded the cluster.
	for _, s := range servers {
		s.serve = s.engine.(galera).joining(s.serve, join)
	}
	e := servers[0].engine.(galera)
	name, _, err := createDatabase(e, servers[0].admin)
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		if s.dsn, err = e.database(s.admin, name); err == nil {
			err = awaitDatabase(e, s.dsn)
		}
		if err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// awaitDatabase waits until a node has received the database that was created
// on another node.
func awaitDatabase(e engine, dsn string) error {
	db, err := e.open(dsn + "?wsrep_sync_wait=1")
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		_, err := db.ExecContext(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("throwaway: galera: a node did not receive the new database: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// galera is the [engine] for a MariaDB server that is a node of a Galera
// cluster. The node communicates with the other nodes on its port, and uses the
// next two ports, too. A node receives the changes that it missed on the port
// with the offset galeraIST. A new node receives all data on the port with the
// offset galeraSST.
type galera struct {
	mariadb
	port int
	join string // the addresses of running nodes; if empty, the node founds a cluster
}

const galeraIST, galeraSST = 1, 2

func (galera) name() string { return "galera" }

func (g galera) group() string { return "127.0.0.1:" + strconv.Itoa(g.port) }

func (g galera) commands(dir string) (setup, serve []string, err error) {
	provider, ok := galeraProvider()
	if !ok {
		return nil, nil, errMissing("no Galera found; to get it: apt-get install mariadb-server galera-4 rsync lsof")
	}
	if setup, serve, err = g.mariadb.commands(dir); err != nil {
		return nil, nil, err
	}
	if g.join != "" {
		// A joining node receives all its data from another node, so it needs
		// only an empty folder.
		setup = []string{"mkdir", filepath.Join(dir, "data")}
	}
	at := func(higher int) string { return "127.0.0.1:" + strconv.Itoa(g.port+higher) }
	serve = append(serve,
		"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2",
		"--wsrep-on=ON", "--wsrep-provider="+provider, "--wsrep-sst-method=rsync",
		"--wsrep-node-address=127.0.0.1", "--wsrep-sst-receive-address="+at(galeraSST),
		fmt.Sprintf("--wsrep-provider-options=base_port=%d;gmcast.listen_addr=tcp://%s;ist.recv_addr=%s;gcache.size=8M", g.port, at(0), at(galeraIST)),
	)
	return setup, g.joining(serve, g.join), nil
}

// joining returns the command serve with an option that contains join: the
// addresses of the nodes to join. This option replaces any earlier one.
func (galera) joining(serve []string, join string) []string {
	const address = "--wsrep-cluster-address=gcomm://"
	if last := len(serve) - 1; strings.HasPrefix(serve[last], address) {
		serve = serve[:last]
	}
	return append(serve[:len(serve):len(serve)], address+join)
}

// galeraProvider returns the path of the Galera library. It returns false if
// the library, MariaDB or rsync is not installed. Galera needs rsync, because a
// joining node uses rsync to receive its data.
func galeraProvider() (string, bool) {
	if _, ok := find([]string{"mariadbd"}, "/usr/sbin", "/usr/libexec"); !ok {
		return "", false // MySQL has no Galera
	}
	if _, err := exec.LookPath("rsync"); err != nil {
		return "", false
	}
	for _, pattern := range []string{"/usr/lib/galera*/libgalera_smm.so", "/usr/lib64/galera*/libgalera_smm.so"} {
		if files := newest(pattern); len(files) > 0 {
			return files[0], true
		}
	}
	return "", false
}

func (g galera) connect(dsn string) (connection, error) {
	db, err := g.open(dsn)
	if err != nil {
		return nil, err
	}
	return galeraConnection{db}, nil
}

// galeraConnection is a connection whose ping succeeds once the node is synced.
// Until then, the node accepts connections but refuses statements.
type galeraConnection struct{ *sql.DB }

func (c galeraConnection) PingContext(ctx context.Context) error {
	var name, state string
	err := c.QueryRowContext(ctx, "SHOW STATUS LIKE 'wsrep_local_state_comment'").Scan(&name, &state)
	if err == nil && state != "Synced" {
		err = errors.New("the node is not synced: its state is " + state)
	}
	return err
}
