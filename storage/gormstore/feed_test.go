package gormstore_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/internal/listen"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// openWatched returns a store with a feed and the database of the store.
func openWatched(t testing.TB, dsn string, l listen.Listener) (watched, *gorm.DB) {
	t.Helper()
	db := openDialector(t, postgres.Open(dsn), nil)
	return withFeed(t, db, "", l), db
}

func withFeed(t testing.TB, db *gorm.DB, prefix string, l listen.Listener) watched {
	t.Helper()
	s := newStore(t, db, &gormstore.Options{Feed: true, TablePrefix: prefix})
	w, err := gormstore.WithFeed(t.Context(), s, l)
	if err != nil {
		t.Fatal(err)
	}
	return watched{s, w.(tokenauth.Watcher)}
}

// watched is a store with its feed.
type watched struct {
	*gormstore.Store
	tokenauth.Watcher
}

// lease is the lease for tests that wait until it ends. With a much shorter one, a busy
// machine could not keep the feed alive.
const lease = 2 * time.Second

// replica returns a service with a cache, like one of several processes. It waits until
// the feed is alive.
func replica(t testing.TB, s tokenauth.Storage, lease time.Duration) *tokenauth.Service {
	t.Helper()
	return replicaWith(t, s, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}, Timeout: busyTimeout})
}

// replicaWith is like replica, with other options.
func replicaWith(t testing.TB, s tokenauth.Storage, o tokenauth.Options) *tokenauth.Service {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	auth, err := tokenauth.New(s, noUsers{}, &o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { auth.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(t, "the feed is alive", func() bool { return auth.CacheStats().FeedAlive })
	return auth
}

// feedBack waits until the feed is alive again after a fault. The argument before is
// CacheStats from before the fault. The cache is flushed when the feed is back.
func feedBack(t testing.TB, auth *tokenauth.Service, before tokenauth.CacheStats) {
	t.Helper()
	eventually(t, "the feed is alive again", func() bool {
		stats := auth.CacheStats()
		return stats.FeedAlive && stats.Flushes > before.Flushes
	})
}

// eventually waits until is returns true, and fails the test if that takes too long.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timeout while waiting until %s", what)
		}
	}
}

func issueTo(t testing.TB, auth *tokenauth.Service, user string) string {
	t.Helper()
	grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: user, UserName: user}, "")
	if err != nil {
		t.Fatal(err)
	}
	return grant.AccessToken.Reveal()
}

// warm validates the token until the cache answers.
func warm(t testing.TB, auth *tokenauth.Service, accessToken string) {
	t.Helper()
	eventually(t, "the token is cached", func() bool {
		before := auth.CacheStats().Hits
		if _, err := auth.Validate(t.Context(), accessToken); err != nil && !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Fatal(err)
		}
		return auth.CacheStats().Hits > before
	})
}

func refuses(t testing.TB, auth *tokenauth.Service, accessToken, why string) {
	t.Helper()
	eventually(t, "the token is refused after "+why, func() bool {
		_, err := auth.Validate(t.Context(), accessToken)
		if err != nil && !errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Fatalf("after %s: %v", why, err)
		}
		return err != nil
	})
}

func TestWatchedStorage(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, engines[1].prefixes(t, func(t *testing.T, db *gorm.DB, prefix string) tokenauth.Storage {
		return withFeed(t, db, prefix, pgxfeed.Listener{})
	}))
}

// A token that ends at one replica, or by SQL, also ends at a replica that has it in
// its cache.
func TestFeedReachesReplicas(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	w, db := openWatched(t, dsn, pgxfeed.Listener{})
	other, _ := openWatched(t, dsn, pgxfeed.Listener{DSN: dsn})
	a, b := replica(t, w, time.Minute), replica(t, other, time.Minute)
	users := w.Users()
	alice, err := users.Create(t.Context(), gormstore.User{Name: "alice"}, tokenauth.NewSecret("password"))
	if err != nil {
		t.Fatal(err)
	}
	for _, end := range []struct {
		how string
		do  func(accessToken string) error
	}{
		{"Revoke", func(accessToken string) error { return a.Revoke(t.Context(), accessToken) }},
		{"RevokeUser", func(string) error { return a.RevokeUser(t.Context(), alice.ID) }},
		{"a newer sign-in", func(string) error { issueTo(t, a, alice.ID); return nil }},
		{"SetRoles", func(string) error { return users.SetRoles(t.Context(), alice.ID, "Auditor") }},
		{"an operator's DELETE", func(string) error { return db.Exec("DELETE FROM tokenauth_tokens WHERE user_id = ?", alice.ID).Error }},
		{"an operator's UPDATE", func(string) error {
			return db.Exec("UPDATE tokenauth_tokens SET digest = decode(md5('x') || md5('y'), 'hex')").Error
		}},
		{"TRUNCATE", func(string) error { return db.Exec("TRUNCATE tokenauth_tokens").Error }},
	} {
		accessToken := issueTo(t, a, alice.ID)
		warm(t, a, accessToken)
		warm(t, b, accessToken)
		if err := end.do(accessToken); err != nil {
			t.Fatal(err)
		}
		refuses(t, b, accessToken, end.how)
		refuses(t, a, accessToken, end.how)
	}
}

// After a sign-in at one replica, the client may send its token to another one. That
// replica may still have the previous token in its cache, and must accept the new one.
func TestNewTokenIsValidOnAllReplicasAtOnce(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	w, _ := openWatched(t, dsn, pgxfeed.Listener{})
	a, b := replica(t, w, time.Minute), replica(t, w, time.Minute)
	for range long(200) {
		accessToken := issueTo(t, a, "alice")
		if _, err := b.Validate(t.Context(), accessToken); err != nil {
			t.Fatalf("a token that was just issued: %v", err)
		}
	}
}

// A transaction that ends the tokens of more than 1000 users reports "all" for the rest
// of them.
func TestFeedNamesAtMost1000Users(t *testing.T) {
	t.Parallel()
	w, db := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
	auth := replica(t, w, time.Minute)
	const n = 3000
	if err := db.Exec(`INSERT INTO tokenauth_tokens SELECT decode(md5(i::text), 'hex'), '\x00000000000000000000000000000000', 1,
		decode(md5(i::text) || md5(i::text), 'hex'), NULL, 0, 99999999999, '', i::text, '', '', '{}', '' FROM generate_series(1, ?) AS i`, n).Error; err != nil {
		t.Fatal(err)
	}
	accessToken := issueTo(t, auth, "alice")
	warm(t, auth, accessToken)
	before := auth.CacheStats()
	if err := db.Exec(`DELETE FROM tokenauth_tokens`).Error; err != nil {
		t.Fatal(err)
	}
	refuses(t, auth, accessToken, "a DELETE of all")
	eventually(t, "the cache is flushed", func() bool { return auth.CacheStats().Flushes > before.Flushes })
	if told := auth.CacheStats().Invalidations - before.Invalidations; told > 1000 {
		t.Errorf("the feed named %d users, want at most 1000", told)
	}
}

// longBeat is the beat for tests that need only the first heartbeat. With a short one,
// Watch could return early on a busy machine.
const longBeat = 10 * time.Second

// counting is an Invalidator that counts the reports of Watch.
type counting struct {
	changed, last, all, alive atomic.Int64
}

// lastUser is counted apart from the other users.
const lastUser = "last"

func (c *counting) Invalidate(u tokenauth.UserKey) {
	if u == tokenauth.UserKeyOf(lastUser) {
		c.last.Add(1)
	} else {
		c.changed.Add(1)
	}
}
func (c *counting) InvalidateAll()      { c.all.Add(1) }
func (c *counting) Heartbeat(time.Time) { c.alive.Add(1) }

// The feed reports only tokens that end before they expire. It does not report first
// sign-ins or purges. It names a user once for each transaction.
func TestFeedReportsOnlyEndedTokens(t *testing.T) {
	t.Parallel()
	w, db := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
	feed := new(counting)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- w.Watch(ctx, longBeat, feed) }()
	eventually(t, "the feed is alive", func() bool { return feed.alive.Load() > 0 })
	auth := service(t, w, noUsers{})
	// Notifications arrive in the order of the commits. So after the one of the last
	// user, all have arrived.
	reported := func() int64 {
		t.Helper()
		before := feed.last.Load()
		issueTo(t, auth, lastUser)
		if err := auth.RevokeUser(t.Context(), lastUser); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the feed reports the last user", func() bool { return feed.last.Load() > before })
		return feed.changed.Load()
	}
	for i := range 20 {
		issueTo(t, auth, fmt.Sprint(i))
	}
	if err := db.Exec(`UPDATE tokenauth_tokens SET expires_at = 0 WHERE user_id < '2'`).Error; err != nil {
		t.Fatal(err)
	}
	before := reported()
	if removed, err := auth.Purge(t.Context()); err != nil || removed == 0 {
		t.Fatalf("purged %d tokens, error %v", removed, err)
	}
	if n := reported() - before; n != 0 {
		t.Errorf("the feed reported %d users after a purge, want none", n)
	}
	for i := range 3 {
		if _, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "several"}, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := reported() - before; n != 0 {
		t.Errorf("the feed reported %d users after first sign-ins, want none", n)
	}
	if err := auth.RevokeUser(t.Context(), "several"); err != nil {
		t.Fatal(err)
	}
	if n := reported() - before; n != 1 || feed.all.Load() != 0 {
		t.Errorf("after a revocation of one user at three clients, the feed reported %d users, and %d times all", n, feed.all.Load())
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch returned %v", err)
	}
}

// The feed's connection does not return to the pool, because it still listens.
func TestFeedClosesItsListeningConnection(t *testing.T) {
	t.Parallel()
	w, db := openWatched(t, throwaway.Postgres(t), pgxfeed.Listener{})
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	feed := new(counting)
	go func() { ended <- w.Watch(ctx, longBeat, feed) }()
	eventually(t, "the feed is alive", func() bool { return feed.alive.Load() > 0 })
	eventually(t, "only the feed's connection is in use", func() bool { return pool.Stats().InUse == 1 })
	cancel()
	<-ended
	if n := pool.Stats().InUse; n != 0 {
		t.Errorf("%d connections are in use, want none", n)
	}
	eventually(t, "no connection listens", func() bool {
		var n int
		err := pool.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %' AND pid <> pg_backend_pid()`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n == 0
	})
}

func TestWithFeedRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, e engine) {
		s, db := e.store(t)
		_, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{})
		if !errors.Is(err, gormstore.ErrNoFeed) {
			t.Errorf("without the trigger: error %v, want ErrNoFeed", err)
		}
		if _, err := tokenauth.New(s, noUsers{}, &tokenauth.Options{Cache: &tokenauth.CacheOptions{}}); err == nil || !strings.Contains(err.Error(), "Options.Cache") {
			t.Errorf("a cache without a feed: %v", err)
		}
		err = gormstore.Migrate(t.Context(), db, &gormstore.Options{Feed: true})
		if e.name != "postgres" {
			if !errors.Is(err, gormstore.ErrNoFeed) {
				t.Errorf("a feed on an engine that has none: error %v, want ErrNoFeed", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := gormstore.WithFeed(t.Context(), s, nil); err == nil {
			t.Error("a nil listener is accepted")
		}
		for _, state := range []string{"DISABLE TRIGGER tokenauth_tell", "DISABLE TRIGGER tokenauth_tell_all", "ENABLE TRIGGER ALL", "ENABLE REPLICA TRIGGER tokenauth_tell"} {
			if err := db.Exec(`ALTER TABLE tokenauth_tokens ` + state).Error; err != nil {
				t.Fatal(err)
			}
			_, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{})
			if !errors.Is(err, gormstore.ErrNoFeed) || !strings.Contains(err.Error(), "call Migrate with Options.Feed") {
				t.Errorf("after %s: %v", state, err)
			}
			if err := gormstore.Migrate(t.Context(), db, &gormstore.Options{Feed: true}); err != nil {
				t.Fatal(err)
			}
			if _, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{}); err != nil {
				t.Errorf("after %s and Migrate: %v", state, err)
			}
		}
	})
}

// The triggers of a partitioned table do not fire for TRUNCATE of one partition, or if
// they are disabled for one partition. The heartbeat's row may be in another partition
// and would not detect that.
func TestFeedRefusesPartitions(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	s := newStore(t, db, nil)
	for _, statement := range []string{
		`ALTER TABLE tokenauth_tokens RENAME TO whole`,
		`CREATE TABLE tokenauth_tokens (LIKE whole, PRIMARY KEY (user_key, client_key)) PARTITION BY RANGE (user_key)`,
		`CREATE TABLE first_half PARTITION OF tokenauth_tokens FOR VALUES FROM (MINVALUE) TO ('\x80')`,
		`CREATE TABLE second_half PARTITION OF tokenauth_tokens FOR VALUES FROM ('\x80') TO (MAXVALUE)`,
	} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	refuses := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, gormstore.ErrNoFeed) || !strings.Contains(err.Error(), "table tokenauth_tokens") || !strings.Contains(err.Error(), "partitioned or inherited from") {
			t.Errorf("%s: %v", what, err)
		}
	}
	refuses("Migrate", gormstore.Migrate(t.Context(), db, &gormstore.Options{Feed: true}))
	// The host may have applied the SQL files instead.
	for _, file := range []string{"0001_feed", "0002_search_path", "0003_heartbeat"} {
		text, err := gormstore.Migrations.ReadFile("migrations/postgres_feed/" + file + ".up.sql")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Exec(string(text)).Error; err != nil {
			t.Fatal(err)
		}
	}
	_, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{})
	refuses("WithFeed", err)
	issueTo(t, service(t, s, noUsers{}), "alice") // without a feed the table works
}

// The feed never takes the only connection of the pool. Otherwise each request would
// wait for a connection until its timeout.
func TestFeedDoesNotTakeTheOnlyConnection(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	w, db := openWatched(t, dsn, pgxfeed.Listener{})
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), "SetMaxOpenConns(1)") || !strings.Contains(err.Error(), "DSN") {
			t.Errorf("%s: %v", what, err)
		}
	}
	pool.SetMaxOpenConns(1)
	_, err = gormstore.WithFeed(t.Context(), w.Store, pgxfeed.Listener{})
	refused("one connection", err)
	ctx, cancel := context.WithTimeout(t.Context(), busyTimeout)
	defer cancel()
	refused("one connection, since WithFeed", w.Watch(ctx, time.Second, nil))

	own, err := gormstore.WithFeed(t.Context(), w.Store, pgxfeed.Listener{DSN: dsn})
	if err != nil {
		t.Fatalf("a Listener with its own connection: %v", err)
	}
	auth := replica(t, own, 2*time.Second)
	if _, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "17"}, ""); err != nil {
		t.Error(err)
	}
	pool.SetMaxOpenConns(2)
	if _, err := gormstore.WithFeed(t.Context(), w.Store, pgxfeed.Listener{}); err != nil {
		t.Errorf("two connections: %v", err)
	}
}

// If the account may not create tables, Migrate names the privilege that it needs.
func TestMigrateNamesTheMissingPrivilege(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	pool.SetMaxOpenConns(1) // SET ROLE is the connection's
	role := `"reader_` + strings.ToLower(rand.Text()) + `"`
	for _, statement := range []string{"REVOKE CREATE ON SCHEMA public FROM PUBLIC", "CREATE ROLE " + role, "SET ROLE " + role} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
	err = gormstore.Migrate(t.Context(), db, nil)
	if err == nil || !strings.Contains(err.Error(), "GRANT CREATE ON SCHEMA public") {
		t.Errorf("Migrate: %v", err)
	}
	for _, statement := range []string{"RESET ROLE", "DROP ROLE " + role} {
		if err := db.Exec(statement).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// Several replicas can install the feed at once. The scripts of the feed also work down
// and up again.
func TestMigrateFeedUpAndDown(t *testing.T) {
	t.Parallel()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	o := &gormstore.Options{TablePrefix: "mine_", Feed: true}
	migrateAtOnce(t, db, o)
	s, err := gormstore.New(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{}); err != nil {
		t.Fatal(err)
	}
	// The old trigger is refused, because it could call code of other roles.
	for _, step := range []struct {
		file string
		feed bool
	}{
		{"0003_heartbeat.down", true}, {"0002_search_path.down", true}, {"0001_feed.down", false}, {"0001_feed.down", false},
		{"0001_feed.up", false}, {"0002_search_path.up", false}, {"0003_heartbeat.up", true}, {"0003_heartbeat.up", true},
		{"0002_search_path.up", false}, {"0003_heartbeat.up", true}, {"0001_feed.up", false},
	} {
		script, err := gormstore.Migrations.ReadFile("migrations/postgres_feed/" + step.file + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Exec(strings.ReplaceAll(string(script), "tokenauth_", "mine_")).Error; err != nil {
			t.Fatal(err)
		}
		if _, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{}); (err == nil) != step.feed {
			t.Errorf("after %s: %v", step.file, err)
		}
	}
	migrateAtOnce(t, db, o)
	if _, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{}); err != nil {
		t.Errorf("after migrating from the old trigger: %v", err)
	}
}

// plain is a pool for a server with PostgreSQL's dialect, but without triggers,
// notifications and advisory locks.
type plain struct{ *sql.DB }

func (p plain) GetDBConn() (*sql.DB, error) { return p.DB, nil }

func (p plain) check(query string) error {
	for _, word := range []string{"trigger", "notify", "listen", "function", "advisory", "plpgsql"} {
		if strings.Contains(strings.ToLower(query), word) {
			return fmt.Errorf("syntax error at or near %q", word)
		}
	}
	return nil
}

func (p plain) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.check(query); err != nil {
		return nil, err
	}
	return p.DB.ExecContext(ctx, query, args...)
}

func (p plain) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := p.check(query); err != nil {
		return nil, err
	}
	return p.DB.QueryContext(ctx, query, args...)
}

func TestServerWithoutNotify(t *testing.T) {
	t.Parallel()
	pool, err := sql.Open("pgx", throwaway.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	db := openDialector(t, postgres.New(postgres.Config{Conn: plain{pool}}), nil)
	s := newStore(t, db, nil)
	auth := service(t, s, noUsers{})
	first := issueTo(t, auth, "alice")
	if _, err := auth.Validate(t.Context(), first); err != nil {
		t.Error(err)
	}
	issueTo(t, auth, "alice")
	if _, err := auth.Validate(t.Context(), first); !errors.Is(err, tokenauth.ErrReplacedToken) {
		t.Errorf("validating the previous token: error %v, want ErrReplacedToken", err)
	}
}

// deaf is a Listener that receives nothing, as behind a proxy that pools transactions:
// LISTEN succeeds, but no notification arrives.
type deaf struct{}

func (deaf) Listen(ctx context.Context, _ *sql.DB, _ string, use func(listen.Notifications) error) error {
	return use(deaf{})
}
func (deaf) UsesPool() bool                           { return false }
func (deaf) Next(ctx context.Context) (string, error) { <-ctx.Done(); return "", ctx.Err() }

func TestWatchFailsWithoutNotifications(t *testing.T) {
	t.Parallel()
	w, _ := openWatched(t, throwaway.Postgres(t), deaf{})
	neverAlive(t, w, "DSN")
}

// A wire is a proxy to a server that can close its connections or drop all packets.
type wire struct {
	net.Listener
	network, to string

	mu        sync.Mutex
	conns     []net.Conn
	forgotten *atomic.Bool // for the connections made since the last call of forget
	swallow   atomic.Bool
}

// newWire returns a wire to the server with the DSN, and the DSN through the wire.
func newWire(t *testing.T, dsn string) (*wire, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Listener: listener, forgotten: new(atomic.Bool)}
	w.network, w.to, dsn = throwaway.PostgresBehind(t, dsn, listener.Addr().String())
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(w.network, w.to)
			if err != nil {
				in.Close()
				continue
			}
			w.mu.Lock()
			w.conns = append(w.conns, in, out)
			forgotten := w.forgotten
			w.mu.Unlock()
			go w.carry(in, out, forgotten)
			go w.carry(out, in, forgotten)
		}
	}()
	t.Cleanup(func() { listener.Close(); w.cut() })
	return w, dsn
}

func (w *wire) carry(from, to net.Conn, forgotten *atomic.Bool) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if w.swallow.Load() || forgotten.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.conns {
		conn.Close()
	}
	w.conns = nil
}

// forget drops the packets of all present connections without closing them, as when a
// server loses power.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgotten.Store(true)
	w.forgotten = new(atomic.Bool)
}

// When a server disappears, the pool's idle connections still look usable. The feed must
// not wait on them without limit, even if no other call detects that they are dead.
func TestFeedReconnectsWhenThePoolIsDead(t *testing.T) {
	t.Parallel()
	way, dsn := newWire(t, throwaway.Postgres(t))
	w, db := openWatched(t, dsn, pgxfeed.Listener{})
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	auth := replicaWith(t, w, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}, Timeout: time.Second})
	accessToken := issueTo(t, auth, "alice")
	warm(t, auth, accessToken)
	if n := pool.Stats().Idle; n == 0 {
		t.Error("the pool has no idle connection, so this tests nothing")
	}
	before := auth.CacheStats()
	way.forget()
	feedBack(t, auth, before)
	warm(t, auth, accessToken) // a call may still be the first to use a dead connection
}

// While the storage answers, faults of the feed never make a valid token invalid. A
// revoked token is refused within the lease.
func TestFeedFaultsRefuseNoValidToken(t *testing.T) {
	t.Parallel()
	dsn := throwaway.Postgres(t)
	way, wayDSN := newWire(t, dsn)
	w, db := openWatched(t, dsn, pgxfeed.Listener{DSN: wayDSN})
	reader, writer := replica(t, w, lease), service(t, w, noUsers{})
	for _, fault := range []struct {
		name       string
		begin, end func()
	}{
		{"none", func() {}, func() {}},
		{"cut", way.cut, func() {}},
		{"backend terminated", func() {
			if err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %' AND pid <> pg_backend_pid()`).Error; err != nil {
				t.Fatal(err)
			}
		}, func() {}},
		{"swallowed", func() { way.swallow.Store(true) }, func() { way.cut(); way.swallow.Store(false) }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			eventually(t, "the feed is alive", func() bool { return reader.CacheStats().FeedAlive })
			stays := issueTo(t, writer, "bob")
			warm(t, reader, stays)
			fault.begin()
			for round := range long(5) {
				accessToken := issueTo(t, writer, "alice")
				warmish(t, reader, accessToken)
				if err := writer.Revoke(t.Context(), accessToken); err != nil {
					t.Fatal(err)
				}
				revoked := time.Now()
				for {
					began := time.Now()
					_, err := reader.Validate(t.Context(), accessToken)
					if err != nil {
						if !errors.Is(err, tokenauth.ErrInvalidToken) {
							t.Fatalf("round %d: error %v, want ErrInvalidToken", round, err)
						}
						break
					}
					if began.Sub(revoked) > lease {
						t.Fatalf("round %d: a token was accepted %v after its revocation, the lease is %v", round, began.Sub(revoked), lease)
					}
				}
				if _, err := reader.Validate(t.Context(), stays); err != nil {
					t.Fatalf("round %d: a valid token is refused: %v", round, err)
				}
			}
			fault.end()
			eventually(t, "the feed is alive again", func() bool { return reader.CacheStats().FeedAlive })
			warm(t, reader, stays)
		})
	}
}

// warmish fills the cache with the token if the cache is in use.
func warmish(t testing.TB, auth *tokenauth.Service, accessToken string) {
	t.Helper()
	for range 3 {
		if _, err := auth.Validate(t.Context(), accessToken); err != nil {
			t.Fatal(err)
		}
	}
}

// A server that hangs keeps its connections open. The cache serves until the lease ends.
// After that, validations fail as unavailable, and no token is refused as invalid.
func TestCacheDoesNotServeBeyondTheLease(t *testing.T) {
	t.Parallel()
	server := throwaway.StartPostgres(t)
	w, _ := openWatched(t, server.DSN(), pgxfeed.Listener{})
	auth := replicaWith(t, w, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}, Timeout: 2 * time.Second})
	accessToken := issueTo(t, auth, "alice")
	warm(t, auth, accessToken)
	server.Pause(t)
	paused := time.Now()
	for {
		began := time.Now()
		_, err := auth.Validate(t.Context(), accessToken)
		if errors.Is(err, tokenauth.ErrUnavailable) {
			break
		}
		if err != nil {
			t.Fatalf("validating a valid token while the server hangs: %v", err)
		}
		if began.Sub(paused) > lease {
			t.Fatalf("the cache served %v after the server stopped answering, the lease is %v", began.Sub(paused), lease)
		}
	}
	server.Resume(t)
	eventually(t, "the token is valid again", func() bool {
		_, err := auth.Validate(t.Context(), accessToken)
		if errors.Is(err, tokenauth.ErrInvalidToken) {
			t.Fatal(err)
		}
		return err == nil
	})
	warm(t, auth, accessToken)
}

// While a backup keeps Migrate from replacing the trigger, requests continue.
func TestMigrateFeedDoesNotBlockRequests(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := openDialector(t, postgres.Open(throwaway.Postgres(t)), nil)
	s := newStore(t, db, nil)
	old, err := gormstore.Migrations.ReadFile("migrations/postgres_feed/0001_feed.up.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(string(old)).Error; err != nil {
		t.Fatal(err)
	}
	backup := db.Begin()
	defer backup.Rollback()
	var n int
	if err := backup.Raw(`SELECT count(*) FROM tokenauth_tokens`).Scan(&n).Error; err != nil {
		t.Fatal(err)
	}
	migrated := make(chan error, 1)
	go func() { migrated <- gormstore.Migrate(ctx, db, &gormstore.Options{Feed: true}) }()
	for range 2 {
		eventually(t, "Migrate waits for the backup", func() bool {
			var waiting int
			err := db.Raw(`SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'tokenauth_tokens'::regclass AND mode = 'AccessExclusiveLock'`).Scan(&waiting).Error
			return err == nil && waiting == 1
		})
		// Without a lock timeout, the look-up would wait until the backup has ended.
		call, cancel := context.WithTimeout(ctx, busyTimeout)
		if _, err := s.Find(call, tokenauth.SlotOf("alice", "")); !errors.Is(err, tokenauth.ErrNotFound) {
			t.Errorf("a look-up during Migrate: error %v, want ErrNotFound", err)
		}
		cancel()
	}
	backup.Rollback()
	if err := <-migrated; err != nil {
		t.Errorf("Migrate: %v", err)
	}
	if _, err := gormstore.WithFeed(ctx, s, pgxfeed.Listener{}); err != nil {
		t.Error(err)
	}
}
