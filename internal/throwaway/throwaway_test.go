package throwaway

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// A kind is an SQL server, with the functions and queries that differ between
// servers.
type kind struct {
	engine   engine
	variable string // the environment variable in the documentation
	fresh    func(testing.TB) string
	start    func(testing.TB) *Server
	shared   *shared

	current  string // query for the name of the connection's database
	exists   string // query for the number of databases with a name
	tables   string // query for the number of tables in the database
	network  string // query for whether the server listens on the network
	isolated string // the result of network if it does not
}

var kinds = []kind{
	{
		engine: postgres{}, variable: "TOKENAUTH_POSTGRES_DSN",
		fresh: Postgres, start: StartPostgres, shared: &sharedPostgres,
		current: "SELECT current_database()",
		exists:  "SELECT count(*) FROM pg_database WHERE datname = $1",
		tables:  "SELECT count(*) FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
		network: "SELECT current_setting('listen_addresses')", isolated: "",
	},
	{
		engine: mariadb{}, variable: "TOKENAUTH_MARIADB_DSN",
		fresh: MariaDB, start: StartMariaDB, shared: &sharedMariaDB,
		current: "SELECT DATABASE()",
		exists:  "SELECT count(*) FROM information_schema.schemata WHERE schema_name = ?",
		tables:  "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE()",
		network: "SELECT @@skip_networking", isolated: "1",
	},
}

// onEach runs a parallel subtest for each kind of server.
func onEach(t *testing.T, test func(t *testing.T, k kind)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.engine.name(), func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

// needs skips the test if the server is not installed. It is for tests that start
// the server in a child process.
func (k kind) needs(t *testing.T) {
	t.Helper()
	if _, _, err := k.engine.commands(t.TempDir()); err != nil {
		giveUp(t, k.engine, err)
	}
}

func (k kind) open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := k.engine.open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// get returns the single value that a query returns.
func get[V any](t *testing.T, db *sql.DB, query string, args ...any) V {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var v V
	if err := db.QueryRowContext(ctx, query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func do(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestFreshDatabasesAreEmptyAndSeparate(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		dsns := []string{k.fresh(t), k.fresh(t)}
		if dsns[0] == dsns[1] {
			t.Fatalf("both databases have the DSN %s", dsns[0])
		}
		var dbs []*sql.DB
		for i, dsn := range dsns {
			db := k.open(t, dsn)
			dbs = append(dbs, db)
			if n := get[int](t, db, k.tables); n != 0 {
				t.Errorf("a new database has %d tables, want 0", n)
			}
			do(t, db, "CREATE TABLE things (id INTEGER PRIMARY KEY)")
			do(t, db, fmt.Sprintf("INSERT INTO things VALUES (%d)", i+1))
		}
		for i, db := range dbs {
			if sum := get[int](t, db, "SELECT sum(id) FROM things"); sum != i+1 {
				t.Errorf("the sum of database %d is %d, want %[1]d: it has rows of another database", i+1, sum)
			}
		}
		// Starting a server for each database would be slow.
		if n := get[int](t, dbs[0], k.exists, get[string](t, dbs[1], k.current)); n != 1 {
			t.Error("the databases are on different servers")
		}
	})
}

// Concurrent calls return different databases, even while the first call starts
// the server.
func TestConcurrentCallsReturnDifferentDatabases(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		var mu sync.Mutex
		names := map[string]bool{}
		t.Run("at once", func(t *testing.T) {
			for i := range 16 {
				t.Run(fmt.Sprint(i), func(t *testing.T) {
					t.Parallel()
					name := get[string](t, k.open(t, k.fresh(t)), k.current)
					mu.Lock()
					defer mu.Unlock()
					if names[name] {
						t.Errorf("two calls returned the database %s", name)
					}
					names[name] = true
				})
			}
		})
	})
}

// A database is dropped at the end of its test, even if the test has left a
// transaction open in it.
func TestDatabaseIsDroppedAfterItsTest(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		observer := k.open(t, k.fresh(t))
		var name string
		var left *sql.DB
		t.Run("left open", func(t *testing.T) {
			var err error
			if left, err = k.engine.open(k.fresh(t)); err != nil {
				t.Fatal(err)
			}
			name = get[string](t, left, k.current)
			do(t, left, "CREATE TABLE things (id INTEGER PRIMARY KEY)")
			tx, err := left.Begin()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec("INSERT INTO things VALUES (1)"); err != nil {
				t.Fatal(err)
			}
			if n := get[int](t, observer, k.exists, name); n != 1 {
				t.Fatalf("during its test there are %d databases %q, want 1", n, name)
			}
		})
		if left == nil {
			return
		}
		defer left.Close()
		if n := get[int](t, observer, k.exists, name); n != 0 {
			t.Errorf("after its test there are %d databases %q, want 0", n, name)
		}
	})
}

func TestMariaDBHasNoParameters(t *testing.T) {
	t.Parallel()
	if dsn := MariaDB(t); strings.Contains(dsn, "?") {
		t.Errorf("the DSN %s has parameters", dsn)
	}
}

func TestServerStopStartPauseKill(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		var dir string
		t.Run("while its test runs", func(t *testing.T) {
			s := k.start(t)
			dir = s.supervisor.dir
			dsn := s.DSN()
			db := k.open(t, dsn)
			do(t, db, "CREATE TABLE things (id INTEGER PRIMARY KEY)")

			t.Run("is not shared", func(t *testing.T) {
				other := k.open(t, k.fresh(t))
				if n := get[int](t, other, k.exists, get[string](t, db, k.current)); n != 0 {
					t.Error("the server is the one that all tests share")
				}
			})
			t.Run("listens in its folder only", func(t *testing.T) {
				if got := get[string](t, db, k.network); got != k.isolated {
					t.Errorf("%s returns %q, want %q", k.network, got, k.isolated)
				}
				if path, _ := url.QueryUnescape(dsn); !strings.Contains(path, dir) {
					t.Errorf("the DSN %s does not lead into the folder %s", dsn, dir)
				}
			})
			t.Run("Stop and Start keep committed data", func(t *testing.T) {
				// An open connection of a client must not delay Stop.
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				do(t, db, "INSERT INTO things VALUES (1)")
				stopStart(t, k, s, db)
				if sum := get[int](t, k.open(t, dsn), "SELECT sum(id) FROM things"); sum != 1 {
					t.Errorf("the sum is %d, want 1", sum)
				}
			})
			t.Run("Pause and Resume", func(t *testing.T) { pauseResume(t, k, s) })
			t.Run("Stop works during a Pause", func(t *testing.T) {
				do(t, db, "INSERT INTO things VALUES (2)")
				s.Pause(t)
				stopStart(t, k, s, db)
				if sum := get[int](t, k.open(t, dsn), "SELECT sum(id) FROM things"); sum != 3 {
					t.Errorf("the sum is %d, want 3", sum)
				}
			})
			t.Run("Kill keeps committed data", func(t *testing.T) {
				do(t, db, "INSERT INTO things VALUES (4)")
				s.Kill(t)
				s.Kill(t) // a second call does nothing
				if err := db.PingContext(t.Context()); err == nil {
					t.Error("a killed server answers a ping")
				}
				s.Start(t)
				if sum := get[int](t, k.open(t, dsn), "SELECT sum(id) FROM things"); sum != 7 {
					t.Errorf("the sum is %d, want 7", sum)
				}
			})
			if s.DSN() != dsn {
				t.Errorf("the DSN has changed from %s to %s", dsn, s.DSN())
			}
			s.Pause(t) // a paused server must be removed too
		})
		if dir == "" {
			return
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after its test the folder %s still exists: %v", dir, err)
		}
	})
}

func stopStart(t *testing.T, k kind, s *Server, db *sql.DB) {
	t.Helper()
	process := s.process
	s.Stop(t)
	if !process.exited() {
		t.Error("Stop returns before the process has ended")
	}
	for _, pool := range []*sql.DB{db, k.open(t, s.DSN())} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := pool.PingContext(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("a ping of a stopped server returns error %v, with the context's error %v, want a refused connection", err, ctx.Err())
		}
	}
	s.Stop(t) // a second call does nothing
	s.Start(t)
	started := s.process
	if started == process || started.exited() {
		t.Error("Start has not started a process")
	}
	s.Start(t) // a second call does nothing
	if s.process != started {
		t.Error("a second call of Start has started another process")
	}
}

func pauseResume(t *testing.T, k kind, s *Server) {
	t.Helper()
	db := k.open(t, s.DSN())
	// Open two connections before the pause.
	var conns [2]*sql.Conn
	for i := range conns {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.PingContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
	}

	s.Pause(t)
	answer := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var n int
		answer <- conns[0].QueryRowContext(ctx, "SELECT 1").Scan(&n)
	}()
	hangs := func(name string, ping func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := ping(ctx); err == nil || ctx.Err() == nil {
			t.Errorf("on a paused server, a query on %s returns error %v, with the context's error %v, want a timeout", name, err, ctx.Err())
		}
	}
	hangs("an open connection", func(ctx context.Context) error {
		_, err := conns[1].ExecContext(ctx, "SELECT 1")
		return err
	})
	hangs("a new connection", k.open(t, s.DSN()).PingContext)
	select {
	case err := <-answer:
		t.Errorf("a query on a paused server returned error %v before Resume", err)
		answer <- err
	default:
	}

	s.Resume(t)
	if err := <-answer; err != nil {
		t.Errorf("after Resume the query returns error %v", err)
	}
	if n := get[int](t, k.open(t, s.DSN()), "SELECT 1"); n != 1 {
		t.Errorf("after Resume a new query returns %d, want 1", n)
	}
}

// If the environment variable is set, databases are created on that server, and
// dropped after their tests.
func TestVariableSelectsTheServer(t *testing.T) {
	for _, k := range kinds { // not in parallel, because the process has one environment
		t.Run(k.engine.name(), func(t *testing.T) {
			dsn := k.fresh(t)
			observer := k.open(t, dsn)
			t.Setenv(k.variable, dsn)
			own := shared{engine: k.engine, variable: k.shared.variable}
			var name string
			t.Run("fresh", func(t *testing.T) {
				name = get[string](t, k.open(t, own.database(t)), k.current)
				if own.server != nil {
					t.Error("a server was started although the variable is set")
				}
				if name == get[string](t, observer, k.current) {
					t.Errorf("got the database %s of the variable itself, want a new one", name)
				}
				if n := get[int](t, observer, k.exists, name); n != 1 {
					t.Errorf("the server has %d databases %q, want 1", n, name)
				}
			})
			if n := get[int](t, observer, k.exists, name); n != 0 {
				t.Errorf("after its test the server has %d databases %q, want 0", n, name)
			}
		})
	}
}

// A recorder is a testing.TB that records the text of Skip, Fatal or Log.
type recorder struct {
	testing.TB
	skipped, failed, logged string
}

func (r *recorder) Log(args ...any) { r.logged += fmt.Sprint(args...) }

func (*recorder) Helper() {}

func (r *recorder) Skip(args ...any) {
	r.skipped = fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.failed = fmt.Sprint(args...)
	runtime.Goexit()
}

// record calls f in a goroutine with a recorder, and returns the recorder.
func record(t *testing.T, f func(testing.TB)) (r recorder) {
	t.Helper()
	r.TB = t
	var wg sync.WaitGroup
	wg.Go(func() { f(&r) })
	wg.Wait()
	return r
}

// uninstall hides all installed servers until the test ends.
func uninstall(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	installed := glob
	glob = func(string) ([]string, error) { return nil, nil }
	t.Cleanup(func() { glob = installed })
}

// If the server is not installed, the test is skipped with a hint on how to
// install it. If the server is required, the test fails with the same hint.
func TestMissingServerSkipsUnlessRequired(t *testing.T) {
	uninstall(t)
	t.Setenv("TOKENAUTH_POSTGRES_DSN", "")
	t.Setenv("TOKENAUTH_MARIADB_DSN", "")
	for _, test := range []struct {
		require  string
		postgres bool // whether a test of PostgreSQL fails; otherwise it is skipped
		mariadb  bool // the same for MariaDB
	}{
		{"", false, false},
		{"postgres", true, false},
		{"mariadb", false, true},
		{"postgres,mariadb", true, true},
		{" mariadb, postgres ,", true, true},
		{"redis", false, false},
		{"postgresql,mariadb10", false, false},
	} {
		t.Run(fmt.Sprintf("TOKENAUTH_REQUIRE=%q", test.require), func(t *testing.T) {
			t.Setenv("TOKENAUTH_REQUIRE", test.require)
			for _, k := range kinds {
				name := k.engine.name()
				fails := map[string]bool{"postgres": test.postgres, "mariadb": test.mariadb}[name]
				// A new value, because the shared one keeps its server or error.
				own := shared{engine: k.engine, variable: k.variable}
				for _, call := range []func(testing.TB){
					func(tb testing.TB) { k.start(tb) },
					func(tb testing.TB) { own.database(tb) },
					func(tb testing.TB) { own.database(tb) },
				} {
					r := record(t, call)
					if (r.failed != "") != fails || (r.skipped != "") == fails {
						t.Errorf("%s: skipped with %q, failed with %q", name, r.skipped, r.failed)
					}
					if says := r.skipped + r.failed; !strings.Contains(says, "apt-get install "+map[string]string{"postgres": "postgresql", "mariadb": "mariadb-server"}[name]) {
						t.Errorf("%s: the text %q does not say how to install the server", name, says)
					}
				}
			}
		})
	}
}

// If a server is installed but does not work, the test always fails.
func TestBrokenServerIsNotSkipped(t *testing.T) {
	t.Setenv("TOKENAUTH_REQUIRE", "")
	for _, k := range kinds {
		r := record(t, func(tb testing.TB) { giveUp(tb, k.engine, errors.New("no space left")) })
		if r.skipped != "" || r.failed != "no space left" {
			t.Errorf("%s: skipped with %q, failed with %q", k.engine.name(), r.skipped, r.failed)
		}
		t.Setenv(k.variable, "not a DSN")
		r = record(t, func(tb testing.TB) { k.fresh(tb) })
		if r.skipped != "" || r.failed == "" {
			t.Errorf("%s with an invalid DSN in the variable: skipped with %q, failed with %q", k.engine.name(), r.skipped, r.failed)
		}
	}
}

func TestDatabaseKeepsTheAddressInTheDSN(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		engine    engine
		dsn, want string // want is empty if the DSN must be refused
	}{
		{postgres{}, "postgres://u:p%40ss@db.example:5433/app?sslmode=require", "postgres://u:p%40ss@db.example:5433/fresh?sslmode=require"},
		{postgres{}, "postgresql://db.example", "postgresql://db.example/fresh"},
		{postgres{}, "postgres://u@/app?host=%2Frun%2Fpg", "postgres://u@/fresh?host=%2Frun%2Fpg"},
		{postgres{}, "host=db.example dbname=app", ""},
		{postgres{}, "mysql://db.example/app", ""},
		{postgres{}, "", ""},
		{mariadb{}, "u:p@ss@tcp(db.example:3307)/app", "u:p@ss@tcp(db.example:3307)/fresh"},
		{mariadb{}, "u@unix(/run/mysqld.sock)/", "u@unix(/run/mysqld.sock)/fresh"},
		{mariadb{}, "u:p@tcp(db.example:3307)/app?tls=skip-verify&parseTime=true", "u:p@tcp(db.example:3307)/fresh?tls=skip-verify"},
		{mariadb{}, "u:p@tcp(db.example:3307)/app?parseTime=true&loc=Local&timeout=1s", "u:p@tcp(db.example:3307)/fresh"},
		{mariadb{}, "postgres://u@db.example/app", ""},
		{mariadb{}, "not a DSN", ""},
	} {
		got, err := test.engine.database(test.dsn, "fresh")
		if got != test.want || (err == nil) == (test.want == "") {
			t.Errorf("%s: database(%q) returns %q, error %v, want %q", test.engine.name(), test.dsn, got, err, test.want)
		}
	}
}

func TestNewestFolderFirst(t *testing.T) {
	installed := glob
	defer func() { glob = installed }()
	for _, test := range []struct{ found, want []string }{
		{nil, nil},
		{
			[]string{"/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin", "/usr/lib/postgresql/17/bin"},
			[]string{"/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/9.6/bin"},
		},
		{
			[]string{"/opt/homebrew/opt/mariadb@10.11/bin", "/opt/homebrew/opt/mariadb@10.6/bin", "/opt/homebrew/opt/mariadb@11.4/bin"},
			[]string{"/opt/homebrew/opt/mariadb@11.4/bin", "/opt/homebrew/opt/mariadb@10.11/bin", "/opt/homebrew/opt/mariadb@10.6/bin"},
		},
	} {
		glob = func(string) ([]string, error) { return slices.Clone(test.found), nil }
		if got := newest("pattern"); !slices.Equal(got, test.want) {
			t.Errorf("newest returns %v, want %v", got, test.want)
		}
	}
}
