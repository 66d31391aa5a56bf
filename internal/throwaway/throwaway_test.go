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

// A kind is one of the servers there are, with what is different about it.
type kind struct {
	engine   engine
	variable string // as documented
	fresh    func(testing.TB) string
	start    func(testing.TB) *Server
	shared   *shared

	current  string // the database of a connection
	exists   string // counts the databases of that name
	tables   string // counts the tables in the database
	network  string // says whether it listens on the network
	isolated string // what it says if not
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

// onEach runs a test on every kind of server.
func onEach(t *testing.T, test func(t *testing.T, k kind)) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.engine.name(), func(t *testing.T) {
			t.Parallel()
			test(t, k)
		})
	}
}

// needs skips a test whose server another process is to start.
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

// get returns the one value that a query is for.
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
			t.Fatalf("both are %s", dsns[0])
		}
		var dbs []*sql.DB
		for i, dsn := range dsns {
			db := k.open(t, dsn)
			dbs = append(dbs, db)
			if n := get[int](t, db, k.tables); n != 0 {
				t.Errorf("a fresh database has %d tables", n)
			}
			do(t, db, "CREATE TABLE things (id INTEGER PRIMARY KEY)")
			do(t, db, fmt.Sprintf("INSERT INTO things VALUES (%d)", i+1))
		}
		for i, db := range dbs {
			if sum := get[int](t, db, "SELECT sum(id) FROM things"); sum != i+1 {
				t.Errorf("database %d shows the rows of another: the sum is %d", i+1, sum)
			}
		}
		// Two servers would be slow.
		if n := get[int](t, dbs[0], k.exists, get[string](t, dbs[1], k.current)); n != 1 {
			t.Error("the databases are on servers of their own")
		}
	})
}

// Of many calls at once none gets in the way of another, be it the first, which
// starts the server.
func TestFreshDatabasesAtOnce(t *testing.T) {
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
						t.Errorf("two have got %s", name)
					}
					names[name] = true
				})
			}
		})
	})
}

// It does so whatever the test has left open in it.
func TestFreshDatabaseGoesAwayWithItsTest(t *testing.T) {
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
				t.Fatalf("there are %d databases %q", n, name)
			}
		})
		if left == nil {
			return
		}
		defer left.Close()
		if n := get[int](t, observer, k.exists, name); n != 0 {
			t.Errorf("there still are %d databases %q", n, name)
		}
	})
}

func TestMariaDBHasNoParameters(t *testing.T) {
	t.Parallel()
	if dsn := MariaDB(t); strings.Contains(dsn, "?") {
		t.Errorf("the DSN is %s", dsn)
	}
}

func TestServerStopsStartsPausesAndDies(t *testing.T) {
	onEach(t, func(t *testing.T, k kind) {
		var dir string
		t.Run("while its test runs", func(t *testing.T) {
			s := k.start(t)
			dir = s.supervisor.dir
			dsn := s.DSN()
			db := k.open(t, dsn)
			do(t, db, "CREATE TABLE things (id INTEGER PRIMARY KEY)")

			t.Run("is its test's alone", func(t *testing.T) {
				other := k.open(t, k.fresh(t))
				if n := get[int](t, other, k.exists, get[string](t, db, k.current)); n != 0 {
					t.Error("it is the server that all tests share")
				}
			})
			t.Run("listens in its folder only", func(t *testing.T) {
				if got := get[string](t, db, k.network); got != k.isolated {
					t.Errorf("%s: %s", k.network, got)
				}
				if path, _ := url.QueryUnescape(dsn); !strings.Contains(path, dir) {
					t.Errorf("the DSN %s does not lead into the folder %s", dsn, dir)
				}
			})
			t.Run("Stop and Start keep what was committed", func(t *testing.T) {
				// A client that does not leave must not keep the server.
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				do(t, db, "INSERT INTO things VALUES (1)")
				stopStart(t, k, s, db)
				if sum := get[int](t, k.open(t, dsn), "SELECT sum(id) FROM things"); sum != 1 {
					t.Errorf("the sum is %d", sum)
				}
			})
			t.Run("Pause hangs and Resume goes on", func(t *testing.T) { pauseResume(t, k, s) })
			t.Run("Stop ends a Pause", func(t *testing.T) {
				do(t, db, "INSERT INTO things VALUES (2)")
				s.Pause(t)
				stopStart(t, k, s, db)
				if sum := get[int](t, k.open(t, dsn), "SELECT sum(id) FROM things"); sum != 3 {
					t.Errorf("the sum is %d", sum)
				}
			})
			t.Run("Kill keeps what was committed", func(t *testing.T) {
				do(t, db, "INSERT INTO things VALUES (4)")
				s.Kill(t)
				s.Kill(t) // twice is fine
				if err := db.PingContext(t.Context()); err == nil {
					t.Error("it answers")
				}
				s.Start(t)
				if sum := get[int](t, k.open(t, dsn), "SELECT sum(id) FROM things"); sum != 7 {
					t.Errorf("the sum is %d", sum)
				}
			})
			if s.DSN() != dsn {
				t.Errorf("the DSN was %s and is %s", dsn, s.DSN())
			}
			s.Pause(t) // so that it goes away even so
		})
		if dir == "" {
			return
		}
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("after its test the folder %s is there: %v", dir, err)
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
			t.Errorf("a stopped server answers a ping with %v, and the context with %v", err, ctx.Err())
		}
	}
	s.Stop(t) // again is fine
	s.Start(t)
	started := s.process
	if started == process || started.exited() {
		t.Error("Start starts nothing")
	}
	s.Start(t) // again is fine
	if s.process != started {
		t.Error("Start starts a second server")
	}
}

func pauseResume(t *testing.T, k kind, s *Server) {
	t.Helper()
	db := k.open(t, s.DSN())
	// Two connections that are there already.
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
			t.Errorf("a paused server answers %s with %v, and the context with %v", name, err, ctx.Err())
		}
	}
	hangs("a connection that was there", func(ctx context.Context) error {
		_, err := conns[1].ExecContext(ctx, "SELECT 1")
		return err
	})
	hangs("a new connection", k.open(t, s.DSN()).PingContext)
	select {
	case err := <-answer:
		t.Errorf("a paused server answers a query with %v", err)
		answer <- err
	default:
	}

	s.Resume(t)
	if err := <-answer; err != nil {
		t.Errorf("after Resume the query ends with %v", err)
	}
	if n := get[int](t, k.open(t, s.DSN()), "SELECT 1"); n != 1 {
		t.Errorf("the query returns %d", n)
	}
}

// The variable names a server that is there already. Its databases come and go
// like those of one's own.
func TestVariableNamesTheServer(t *testing.T) {
	for _, k := range kinds { // not in parallel: the environment is everybody's
		t.Run(k.engine.name(), func(t *testing.T) {
			dsn := k.fresh(t)
			observer := k.open(t, dsn)
			t.Setenv(k.variable, dsn)
			own := shared{engine: k.engine, variable: k.shared.variable}
			var name string
			t.Run("fresh", func(t *testing.T) {
				name = get[string](t, k.open(t, own.database(t)), k.current)
				if own.server != nil {
					t.Error("it starts a server")
				}
				if name == get[string](t, observer, k.current) {
					t.Errorf("it is the very database %s of the variable", name)
				}
				if n := get[int](t, observer, k.exists, name); n != 1 {
					t.Errorf("the server has %d databases %q", n, name)
				}
			})
			if n := get[int](t, observer, k.exists, name); n != 0 {
				t.Errorf("after its test the server has %d databases %q", n, name)
			}
		})
	}
}

// A testing.TB that tells how it was ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (*recorder) Helper() {}

func (r *recorder) Skip(args ...any) {
	r.skipped = fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.failed = fmt.Sprint(args...)
	runtime.Goexit()
}

// record calls f as a test of its own.
func record(t *testing.T, f func(testing.TB)) (r recorder) {
	t.Helper()
	r.TB = t
	var wg sync.WaitGroup
	wg.Go(func() { f(&r) })
	wg.Wait()
	return r
}

// uninstall makes the machine look as if it had no server.
func uninstall(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", t.TempDir())
	installed := glob
	glob = func(string) ([]string, error) { return nil, nil }
	t.Cleanup(func() { glob = installed })
}

// A test without its server is skipped and says how to get one, unless the
// server is required: then it fails.
func TestMissingServerSkipsUnlessRequired(t *testing.T) {
	uninstall(t)
	t.Setenv("TOKENAUTH_POSTGRES_DSN", "")
	t.Setenv("TOKENAUTH_MARIADB_DSN", "")
	for _, test := range []struct {
		require  string
		postgres bool // fails rather than skips
		mariadb  bool
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
				// The server that all share must not remember of other tests.
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
						t.Errorf("%s: it says %q", name, says)
					}
				}
			}
		})
	}
}

// A server that is there but does not work is a failure always.
func TestBrokenServerIsNotSkipped(t *testing.T) {
	t.Setenv("TOKENAUTH_REQUIRE", "")
	for _, k := range kinds {
		r := record(t, func(tb testing.TB) { giveUp(tb, k.engine, errors.New("no space left")) })
		if r.skipped != "" || r.failed != "no space left" {
			t.Errorf("%s: skipped with %q, failed with %q", k.engine.name(), r.skipped, r.failed)
		}
		t.Setenv(k.variable, "what is no DSN")
		r = record(t, func(tb testing.TB) { k.fresh(tb) })
		if r.skipped != "" || r.failed == "" {
			t.Errorf("%s with a variable that is no DSN: skipped with %q, failed with %q", k.engine.name(), r.skipped, r.failed)
		}
	}
}

func TestDatabaseKeepsHowToReachTheServer(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		engine    engine
		dsn, want string // none if it is refused
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
		{mariadb{}, "what is no DSN", ""},
	} {
		got, err := test.engine.database(test.dsn, "fresh")
		if got != test.want || (err == nil) == (test.want == "") {
			t.Errorf("%s: %q becomes %q, %v", test.engine.name(), test.dsn, got, err)
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
			t.Errorf("the order is %v, not %v", got, test.want)
		}
	}
}
