package abuse_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/plugin/dbresolver"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// Chapter D of the catalogue: failures of the storage.
var faults = []situation{
	{
		id: "D01", what: "the database is down at a sign-in: 503, no change, and no attempt counted",
		run: func(t *testing.T, h *abuseHost) {
			h.storage.meet(failsIn("Replace"))
			before := h.moment()
			for range 8 { // more than the failures that are allowed
				h.posts(t, unavailable, goodGrant)
			}
			h.storage.meet(nil)
			now := h.moment()
			for key, c := range now.counters {
				if c.Failures != 0 || c.Pending != 0 || c.SucceededAt != 0 {
					t.Errorf("a throttle counter is %+v, was %+v, want no attempt counted", c, before.counters[key])
				}
			}
			h.admits(t, "GET", "/me", "Authorization", "Bearer "+h.token)
			h.tries(t, issued, "POST", "/Token", goodGrant)
		},
		alone: func(t *testing.T) {
			server := throwaway.StartPostgres(t)
			s := newStore(t, openDB(t, postgres.Open(server.DSN())), nil)
			h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
			old := h.signIn(t, grantFor("alice", otherPassword))
			server.Stop(t)
			for range 8 {
				h.posts(t, unavailable, grantFor("alice", otherPassword))
			}
			server.Start(t)
			h.welcomes(t, old, "after the restart")
			accessToken := accessTokenIn(t, h.posts(t, issued, grantFor("alice", otherPassword)))
			h.welcomes(t, accessToken, "a new token after the restart")
			expectQuiet(t, h)
		},
	},
	{
		id: "D02", what: "the database is down at a validation without a cached token: 503 without a challenge",
		alone: func(t *testing.T) {
			server := throwaway.StartPostgres(t)
			s := newStore(t, openDB(t, postgres.Open(server.DSN())), &gormstore.Options{Feed: true})
			w, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{})
			if err != nil {
				t.Fatal(err)
			}
			strict, cached := onHTTP.host(t, s, directory{}, tokenauth.Options{}), onHTTP.host(t, w, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
			accessToken := strict.signIn(t, grantFor("alice", otherPassword))
			server.Stop(t)
			for range 3 {
				strict.isDown(t, accessToken)
				cached.isDown(t, accessToken)
				for _, path := range []string{"/admin", "/app", "/open"} {
					if a := strict.do(t, "GET", path, "", "Authorization", "Bearer "+accessToken); a.StatusCode != http.StatusServiceUnavailable {
						t.Errorf("GET %s while the database is down: got %d, want 503", path, a.StatusCode)
					}
				}
			}
			server.Start(t)
			strict.welcomes(t, accessToken, "without a cache, after the restart")
			cached.welcomes(t, accessToken, "with a cache, after the restart")
			expectQuiet(t, strict)
		},
	},
	{
		id: "D03", what: "the database is down and the token is cached: valid until the lease ends",
		alone: onEngines(func(t *testing.T, on engine) {
			const lease = 2 * time.Second
			var down, mute atomic.Bool
			s := &meddler{before: func(context.Context, string) error {
				if down.Load() {
					return errStorage
				}
				return nil
			}}
			var fed atomic.Int64 // when the last heartbeat was sent
			began := time.Now()
			s.watch = func(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
				for ctx.Err() == nil {
					if !mute.Load() {
						now := time.Now()
						fed.Store(int64(now.Sub(began)))
						feed.Heartbeat(now)
					}
					pause(ctx, beat)
				}
				return ctx.Err()
			}
			h := on.host(t, s, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			h.warm(t, accessToken)
			down.Store(true)
			for range 20 { // the feed is alive although the rest fails
				h.welcomes(t, accessToken, "while the feed is alive")
			}
			h.posts(t, unavailable, grantFor("alice", otherPassword))
			down.Store(false)
			h.warm(t, accessToken)
			down.Store(true)
			mute.Store(true)
			for {
				asked := time.Since(began)
				a := h.me(t, accessToken)
				if a.StatusCode == http.StatusServiceUnavailable {
					break
				}
				if a.StatusCode != http.StatusOK || asked > time.Duration(fed.Load())+lease {
					t.Fatalf("got %d, %v after the last heartbeat; want 200 before the lease ends, and then 503", a.StatusCode, asked-time.Duration(fed.Load()))
				}
			}
			h.isDown(t, accessToken)
		}),
	},
	{
		// The time of the answer after the deadline depends on the load of the
		// machine.
		id: "D04", what: "a query is slower than the timeout: 503 at the deadline, and the connection is free again",
		alone: func(t *testing.T) {
			db := openDB(t, postgres.Open(throwaway.Postgres(t)))
			s := newStore(t, db, nil)
			h := onHTTP.host(t, s, directory{}, tokenauth.Options{Timeout: 300 * time.Millisecond})
			patient := onHTTP.host(t, s, directory{}, tokenauth.Options{Timeout: patience})
			accessToken := patient.signIn(t, grantFor("alice", otherPassword))
			tx := db.Begin()
			mustExec(t, tx, "LOCK TABLE tokenauth_tokens IN ACCESS EXCLUSIVE MODE")
			for range 3 {
				for what, do := range map[string]func(){
					"a validation": func() { h.isDown(t, accessToken) },
					"a sign-in":    func() { h.posts(t, unavailable, grantFor("alice", otherPassword)) },
				} {
					began := time.Now()
					do()
					if took := time.Since(began); took < 290*time.Millisecond || took > patience {
						t.Errorf("%s took %v, want 290ms to %v", what, took, patience)
					}
				}
			}
			eventually(t, "the connections are free", func() bool { return poolOf(t, db).Stats().InUse == 1 }) // all except the one with the lock
			if err := tx.Rollback().Error; err != nil {
				t.Fatal(err)
			}
			h.recovers(t, accessToken)
		},
	},
	{
		id: "D05", what: "no connection is free: 503 at the deadline, and recovery without a restart",
		alone: onDatabases(func(t *testing.T, e sqlEngine) {
			db := openDB(t, e.open(t))
			s := newStore(t, db, nil)
			pool := poolOf(t, db)
			pool.SetMaxOpenConns(2)
			h := onHTTP.host(t, s, directory{}, tokenauth.Options{Timeout: time.Second})
			patient := onHTTP.host(t, s, directory{}, tokenauth.Options{Timeout: patience})
			accessToken := patient.signIn(t, grantFor("alice", otherPassword))
			var held []*sql.Conn
			for range 2 {
				conn, err := pool.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				held = append(held, conn)
			}
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					began := time.Now()
					h.isDown(t, accessToken)
					if took := time.Since(began); took < 970*time.Millisecond || took > patience {
						t.Errorf("GET /me answered after %v, want 970ms to %v", took, patience)
					}
				})
			}
			wg.Wait()
			h.posts(t, unavailable, grantFor("alice", otherPassword))
			for _, conn := range held {
				conn.Close()
			}
			h.recovers(t, accessToken)
		}),
	},
	{
		id: "D06", what: "the connection breaks before the write: 503, and the earlier token is valid",
		alone: func(t *testing.T) {
			h, wire, _ := overWire(t, false)
			old := h.signIn(t, grantFor("alice", otherPassword))
			cut := wire.cutAt("id of alice", false)
			h.posts(t, unavailable, grantFor("alice", otherPassword))
			cut.happened(t)
			h.welcomes(t, old, "after the cut")
			h.welcomes(t, accessTokenIn(t, h.posts(t, issued, grantFor("alice", otherPassword))), "a new token")
			h.refuses(t, replacedToken, old)
		},
	},
	{
		// With the simple protocol, pgx may report that it sent nothing on the
		// broken connection. Then database/sql sends the statement again, and the
		// sign-in succeeds.
		id: "D07", what: "the connection breaks between the commit and the answer: a second sign-in gives the only valid token",
		alone: func(t *testing.T) {
			for name, simple := range map[string]bool{"extended": false, "simple": true} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					h, wire, db := overWire(t, simple)
					old := h.signIn(t, grantFor("alice", otherPassword))
					cut := wire.cutAt("id of alice", true)
					if a := h.do(t, "POST", "/Token", grantFor("alice", otherPassword)); simple && a.StatusCode == http.StatusOK {
						h.welcomes(t, accessTokenIn(t, a), "after database/sql repeated the statement")
					} else {
						unavailable.check(t, a)
					}
					cut.happened(t)
					h.refuses(t, replacedToken, old)
					lost := digestIn(t, db)
					accessToken := accessTokenIn(t, h.posts(t, issued, grantFor("alice", otherPassword)))
					h.welcomes(t, accessToken, "the token of the second sign-in")
					if n := number(t, db, "SELECT count(*) FROM tokenauth_tokens"); n != 1 || digestIn(t, db) == lost {
						t.Errorf("the table has %d tokens, or the second sign-in did not replace the first; want 1 new token", n)
					}
				})
			}
		},
	},
	{
		id: "D08", what: "the connection breaks within a transaction: it is rolled back, and the next statement is not part of it",
		alone: func(t *testing.T) {
			wire, dsn := newWire(t, throwaway.Postgres(t))
			db := openDB(t, postgres.New(postgres.Config{DSN: dsn, PreferSimpleProtocol: true}))
			s := newStore(t, db, nil)
			h := onHTTP.host(t, s, s.Users(), tokenauth.Options{})
			user := addUser(t, s, "alice", "Administrator")
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			poolOf(t, db).SetMaxOpenConns(1)
			cut := wire.cutAt("DELETE FROM tokenauth_tokens", false)
			if err := s.Users().SetDisabled(t.Context(), user.ID, true); err == nil {
				t.Error("SetDisabled returned no error although the connection broke")
			}
			cut.happened(t)
			if now, err := s.Users().Find(t.Context(), user.ID); err != nil || now.Disabled {
				t.Errorf("after the failed change the user is %+v, %v, want an enabled user", now, err)
			}
			h.welcomes(t, accessToken, "after the cut")
			h.posts(t, issued, grantFor("alice", otherPassword))
			eventually(t, "no connection is idle in a transaction", func() bool {
				return number(t, db, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'") == 0
			})
			if err := s.Users().SetDisabled(t.Context(), user.ID, true); err != nil {
				t.Error(err)
			}
			h.posts(t, rejected, grantFor("alice", otherPassword))
		},
	},
	{
		id: "D09", what: "a deadlock or a serialization failure: the write is tried three times, then 503",
		alone: func(t *testing.T) {
			for _, state := range []string{"40001", "40P01"} {
				pool := &meddlingPool{DB: openSQL(t, throwaway.Postgres(t))}
				s := newStore(t, openDB(t, postgres.New(postgres.Config{Conn: pool})), nil)
				h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
				old := h.signIn(t, grantFor("alice", otherPassword))
				for _, test := range []struct{ fails, tries int }{{1, 2}, {2, 3}} {
					pool.fail(test.fails, "INSERT INTO tokenauth_tokens", sqlState(state))
					accessToken := accessTokenIn(t, h.posts(t, issued, grantFor("alice", otherPassword)))
					h.refuses(t, replacedToken, old)
					h.welcomes(t, accessToken, "after a retry")
					old = accessToken
					if n := pool.tried(); n != test.tries {
						t.Errorf("SQLSTATE %s: %d tries, want %d", state, n, test.tries)
					}
				}
				pool.fail(100, "INSERT INTO tokenauth_tokens", sqlState(state))
				h.posts(t, unavailable, grantFor("alice", otherPassword))
				if n := pool.tried(); n != 3 {
					t.Errorf("SQLSTATE %s: %d tries, want 3", state, n)
				}
				// After any other error the write is not repeated, because it may
				// have been done.
				pool.fail(100, "INSERT INTO tokenauth_tokens", sqlState("57014"))
				h.posts(t, unavailable, grantFor("alice", otherPassword))
				if n := pool.tried(); n != 1 {
					t.Errorf("SQLSTATE 57014: %d tries, want 1", n)
				}
				h.welcomes(t, old, "after the failures")
			}
		},
	},
	{
		id: "D10", what: "the primary becomes read-only: 503 for writes, validations succeed, and recovery without a restart",
		alone: func(t *testing.T) {
			t.Run("postgres", func(t *testing.T) {
				t.Parallel()
				server := throwaway.StartPostgres(t)
				db := openDB(t, postgres.Open(server.DSN()))
				s := newStore(t, db, nil)
				readOnly := func(to string) {
					mustExec(t, db, "ALTER SYSTEM SET default_transaction_read_only = "+to)
					mustExec(t, db, "SELECT pg_reload_conf()")
					eventually(t, "read only is "+to, func() bool {
						// Each connection reloads the setting separately.
						for range 16 {
							var is string
							if err := db.Raw("SHOW default_transaction_read_only").Scan(&is).Error; err != nil || is != to {
								return false
							}
						}
						return true
					})
				}
				expectReadOnly(t, onHTTP.host(t, s, directory{}, tokenauth.Options{}), func() { readOnly("on") }, func() { readOnly("off") })
			})
			t.Run("redis", func(t *testing.T) {
				t.Parallel()
				s, client := openRedis(t)
				replicaOf := func(args ...string) {
					if err := client.Do(t.Context(), client.B().Arbitrary("REPLICAOF").Args(args...).Build()).Error(); err != nil {
						t.Fatal(err)
					}
				}
				expectReadOnly(t, onHTTP.host(t, s, directory{}, tokenauth.Options{}),
					func() { replicaOf("127.0.0.1", "1") }, func() { replicaOf("NO", "ONE") })
			})
		},
	},
	{
		id: "D11", what: "the host sends reads to a replica: the Service reads from the primary",
		alone: onDatabases(func(t *testing.T, e sqlEngine) {
			db := openDB(t, e.open(t))
			if err := db.Use(dbresolver.Register(dbresolver.Config{Replicas: []gorm.Dialector{e.open(t)}})); err != nil { // an empty replica
				t.Fatal(err)
			}
			s := newStore(t, db, nil)
			h := onHTTP.host(t, s, s.Users(), tokenauth.Options{LiveCheck: s.Users().LiveCheck, Clients: s.Clients()})
			addUser(t, s, "alice", "Administrator")
			if err := s.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "app"}); err != nil {
				t.Fatal(err)
			}
			h.admits(t, "GET", "/admin", "Authorization", "Bearer "+h.signIn(t, grantFor("alice", otherPassword)+"&client_id=app"))
		}),
	},
	{
		// This has no test with PostgreSQL: a small file system would need root.
		// Its error is handled like the errors in D01.
		id: "D12", what: "the disk, or the memory of Redis, is full: 503 at sign-ins, validations succeed, and no partial row",
		alone: func(t *testing.T) {
			t.Run("sqlite", func(t *testing.T) {
				t.Parallel()
				db := openDB(t, sqlite.open(t))
				poolOf(t, db).SetMaxOpenConns(1) // the page limit belongs to a connection
				s := newStore(t, db, nil)
				h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
				full := func() { mustExec(t, db, "PRAGMA max_page_count = 1") } // no pages beyond the existing ones
				expectFull(t, h, full, func() { mustExec(t, db, "PRAGMA max_page_count = 1000000") },
					func() int { return number(t, db, "SELECT count(*) FROM tokenauth_tokens") })
				var whole string
				if err := db.Raw("PRAGMA integrity_check").Scan(&whole).Error; err != nil || whole != "ok" {
					t.Errorf("PRAGMA integrity_check returns %s, %v, want ok", whole, err)
				}
			})
			t.Run("redis", func(t *testing.T) {
				t.Parallel()
				s, client := openRedis(t)
				limit := func(bytes string) {
					if err := client.Do(t.Context(), client.B().ConfigSet().ParameterValue().ParameterValue("maxmemory", bytes).Build()).Error(); err != nil {
						t.Fatal(err)
					}
				}
				h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
				expectFull(t, h, func() { limit("1") }, func() { limit("0") }, func() int {
					n, err := client.Do(t.Context(), client.B().Dbsize().Build()).AsInt64()
					if err != nil {
						t.Fatal(err)
					}
					return int(n)
				})
			})
		},
	},
	{
		id: "D13", what: "SQLite is locked: 503 at the deadline, even if the host's busy_timeout is longer",
		alone: func(t *testing.T) {
			for _, busy := range []time.Duration{100 * time.Millisecond, 2 * patience} {
				t.Run(busy.String(), func(t *testing.T) {
					t.Parallel()
					path := filepath.Join(t.TempDir(), "abuse.db")
					db := openDB(t, sqliteFile(path, busy))
					s := newStore(t, db, nil)
					h := onHTTP.host(t, s, directory{}, tokenauth.Options{Timeout: 2 * time.Second})
					old := h.signIn(t, grantFor("alice", otherPassword))
					tx := openDB(t, sqliteFile(path, busy)).Begin() // immediate: it takes the write lock
					for range 2 {
						began := time.Now()
						h.posts(t, unavailable, grantFor("alice", otherPassword))
						if took := time.Since(began); took > patience {
							t.Errorf("the sign-in took %v, want at most %v", took, patience)
						}
						h.welcomes(t, old, "while another connection has the write lock")
					}
					if err := tx.Rollback().Error; err != nil {
						t.Fatal(err)
					}
					h.recovers(t, old)
					h.refuses(t, replacedToken, old)
				})
			}
		},
	},
	{
		id: "D14", what: "Redis lost its tokens: they are invalid, and the documentation names the settings that prevent this",
		alone: func(t *testing.T) {
			s, client := openRedis(t)
			h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
			for name, forget := range map[string]rueidis.Completed{
				"flushed": client.B().Flushall().Build(),
				"evicted": client.B().Arbitrary("EVAL", "for _, k in ipairs(redis.call('KEYS', '*')) do redis.call('DEL', k) end", "0").Build(),
			} {
				t.Run(name, func(t *testing.T) {
					accessToken := h.signIn(t, grantFor("alice", otherPassword))
					h.welcomes(t, accessToken, "before the loss")
					if err := client.Do(t.Context(), forget).Error(); err != nil && !rueidis.IsRedisNil(err) {
						t.Fatal(err)
					}
					h.refuses(t, invalidToken, accessToken)
					h.welcomes(t, h.signIn(t, grantFor("alice", otherPassword)), "a new token")
				})
			}
			source, err := os.ReadFile("../../storage/redisstore/redisstore.go")
			if err != nil {
				t.Fatal(err)
			}
			for _, setting := range []string{"maxmemory-policy noeviction", "appendonly yes"} {
				if !strings.Contains(string(source), setting) {
					t.Errorf("the package comment of redisstore does not name the setting %s", setting)
				}
			}
		},
	},
	{
		id: "D15", what: "a failover of Redis loses the last second",
		unreachable: "Redis replicates after it has answered, and no client can prevent the loss; the comment of package redisstore explains it, what limits it, and that PostgreSQL with synchronous replication does not lose the write",
	},
	{
		// The Service does not know the connections of the storage, so it cannot
		// close the one that returned the wrong row.
		id: "D16", what: "the storage returns the token of another slot: 503, an error in the log, and no one is signed in",
		alone: onEngines(func(t *testing.T, on engine) {
			for name, o := range map[string]tokenauth.Options{"strict": {}, "cached": {Cache: &tokenauth.CacheOptions{}}} {
				var swapped atomic.Bool
				s := new(meddler)
				s.found = func(token tokenauth.Token, err error) (tokenauth.Token, error) {
					if swapped.Load() {
						return s.Store.Find(context.Background(), tokenauth.SlotOf("id of admin", ""))
					}
					return token, err
				}
				h := on.host(t, s, directory{}, o)
				admin, alice := h.signIn(t, grantFor("admin", otherPassword)), h.signIn(t, grantFor("alice", otherPassword))
				swapped.Store(true)
				h.isDown(t, alice)
				if log := h.log.String(); !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "another slot") || strings.Contains(log, alice) {
					t.Errorf("%s: the log is %s, want an error that names another slot", name, log)
				}
				h.welcomes(t, admin, "the token whose row the storage returns")
				swapped.Store(false)
				if a := h.me(t, alice); a.body != "alice" {
					t.Errorf("%s: GET /me after the fault: got %d %s, want alice", name, a.StatusCode, a.body)
				}
			}
		}),
	},
	{
		id: "D17", what: "a stored token is malformed: it is invalid, the log has an error, and nothing panics",
		alone: func(t *testing.T) {
			onDatabases(malformedRows)(t)
			t.Run("redis", malformedValues)
		},
	},
	{
		id: "D18", what: "the storage returns neither a token nor an error: 503",
		alone: onEngines(func(t *testing.T, on engine) {
			for _, o := range []tokenauth.Options{{}, {Cache: &tokenauth.CacheOptions{}}} {
				h := on.host(t, &meddler{found: func(tokenauth.Token, error) (tokenauth.Token, error) { return tokenauth.Token{}, nil }}, directory{}, o)
				accessToken := h.signIn(t, grantFor("alice", otherPassword))
				for range 3 {
					h.isDown(t, accessToken)
				}
			}
		}),
	},
	{
		id: "D19", what: "the storage panics: 500, the connection is closed, and later requests succeed",
		alone: onEngines(panickingStorage),
	},
	{
		// A Watcher must not lose a message and still send heartbeats, because a
		// heartbeat says that no message is missing.
		id: "D20", what: "the message of a revocation is lost: the token is valid until the lease ends, and not longer",
		alone: onEngines(func(t *testing.T, on engine) {
			const lease = 500 * time.Millisecond
			shared := new(memory.Store)
			here := on.host(t, shared, directory{}, tokenauth.Options{})
			feed := newScript()
			there := on.host(t, &meddler{other: shared, watch: feed.watch}, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
			for range 3 {
				feed.alive(true)
				accessToken := here.signIn(t, grantFor("alice", otherPassword))
				there.warm(t, accessToken)
				feed.alive(false) // no more messages arrive
				if err := here.auth.Revoke(t.Context(), accessToken); err != nil {
					t.Fatal(err)
				}
				revoked := time.Now()
				for asked := time.Now(); there.me(t, accessToken).StatusCode == http.StatusOK; asked = time.Now() {
					if asked.Sub(revoked) > lease {
						t.Fatalf("the revoked token was still valid after %v", asked.Sub(revoked))
					}
				}
				there.refuses(t, invalidToken, accessToken)
			}
		}),
	},
	{
		id: "D21", what: "the feed is disconnected: the cache is bypassed at once, and after the reconnection it is empty",
		alone: onEngines(func(t *testing.T, on engine) {
			shared := new(memory.Store)
			here := on.host(t, shared, directory{}, tokenauth.Options{})
			feed := newScript()
			there := on.host(t, &meddler{other: shared, watch: feed.watch}, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: time.Minute}})
			feed.alive(true)
			revoked, stays := here.signIn(t, grantFor("alice", otherPassword)), here.signIn(t, grantFor("bob", otherPassword))
			there.warm(t, revoked)
			there.warm(t, stays)
			flushes := there.auth.CacheStats().Flushes
			feed.alive(false)
			feed.disconnect()
			eventually(t, "the cache has noticed the loss of the feed", func() bool { return !there.auth.CacheStats().FeedAlive })
			if err := here.auth.Revoke(t.Context(), revoked); err != nil {
				t.Fatal(err)
			}
			there.refuses(t, invalidToken, revoked)
			bypasses := there.auth.CacheStats().Bypasses
			there.welcomes(t, stays, "while the feed is down")
			if there.auth.CacheStats().Bypasses == bypasses {
				t.Error("the cache answered while the feed was down")
			}
			feed.alive(true)
			eventually(t, "the feed of the cache is alive again", func() bool { return there.auth.CacheStats().FeedAlive })
			if there.auth.CacheStats().Flushes == flushes {
				t.Error("the cache was not flushed when the feed came back")
			}
			there.refuses(t, invalidToken, revoked)
			there.warm(t, stays)
			if log := there.log.String(); !strings.Contains(log, "the feed of changes is lost") || !strings.Contains(log, "is back") {
				t.Errorf("the log is %s, want the loss and the return of the feed", log)
			}
		}),
	},
	{
		id: "D22", what: "repeated, reordered, forged and oversized messages only cause more cache misses",
		alone: forgedMessages,
	},
	{
		id: "D23", what: "a token that was read before its revocation message, and arrives after it, is never served from the cache",
		alone: onEngines(func(t *testing.T, on engine) {
			shared := new(memory.Store)
			here := on.host(t, shared, directory{}, tokenauth.Options{})
			var slow atomic.Bool
			found, goOn := make(chan struct{}), make(chan struct{})
			feed := newScript()
			there := on.host(t, &meddler{other: shared, watch: feed.watch, found: func(token tokenauth.Token, err error) (tokenauth.Token, error) {
				if slow.CompareAndSwap(true, false) {
					found <- struct{}{}
					<-goOn
				}
				return token, err
			}}, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: time.Minute}})
			feed.alive(true)
			eventually(t, "the feed of the cache is alive", func() bool { return there.auth.CacheStats().FeedAlive })
			for range 5 {
				accessToken := here.signIn(t, grantFor("alice", otherPassword))
				slow.Store(true)
				answered := make(chan int)
				go func() { answered <- there.me(t, accessToken).StatusCode }()
				<-found // the token was read and is being returned
				if err := here.auth.Revoke(t.Context(), accessToken); err != nil {
					t.Fatal(err)
				}
				feed.changed(tokenauth.UserKeyOf("id of alice"))
				goOn <- struct{}{}
				<-answered // both 200 and 401 are correct for a request from before the revocation
				for range 3 {
					there.refuses(t, invalidToken, accessToken)
				}
				if n := there.auth.CacheStats().Hits; n != 0 {
					t.Errorf("the cache served %d requests with a revoked token", n)
				}
			}
		}),
	},
	{
		// A few hundred unknown tokens are enough, because the cache keeps nothing
		// of any of them.
		id: "D24", what: "the cache keeps no unknown tokens, and at most MaxEntries valid ones",
		alone: onEngines(func(t *testing.T, on engine) {
			const most = 50
			var finds atomic.Int64
			s := &meddler{before: func(_ context.Context, call string) error {
				if call == "Find" {
					finds.Add(1)
				}
				return nil
			}}
			h := on.host(t, s, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{MaxEntries: most}})
			elsewhere := on.host(t, new(memory.Store), directory{}, tokenauth.Options{})
			eventually(t, "the feed of the cache is alive", func() bool { return h.auth.CacheStats().FeedAlive })
			for i := range 300 {
				grant, err := elsewhere.auth.Issue(t.Context(), tokenauth.Principal{UserID: fmt.Sprint(i)}, "")
				if err != nil {
					t.Fatal(err)
				}
				h.refuses(t, invalidToken, grant.AccessToken.Reveal())
			}
			if stats := h.auth.CacheStats(); stats.Entries != 0 || finds.Load() != 300 {
				t.Errorf("the cache has %d entries after %d look-ups, want 0 after 300", stats.Entries, finds.Load())
			}
			for i := range 5 * most {
				grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: fmt.Sprint(i)}, "")
				if err != nil {
					t.Fatal(err)
				}
				h.welcomes(t, grant.AccessToken.Reveal(), "one of many tokens")
			}
			if stats := h.auth.CacheStats(); stats.Entries < 1 || stats.Entries > most || stats.Evictions == 0 {
				t.Errorf("the cache has %d entries after %d evictions, want 1 to 50 and some evictions", stats.Entries, stats.Evictions)
			}
		}),
	},
	{
		id: "D25", what: "many concurrent requests with one token: one look-up, and a client that disconnects does not affect the others",
		alone: onEngines(herd),
	},
	{
		id: "D26", what: "a purge during sign-ins removes no valid token",
		alone: onDatabases(purgeWhileSigningIn),
	},
	{
		// How long a batch locks its rows depends on the machine. Its size of at
		// most a thousand rows keeps it short.
		id: "D27", what: "a purge works in batches of at most a thousand rows",
		alone: func(t *testing.T) {
			pool := &meddlingPool{DB: openSQL(t, throwaway.Postgres(t))}
			db := openDB(t, postgres.New(postgres.Config{Conn: pool}))
			s := newStore(t, db, nil)
			h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
			const rows = 3500
			mustExec(t, db, `INSERT INTO tokenauth_tokens SELECT decode(md5(i::text), 'hex'), '\x00000000000000000000000000000000', 1,
				decode(md5(i::text) || md5(i::text), 'hex'), NULL, 0, 1000, '', i::text, '', '', '{}', '' FROM generate_series(1, ?) AS i`, rows)
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			removed, err := h.auth.Purge(t.Context())
			most, deletes := pool.deleted()
			if removed != rows || err != nil || most > 1000 || most < 500 || deletes < 4 {
				t.Errorf("Purge removed %d rows by %d statements of at most %d rows, error %v", removed, deletes, most, err)
			}
			h.welcomes(t, accessToken, "after the purge")
		},
	},
	{
		id: "D28", what: "the schema is missing or old: New fails and names gormstore.Migrate, and no request migrates",
		alone: onDatabases(oldSchema),
	},
	{
		// A later version may write rows and tokens that this version cannot read.
		// Rows and tokens of the same version are valid in both processes.
		id: "D29", what: "two versions share a database: a version rejects rows and tokens that it cannot read, without a storage error",
		alone: onDatabases(func(t *testing.T, e sqlEngine) {
			db := openDB(t, e.open(t))
			one := onHTTP.host(t, newStore(t, db, nil), directory{}, tokenauth.Options{})
			two := onHTTP.host(t, newStore(t, db, nil), directory{}, tokenauth.Options{})
			accessToken := one.signIn(t, grantFor("alice", otherPassword))
			two.welcomes(t, accessToken, "a token issued by the other process")
			again := two.signIn(t, grantFor("alice", otherPassword))
			one.welcomes(t, again, "a token issued by the other process")
			one.refuses(t, replacedToken, accessToken)

			mustExec(t, db, "UPDATE tokenauth_tokens SET format = 2")
			one.refuses(t, invalidToken, again)
			if !strings.Contains(one.log.String(), "corrupt") || !strings.Contains(one.log.String(), "format 2") {
				t.Errorf("the log is %s, want a corrupt row of format 2", one.log)
			}
			// A sign-in overwrites the row in the format of this version.
			one.welcomes(t, one.signIn(t, grantFor("alice", otherPassword)), "after the other version's row")
			two.refuses(t, invalidToken, ofVersion(t, 2, two.signIn(t, grantFor("alice", otherPassword))))
		}),
	},
	{
		id: "D30", what: "the server shuts down during a thousand sign-ins: each sign-in that it accepted is answered",
		alone: onEngines(shutDownWhileSigningIn),
	},
}

// ofVersion returns the access token with another version of its format.
func ofVersion(t *testing.T, version byte, accessToken string) string {
	t.Helper()
	const prefix = "tat_"
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(accessToken, prefix))
	if err != nil {
		t.Fatal(err)
	}
	if withChecksum(b[:len(b)-4]) != accessToken {
		t.Fatal("the token has another checksum than this test computes")
	}
	b[0] = version
	return withChecksum(b[:len(b)-4])
}

// withChecksum returns the access token with this body and its checksum.
func withChecksum(body []byte) string {
	const prefix = "tat_"
	sum := crc32.ChecksumIEEE(slices.Concat([]byte(prefix), body))
	return prefix + base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(slices.Clone(body), sum))
}

// expectQuiet checks that the log has an error and neither a password nor a
// token.
func expectQuiet(t *testing.T, h *abuseHost) {
	t.Helper()
	log := h.log.String()
	if !strings.Contains(log, "level=ERROR") || strings.Contains(log, otherPassword) || strings.Contains(log, "tat_") {
		t.Errorf("the log is %s, want an error without secrets", log)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// warm validates the token until the cache answers.
func (h *abuseHost) warm(t *testing.T, accessToken string) {
	t.Helper()
	eventually(t, "the token is cached", func() bool {
		hits := h.auth.CacheStats().Hits
		h.welcomes(t, accessToken, "while the cache warms up")
		return h.auth.CacheStats().Hits > hits
	})
}

// openRedis starts a Redis server and returns a store on it.
func openRedis(t *testing.T) (*redisstore.Store, rueidis.Client) {
	t.Helper()
	o, err := rueidis.ParseURL(throwaway.StartRedis(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	o.DisableCache = true
	client, err := rueidis.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	s, err := redisstore.New(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, client
}

func openSQL(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	pool, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return pool
}

// expectReadOnly checks a host whose storage is read-only from begin to end.
func expectReadOnly(t *testing.T, h *abuseHost, begin, end func()) {
	t.Helper()
	old := h.signIn(t, grantFor("alice", otherPassword))
	begin()
	for range 3 {
		h.posts(t, unavailable, grantFor("alice", otherPassword))
		h.welcomes(t, old, "while the storage is read-only")
		if err := h.auth.Revoke(t.Context(), old); !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Errorf("Revoke on a read-only storage returns the error %v, want ErrUnavailable", err)
		}
	}
	end()
	h.welcomes(t, old, "when the storage is writable again")
	h.welcomes(t, accessTokenIn(t, h.posts(t, issued, grantFor("alice", otherPassword))), "a new token when the storage is writable again")
	h.refuses(t, replacedToken, old)
}

// expectFull checks a host whose storage is full from begin to end. The func
// rows returns the number of rows in the storage.
func expectFull(t *testing.T, h *abuseHost, begin, end func(), rows func() int) {
	t.Helper()
	old := h.signIn(t, grantFor("alice", otherPassword))
	begin()
	full := 0
	for i := range 500 { // until the remaining room is used up
		a := h.do(t, "POST", "/Token", grantFor(fmt.Sprint("user", i), otherPassword))
		if a.StatusCode == http.StatusOK {
			continue
		}
		unavailable.check(t, a)
		if full++; full == 3 {
			break
		}
	}
	if full != 3 {
		t.Fatal("500 sign-ins did not fill the storage")
	}
	n := rows()
	h.posts(t, unavailable, grantFor("one more", otherPassword))
	if now := rows(); now != n {
		t.Errorf("the storage has %d rows after a failed sign-in, and now %d, want no change", n, now)
	}
	h.welcomes(t, old, "while the storage is full")
	end()
	h.welcomes(t, accessTokenIn(t, h.posts(t, issued, grantFor("one more", otherPassword))), "a new token when there is room again")
	if now := rows(); now != n+1 {
		t.Errorf("the storage had %d rows while it was full, and now has %d, want one more", n, now)
	}
	h.welcomes(t, old, "the earlier token when there is room again")
}

// overWire returns a host that reaches its database over a wire. The returned
// gorm.DB reaches the database directly.
func overWire(t *testing.T, simpleProtocol bool) (*abuseHost, *wire, *gorm.DB) {
	t.Helper()
	direct := throwaway.Postgres(t)
	w, dsn := newWire(t, direct)
	s := newStore(t, openDB(t, postgres.New(postgres.Config{DSN: dsn, PreferSimpleProtocol: simpleProtocol})), nil)
	return onHTTP.host(t, s, directory{}, tokenauth.Options{}), w, openDB(t, postgres.Open(direct))
}

func digestIn(t *testing.T, db *gorm.DB) (digest string) {
	t.Helper()
	var b []byte
	if err := poolOf(t, db).QueryRow("SELECT digest FROM tokenauth_tokens").Scan(&b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}

// A wire is a proxy in front of a server, which a test can cut at a statement.
type wire struct {
	network, to string

	mu    sync.Mutex
	conns []net.Conn
	next  *cut // nil for none
}

// A cut closes a connection at a statement: before the server gets the
// statement, or when the server answers it.
type cut struct {
	statement string
	after     bool
	done      atomic.Bool
}

func (c *cut) happened(t *testing.T) {
	t.Helper()
	if !c.done.Load() {
		t.Fatalf("the wire was not cut at a statement with %q", c.statement)
	}
}

// newWire returns a wire to the PostgreSQL server at the DSN, and the DSN of
// the wire.
func newWire(t *testing.T, dsn string) (*wire, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := new(wire)
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
			w.mu.Unlock()
			var armed atomic.Pointer[cut]
			go w.carry(in, out, func(b []byte) bool { return w.sent(b, &armed) })
			go w.carry(out, in, func([]byte) bool {
				c := armed.Load()
				return c == nil || c.done.Swap(true)
			})
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, conn := range w.conns {
			conn.Close()
		}
	})
	return w, dsn
}

// cutAt cuts the wire at the next statement that contains the text, also in its
// arguments.
func (w *wire) cutAt(statement string, after bool) *cut {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = &cut{statement: statement, after: after}
	return w.next
}

// sent reports whether the wire passes the bytes of a client on to the server.
func (w *wire) sent(b []byte, armed *atomic.Pointer[cut]) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.next
	if c == nil || !strings.Contains(string(b), c.statement) {
		return true
	}
	w.next = nil
	if c.after {
		armed.Store(c)
		return true
	}
	c.done.Store(true)
	return false
}

// carry copies bytes until pass returns false.
func (w *wire) carry(from, to net.Conn, pass func([]byte) bool) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !pass(buf[:n]) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// sqlState is an error with a SQLSTATE, as PostgreSQL returns it.
type sqlState string

func (s sqlState) Error() string    { return "made up (SQLSTATE " + string(s) + ")" }
func (s sqlState) SQLState() string { return string(s) }

// A meddlingPool is a connection pool that fails at a given statement, and
// counts the rows that DELETE statements remove.
type meddlingPool struct {
	*sql.DB

	mu        sync.Mutex
	fails     int
	statement string
	err       error
	tries     int
	most      int64
	deletes   int
}

func (p *meddlingPool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

func (p *meddlingPool) fail(times int, statement string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails, p.statement, p.err, p.tries = times, statement, err, 0
}

func (p *meddlingPool) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// deleted returns the largest number of tokens that one DELETE removed, and the
// number of DELETE statements.
func (p *meddlingPool) deleted() (most int64, deletes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most, p.deletes
}

func (p *meddlingPool) meddle(query string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.statement == "" || !strings.Contains(query, p.statement) {
		return nil
	}
	if p.tries++; p.tries > p.fails {
		return nil
	}
	return p.err
}

func (p *meddlingPool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := p.meddle(query); err != nil {
		return nil, err
	}
	result, err := p.DB.ExecContext(ctx, query, args...)
	if err == nil && strings.HasPrefix(query, "DELETE FROM tokenauth_tokens") {
		n, _ := result.RowsAffected()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.most = max(p.most, n)
		p.deletes++
	}
	return result, err
}

// malformedRows changes the row of a token in each way that the columns allow.
func malformedRows(t *testing.T, e sqlEngine) {
	db := openDB(t, e.open(t))
	s := newStore(t, db, nil)
	h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
	cached := onHTTP.host(t, &findOnly{s}, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
	eventually(t, "the feed of the cache is alive", func() bool { return cached.auth.CacheStats().FeedAlive })
	short := map[string]string{"sqlite": "substr(digest, 1, 31)", "postgres": "substring(digest from 1 for 31)", "mariadb": "x'00', format = NULL"}[e.name]
	for _, set := range []string{
		"format = 99", "format = 0", "format = -1", "attributes = '{'", "attributes = '[]'", "attributes = ''", "attributes = '{\"a\":1}'",
		"digest = " + short, "replaced = " + short, "expires_at = NULL", "expires_at = 'never'", "user_name = NULL", "issued_at = 'x'",
	} {
		accessToken := h.signIn(t, grantFor("alice", otherPassword))
		if err := db.Exec("UPDATE tokenauth_tokens SET " + set).Error; err != nil {
			if e.name == "sqlite" && !strings.Contains(set, "NULL") {
				t.Fatal(err) // SQLite accepts any value
			}
			continue // the database rejects the value
		}
		if strings.Contains(set, "NULL") && e.name == "sqlite" {
			t.Errorf("SQLite accepts %s, want an error", set)
		}
		logged := len(h.log.String())
		h.refuses(t, invalidToken, accessToken)
		if log := h.log.String()[logged:]; !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "corrupt") || strings.Contains(log, accessToken) {
			t.Errorf("%s: the log is %q, want an error about a corrupt row without the token", set, log)
		}
		cached.refuses(t, invalidToken, accessToken)
		// The next sign-in replaces the malformed row.
		h.welcomes(t, h.signIn(t, grantFor("alice", otherPassword)), "after "+set)
	}
}

// findOnly is a storage whose feed sends heartbeats and no changes.
type findOnly struct{ *gormstore.Store }

func (findOnly) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	for ctx.Err() == nil {
		feed.Heartbeat(time.Now())
		pause(ctx, beat)
	}
	return ctx.Err()
}

func malformedValues(t *testing.T) {
	t.Parallel()
	s, client := openRedis(t)
	h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
	slot := tokenauth.SlotOf("id of alice", "")
	key, field := fmt.Sprintf("tokenauth:%x", slot.User[:]), fmt.Sprintf("%x", slot.Client[:])
	for name, spoil := range map[string]func(value string) string{
		"empty":            func(string) string { return "" },
		"31 bytes":         func(v string) string { return v[:31] },
		"digests only":     func(v string) string { return v[:64] },
		"cut off":          func(v string) string { return v[:len(v)-1] },
		"too long":         func(v string) string { return v + "x" },
		"another version":  func(v string) string { return v[:64] + "\xff" + v[65:] },
		"another digest":   func(v string) string { return v[:31] + string(v[31]^1) + v[32:] },
		"text":             func(string) string { return strings.Repeat("x", 200) },
		"a length of 2^63": func(v string) string { return v[:65] + strings.Repeat("\xff", 80) },
	} {
		accessToken := h.signIn(t, grantFor("alice", otherPassword))
		value, err := client.Do(t.Context(), client.B().Hget().Key(key).Field(field).Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Do(t.Context(), client.B().Hset().Key(key).FieldValue().FieldValue(field, spoil(value)).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		logged := len(h.log.String())
		h.refuses(t, invalidToken, accessToken)
		if log := h.log.String()[logged:]; !strings.Contains(log, "level=ERROR") || !strings.Contains(log, "corrupt") {
			t.Errorf("%s: the log is %q, want an error about a corrupt value", name, log)
		}
		h.welcomes(t, h.signIn(t, grantFor("alice", otherPassword)), "after "+name)
	}
	// A Redis key of another type is a storage error, and does not mean that the
	// token is gone.
	accessToken := h.signIn(t, grantFor("alice", otherPassword))
	client.Do(t.Context(), client.B().Del().Key(key).Build())
	client.Do(t.Context(), client.B().Set().Key(key).Value("x").Build())
	h.isDown(t, accessToken)
}

func panickingStorage(t *testing.T, on engine) {
	for name, o := range map[string]tokenauth.Options{"strict": {}, "cached": {Cache: &tokenauth.CacheOptions{}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var panicking atomic.Bool
			h := on.host(t, &meddler{before: func(context.Context, string) error {
				if panicking.Load() {
					panic(otherPassword)
				}
				return nil
			}}, directory{}, o)
			eventually(t, "the feed of the cache is alive", func() bool { return o.Cache == nil || h.auth.CacheStats().FeedAlive })
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			panicking.Store(true)
			var wg sync.WaitGroup
			for range 10 {
				wg.Go(func() {
					a := h.me(t, accessToken)
					a.expectNoStore(t)
					a.expectHeaders(t, map[string]string{"WWW-Authenticate": "", "Retry-After": ""})
					// One request meets the panic and gets 500. The requests that
					// wait for its look-up get 503.
					if a.StatusCode == http.StatusInternalServerError && !a.Close || a.StatusCode != http.StatusInternalServerError && a.StatusCode != http.StatusServiceUnavailable {
						t.Errorf("got %d with Close %v, want 500 with true, or 503: %s", a.StatusCode, a.Close, a.body)
					}
				})
			}
			wg.Wait()
			for range 8 {
				a := h.do(t, "POST", "/Token", grantFor("alice", otherPassword))
				a.expectError(t, http.StatusInternalServerError, "server_error")
				if !a.Close {
					t.Error("the connection was not closed after a panic")
				}
			}
			if handled := h.handled.Load(); handled != 0 {
				t.Errorf("%d requests reached the handler, want 0", handled)
			}
			panicking.Store(false)
			h.welcomes(t, accessToken, "after the panic")
			h.posts(t, issued, grantFor("alice", otherPassword)) // no failed attempt was counted
			expectQuiet(t, h)
			if log := h.serverLog.String(); strings.Contains(log, "panic") {
				t.Errorf("the panic reached net/http: %s", log)
			}
		})
	}
}

// A script is a feed that a test controls.
type script struct {
	on      atomic.Bool
	lost    chan struct{}
	changes chan tokenauth.UserKey
	told    chan struct{}
}

func newScript() *script {
	return &script{lost: make(chan struct{}), changes: make(chan tokenauth.UserKey), told: make(chan struct{})}
}

func (s *script) alive(on bool) { s.on.Store(on) }

// disconnect ends the running Watch with an error.
func (s *script) disconnect() { s.lost <- struct{}{} }

// changed sends a change, and returns when the cache has got it.
func (s *script) changed(u tokenauth.UserKey) {
	s.changes <- u
	<-s.told
}

func (s *script) watch(ctx context.Context, _ time.Duration, feed tokenauth.Invalidator) error {
	for {
		if s.on.Load() {
			feed.Heartbeat(time.Now())
		}
		timer := time.NewTimer(5 * time.Millisecond)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.lost:
			return errStorage
		case u := <-s.changes:
			feed.Invalidate(u)
			s.told <- struct{}{}
		case <-timer.C:
		}
	}
}

// forgedMessages sends forged messages to the channel of the feed.
func forgedMessages(t *testing.T) {
	db := openDB(t, postgres.Open(throwaway.Postgres(t)))
	s := newStore(t, db, &gormstore.Options{Feed: true})
	w, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{})
	if err != nil {
		t.Fatal(err)
	}
	const lease = time.Minute // so long that only the feed can end a token
	here := onHTTP.host(t, s, directory{}, tokenauth.Options{})
	there := onHTTP.host(t, w, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
	eventually(t, "the feed of the cache is alive", func() bool { return there.auth.CacheStats().FeedAlive })
	stays, revoked := here.signIn(t, grantFor("bob", otherPassword)), here.signIn(t, grantFor("alice", otherPassword))
	there.warm(t, stays)
	there.warm(t, revoked)
	bob := tokenauth.UserKeyOf("id of bob")
	var payloads []string
	for range 20 {
		payloads = append(payloads,
			hex.EncodeToString(bob[:]), strings.ToUpper(hex.EncodeToString(bob[:])), hex.EncodeToString(bob[:])[:31],
			"", "all", "ALL", "beat ", "beat of somebody", "beat "+hex.EncodeToString(bob[:]), "{}", "\u00e4\u20ac",
			strings.Repeat("f", 32), strings.Repeat("g", 32), strings.Repeat("x", 7999))
	}
	for i, payload := range payloads {
		mustExec(t, db, "SELECT pg_notify('tokenauth_feed', ?)", payload)
		if i == len(payloads)/2 {
			if err := here.auth.Revoke(t.Context(), revoked); err != nil {
				t.Fatal(err)
			}
		}
		there.welcomes(t, stays, "after "+payload[:min(len(payload), 40)])
	}
	eventually(t, "the revoked token is refused", func() bool { return there.me(t, revoked).StatusCode == http.StatusUnauthorized })
	there.refuses(t, invalidToken, revoked)
	there.warm(t, stays)
	stats := there.auth.CacheStats()
	if !stats.FeedAlive || stats.Flushes == 0 || stats.Invalidations == 0 || strings.Contains(there.log.String(), "feed of changes is lost") {
		t.Errorf("the statistics of the cache are %+v; log: %s", stats, there.log)
	}
}

// herd sends many requests with one token that wait for the same look-up.
func herd(t *testing.T, on engine) {
	const many = 40
	var slow atomic.Bool
	var finds atomic.Int64
	asked, goOn := make(chan struct{}, many+1), make(chan struct{})
	s := &meddler{before: func(_ context.Context, call string) error {
		if call == "Find" && slow.Load() {
			finds.Add(1)
			asked <- struct{}{}
			<-goOn
		}
		return nil
	}}
	h := on.host(t, s, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{}, Timeout: 30 * time.Second})
	eventually(t, "the feed of the cache is alive", func() bool { return h.auth.CacheStats().FeedAlive })
	accessToken := h.signIn(t, grantFor("alice", otherPassword))
	slow.Store(true)

	// The first client disconnects while the others wait for its look-up.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, "GET", h.url+"/me", nil)
		if err == nil {
			r.Header.Set("Authorization", "Bearer "+accessToken)
			_, err = h.client.Do(r)
		}
		gone <- err
	}()
	<-asked
	misses := h.auth.CacheStats().Misses
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() { h.welcomes(t, accessToken, "one of many requests") })
	}
	eventually(t, "all requests wait for the look-up", func() bool { return h.auth.CacheStats().Misses == misses+many })
	if n := finds.Load(); n != 1 {
		t.Errorf("%d look-ups for %d requests, want 1", n, many+1)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("the first request got the error %v, want context.Canceled", err)
	}
	close(goOn)
	wg.Wait()
	hits := h.auth.CacheStats().Hits
	h.welcomes(t, accessToken, "after the look-up")
	if h.auth.CacheStats().Hits == hits {
		t.Error("the cache did not keep the token")
	}
}

// purgeWhileSigningIn expires the tokens of all users and then purges again and
// again while the users sign in.
func purgeWhileSigningIn(t *testing.T, e sqlEngine) {
	db := openDB(t, e.open(t))
	s := newStore(t, db, nil)
	h := onHTTP.host(t, s, directory{}, tokenauth.Options{Timeout: 30 * time.Second})
	names := []string{"alice", "bob", "carol", "dave"}
	for range 8 {
		for _, name := range names {
			h.signIn(t, grantFor(name, otherPassword))
		}
		mustExec(t, db, "UPDATE tokenauth_tokens SET expires_at = 1000")
		var wg, purges sync.WaitGroup
		signedIn := make(chan struct{})
		purges.Go(func() {
			for last := false; !last; {
				select {
				case <-signedIn:
					last = true
				default:
				}
				if _, err := h.auth.Purge(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
		tokens := make([]string, len(names))
		for i, name := range names {
			wg.Go(func() { tokens[i] = h.signIn(t, grantFor(name, otherPassword)) })
		}
		wg.Wait()
		close(signedIn)
		purges.Wait()
		for i, accessToken := range tokens {
			h.welcomes(t, accessToken, names[i]+"'s, issued during a purge")
		}
	}
}

// oldSchema uses databases without a schema and with an old one, and drops a
// table while the host serves requests.
func oldSchema(t *testing.T, e sqlEngine) {
	db := openDB(t, e.open(t))
	tables := func() int {
		if e.name == "sqlite" {
			return number(t, db, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name LIKE 'tokenauth%'")
		}
		schema := map[string]string{"postgres": "current_schema()", "mariadb": "database()"}[e.name]
		return number(t, db, "SELECT count(*) FROM information_schema.tables WHERE table_schema = "+schema+" AND table_name LIKE 'tokenauth%'")
	}
	refused := func(when string) {
		t.Helper()
		if _, err := gormstore.New(t.Context(), db, nil); !errors.Is(err, gormstore.ErrSchemaVersion) || !strings.Contains(err.Error(), "gormstore.Migrate") {
			t.Errorf("New %s returns the error %v, want ErrSchemaVersion that names gormstore.Migrate", when, err)
		}
	}
	refused("without tables")
	if n := tables(); n != 0 {
		t.Errorf("New created %d tables, want 0", n)
	}
	s := newStore(t, db, nil)
	h := onHTTP.host(t, s, directory{}, tokenauth.Options{})
	accessToken := h.signIn(t, grantFor("alice", otherPassword))
	mustExec(t, db, "DELETE FROM tokenauth_schema WHERE version > 1")
	refused("with an old schema")
	h.welcomes(t, accessToken, "at a process that started before the change")

	mustExec(t, db, "DROP TABLE tokenauth_tokens")
	n := tables()
	h.isDown(t, accessToken)
	h.posts(t, unavailable, grantFor("alice", otherPassword))
	if now := tables(); now != n {
		t.Errorf("the database has %d tables after the requests, had %d before", now, n)
	}
}

// shutDownWhileSigningIn shuts a server down as a host does at SIGTERM.
func shutDownWhileSigningIn(t *testing.T, on engine) {
	const many = 1000
	var storing atomic.Int64
	s := &meddler{before: func(ctx context.Context, call string) error {
		if call == "Replace" {
			storing.Add(1)
			pause(ctx, 20*time.Millisecond) // so that many sign-ins are in progress
		}
		return nil
	}}
	h := on.host(t, s, directory{}, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{PerSource: 100_000}})
	h.client.Transport.(*http.Transport).MaxConnsPerHost = 64
	tokens := make([]string, many)
	var wg sync.WaitGroup
	var answered, unanswered atomic.Int64
	for i := range many {
		wg.Go(func() {
			r, err := http.NewRequestWithContext(t.Context(), "POST", h.url+"/Token", strings.NewReader(grantFor(fmt.Sprint("user", i), otherPassword)))
			if err != nil {
				t.Error(err)
				return
			}
			a, err := readAnswer(h.client.Do(r))
			if err != nil {
				unanswered.Add(1) // the listener was closed already
				return
			}
			answered.Add(1)
			if a.StatusCode == http.StatusServiceUnavailable {
				last := unavailable
				last.closes = a.Close
				last.check(t, a)
				return
			}
			last := issued
			last.closes = a.Close // true if the server is already shutting down
			last.check(t, a)
			tokens[i] = accessTokenIn(t, a)
		})
	}
	eventually(t, "many sign-ins are in progress", func() bool { return storing.Load() > 100 })
	if err := h.server.Config.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	t.Logf("%d sign-ins were answered, %d were not", answered.Load(), unanswered.Load())
	if answered.Load() < 100 {
		t.Errorf("only %d sign-ins were answered, want at least 100", answered.Load())
	}
	for i, accessToken := range tokens {
		_, err := s.Store.Find(t.Context(), tokenauth.SlotOf(fmt.Sprint("id of user", i), ""))
		if accessToken == "" {
			continue // the server may have closed an idle connection at the same time
		}
		if err != nil {
			t.Errorf("the sign-in of user%d was answered, but the storage has no token", i)
		}
		if _, err := h.auth.Validate(t.Context(), accessToken); err != nil {
			t.Errorf("the token of user%d is invalid: %v", i, err)
		}
	}
}
