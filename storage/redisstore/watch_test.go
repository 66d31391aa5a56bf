package redisstore_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/internal/trial"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

// cached returns a Service whose cache serves, on a client of its own. Several
// calls return several replicas of a service.
func cached(t testing.TB, o rueidis.ClientOption, prefix string, options tokenauth.Options) *tokenauth.Service {
	t.Helper()
	if options.Cache == nil {
		options.Cache = &tokenauth.CacheOptions{}
	}
	auth := service(t, watched(t, o, prefix), options)
	eventually(t, "the cache serves", func() bool { return auth.CacheStats().FeedAlive })
	return auth
}

// intoCache validates the access token until the answer comes from the cache.
func intoCache(t testing.TB, auth *tokenauth.Service, accessToken string) {
	t.Helper()
	eventually(t, "an answer from the cache", func() bool {
		before := auth.CacheStats().Hits
		if _, err := auth.Validate(t.Context(), accessToken); err != nil && !errors.Is(err, tokenauth.ErrUnavailable) {
			t.Fatal(err)
		}
		return auth.CacheStats().Hits > before
	})
}

// endsWithin validates the access token, which has just ended, until Validate returns
// the error want. It fails the test if Validate accepts the token in a call that began
// after the lease.
func endsWithin(t testing.TB, auth *tokenauth.Service, accessToken string, ended time.Time, lease time.Duration, want error) {
	t.Helper()
	for {
		began := time.Now()
		_, err := auth.Validate(t.Context(), accessToken)
		if err != nil {
			for _, e := range []error{tokenauth.ErrUnavailable, tokenauth.ErrInvalidToken} {
				if errors.Is(err, e) != (e == want) {
					t.Fatalf("Validate returns error %v, want %v", err, want)
				}
			}
			return
		}
		if after := began.Sub(ended); after > lease {
			t.Fatalf("the token was accepted %v after it ended, with a lease of %v", after, lease)
		}
		runtime.Gosched()
	}
}

// When a token ends on one replica, the other refuses it a moment later, although
// it has the token in its cache. The lease is so long that only the feed can end
// the token.
func TestRevocationReachesTheOtherReplica(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		prefix := newPrefix(t, client)
		options := tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: 2 * patience}}
		one, two := cached(t, o, prefix, options), cached(t, o, prefix, options)
		flushes := two.CacheStats().Flushes

		var took []time.Duration
		revocations := map[bool]int{false: 90, true: 300}[throwaway.Long()]
		for i := range revocations {
			user := fmt.Sprint("user", i%50)
			accessToken := issue(t, one, user, "")
			intoCache(t, two, accessToken)
			var err error
			switch i % 3 {
			case 0:
				err = one.Revoke(t.Context(), accessToken)
			case 1:
				err = one.RevokeUser(t.Context(), user)
			case 2:
				issue(t, one, user, "")
			}
			ended := time.Now()
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, fmt.Sprintf("revocation %d reaches the other replica", i), func() bool { return refused(t, two, accessToken) })
			took = append(took, time.Since(ended))
		}
		slices.Sort(took)
		p50, p99, most := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
		t.Logf("%d revocations: p50 %v, p99 %v, at most %v; %d flushes", revocations, p50, p99, most, two.CacheStats().Flushes-flushes)
		for address, node := range client.Nodes() {
			if len(keys(t, node, prefix)) == 0 {
				t.Errorf("server %s has no users, so the test did not cover it", address)
			}
		}
	})
}

// The feed also reports changes that an operator makes with redis-cli.
func TestOperatorsChangesReachTheCache(t *testing.T) {
	t.Parallel()
	onEach(t, ownRedis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		prefix := newPrefix(t, client)
		auth := cached(t, o, prefix, tokenauth.Options{})
		each := func(command ...string) func(string) error {
			return func(string) (err error) {
				for _, node := range client.Nodes() {
					err = errors.Join(err, node.Do(t.Context(), node.B().Arbitrary(command...).Build()).Error())
				}
				return err
			}
		}
		for name, do := range map[string]func(key string) error{
			"DEL": func(key string) error { return client.Do(t.Context(), client.B().Del().Key(key).Build()).Error() },
			"expiry": func(key string) error {
				return client.Do(t.Context(), client.B().Pexpire().Key(key).Milliseconds(1).Build()).Error()
			},
			"FLUSHDB":  each("FLUSHDB"),
			"FLUSHALL": each("FLUSHALL", "ASYNC"),
		} {
			accessToken := issue(t, auth, "alice", "")
			intoCache(t, auth, accessToken)
			alice := key(prefix, tokenauth.UserKeyOf("alice"))
			if err := do(alice); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			eventually(t, "the token is refused after "+name, func() bool { return refused(t, auth, accessToken) })
		}
		// A key with the prefix that is not the key of a user flushes the cache.
		before := auth.CacheStats().Flushes
		if err := client.Do(t.Context(), client.B().Set().Key(prefix+"what is this").Value("x").Build()).Error(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the cache is flushed", func() bool { return auth.CacheStats().Flushes > before })
	})
}

// feeds returns the IDs of the node's connections with tracking in broadcasting
// mode.
func feeds(t testing.TB, node rueidis.Client) (ids []int64) {
	t.Helper()
	list, err := node.Do(context.Background(), node.B().ClientList().Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		var id int64
		broadcast := false
		for _, field := range strings.Fields(strings.TrimPrefix(line, "txt:")) {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "id":
				id, _ = strconv.ParseInt(value, 10, 64)
			case "flags":
				broadcast = strings.Contains(value, "B")
			}
		}
		if broadcast {
			ids = append(ids, id)
		}
	}
	return ids
}

// While the feed's connection is lost, the service answers correctly. Then the
// feed connects again.
func TestFeedReconnectsAfterItsConnectionIsCut(t *testing.T) {
	t.Parallel()
	onEach(t, ownRedis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		prefix := newPrefix(t, client)
		auth := cached(t, o, prefix, tokenauth.Options{})
		for round := range 3 {
			for _, node := range client.Nodes() {
				users := []string{"alice", "bob", "carol", "dave"} // spread over the masters
				var accessTokens []string
				for _, user := range users {
					accessToken := issue(t, auth, user, "")
					intoCache(t, auth, accessToken)
					accessTokens = append(accessTokens, accessToken)
				}
				before := auth.CacheStats().Flushes
				var ids []int64
				// A busy machine may have lost the feed.
				eventually(t, "the node has a connection of a feed", func() bool { ids = feeds(t, node); return len(ids) > 0 })
				for _, id := range ids {
					if err := node.Do(t.Context(), node.B().ClientKill().Id(id).Build()).Error(); err != nil {
						t.Fatal(err)
					}
				}
				for _, user := range users {
					if err := client.Do(t.Context(), client.B().Del().Key(key(prefix, tokenauth.UserKeyOf(user))).Build()).Error(); err != nil {
						t.Fatal(err)
					}
				}
				for i, accessToken := range accessTokens {
					eventually(t, "the token is refused", func() bool { return refused(t, auth, accessToken) })
					if accessToken = issue(t, auth, users[i], ""); refused(t, auth, accessToken) {
						t.Errorf("round %d: a new token is refused", round)
					}
				}
				eventually(t, "the cache serves again", func() bool {
					stats := auth.CacheStats()
					return stats.FeedAlive && stats.Flushes > before
				})
			}
		}
	})
}

// When the server hangs, the cache serves until the lease ends, and no longer.
func TestCacheDoesNotServeBeyondTheLease(t *testing.T) {
	t.Parallel()
	const lease, timeout = 500 * time.Millisecond, 2 * time.Second
	server := throwaway.StartRedis(t)
	o := option(t, server.DSN())
	auth := cached(t, o, "tokenauth:", tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}, Timeout: timeout})
	accessToken := issue(t, auth, "alice", "")
	for range 2 {
		intoCache(t, auth, accessToken)
		server.Pause(t)
		paused := time.Now()
		endsWithin(t, auth, accessToken, paused, lease, tokenauth.ErrUnavailable)
		if auth.CacheStats().FeedAlive {
			t.Error("CacheStats reports FeedAlive although the server hangs")
		}
		server.Resume(t)
		eventually(t, "the token is valid again", func() bool { _, err := auth.Validate(t.Context(), accessToken); return err == nil })
		eventually(t, "the cache serves again", func() bool { return auth.CacheStats().FeedAlive })
	}
	// The server stops and starts again with its data.
	intoCache(t, auth, accessToken)
	server.Stop(t)
	eventually(t, "the feed is lost", func() bool { return !auth.CacheStats().FeedAlive })
	server.Start(t)
	eventually(t, "the cache serves again", func() bool { return auth.CacheStats().FeedAlive })
	if refused(t, auth, accessToken) {
		t.Error("the token is refused after a restart of the server")
	}
}

// A feed is a tokenauth.Invalidator that records its calls, and checks that no
// heartbeat arrives before the report of an earlier change.
type feed struct {
	mu       sync.Mutex
	over     map[tokenauth.UserKey]time.Time // when each change completed that is not reported yet
	reported map[tokenauth.UserKey]bool      // users whose change was reported before it completed
	signs    int                             // calls of Heartbeat
	flushes  int                             // calls of InvalidateAll
	wrong    error
}

func newFeed() *feed {
	return &feed{over: make(map[tokenauth.UserKey]time.Time), reported: make(map[tokenauth.UserKey]bool)}
}

func (f *feed) Invalidate(u tokenauth.UserKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.over[u]; ok {
		delete(f.over, u)
	} else {
		f.reported[u] = true
	}
}

func (f *feed) InvalidateAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushes++
}

func (f *feed) Heartbeat(asOf time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.signs++
	for u, over := range f.over {
		if over.Before(asOf) {
			f.wrong = fmt.Errorf("a change of %x completed %v before the time of a heartbeat, but was not reported before it", u, asOf.Sub(over))
		}
	}
}

// change records that a change of the user is complete.
func (f *feed) change(u tokenauth.UserKey) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reported[u] {
		delete(f.reported, u)
	} else {
		f.over[u] = now
	}
}

func (f *feed) alive() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.signs
}

// A watching is a call of Watch.
type watching struct {
	*feed
	cancel context.CancelFunc
	ended  chan error
}

// beat is the beat of most calls of Watch. A check of Watch may take three beats, and
// a busy machine sometimes needs a second for it.
const beat = 400 * time.Millisecond

// watch starts Watch, and returns after the first heartbeat.
func watch(t *trial.T, w feedStore, beat time.Duration) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	g := &watching{feed: newFeed(), cancel: cancel, ended: make(chan error, 1)}
	var running sync.WaitGroup
	running.Go(func() { g.ended <- w.Watch(ctx, beat, g) })
	t.Cleanup(func() { cancel(); running.Wait() })
	g.until(t, "a heartbeat", func() bool { return g.alive() > 0 })
	return g
}

// lateIfTimeout ends the run of the test if a check of Watch timed out. A Service then
// calls Watch again.
func lateIfTimeout(t *trial.T, err error) {
	t.Helper()
	if errors.Is(err, context.DeadlineExceeded) {
		t.Late(err)
	}
}

// until waits until holds returns true. It fails the test if Watch returns.
func (g *watching) until(t *trial.T, what string, holds func() bool) {
	t.Helper()
	eventually(t, what, func() bool {
		if len(g.ended) > 0 {
			err := <-g.ended
			lateIfTimeout(t, err)
			t.Fatal(err)
		}
		return holds()
	})
}

// end cancels Watch and returns its result.
func (g *watching) end(t *trial.T) error {
	t.Helper()
	g.cancel()
	select {
	case err := <-g.ended:
		lateIfTimeout(t, err)
		return err
	case <-time.After(patience):
		t.Fatal("Watch does not return after its context ended")
		return nil
	}
}

// slow returns the option with a network that delays messages from the server, on
// connections with tracking.
func slow(o rueidis.ClientOption) rueidis.ClientOption {
	dial := dialOf(o)
	o.DialCtxFn = func(ctx context.Context, address string, d *net.Dialer, c *tls.Config) (net.Conn, error) {
		conn, err := dial(ctx, address, d, c)
		if err != nil {
			return nil, err
		}
		return &slowConn{Conn: conn}, nil
	}
	return o
}

type slowConn struct {
	net.Conn
	tracking atomic.Bool
}

func (c *slowConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("TRACKING")) {
		c.tracking.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.tracking.Load() {
		time.Sleep(20 * time.Millisecond) // the delay of the network
	}
	return n, err
}

// A heartbeat never arrives before the reports of earlier changes, even with many
// changes and a slow network.
func TestChangesAreReportedBeforeHeartbeats(t *testing.T) {
	t.Parallel()
	tryOnEach(t, throwaway.Redis, func(t *trial.T, o rueidis.ClientOption) {
		client := open(t, o)
		w := watched(t, slow(o), newPrefix(t, client))
		g := watch(t, w, beat)
		var wg sync.WaitGroup
		for writer := range 8 {
			wg.Go(func() {
				for i := 0; g.alive() < 8 && i < 1000; i++ { // a limit, because the reader is slow
					token := newToken(fmt.Sprint(writer, " ", i), "", 1, time.Hour)
					if err := w.Replace(t.Context(), token); err != nil {
						t.Error(err)
						return
					}
					g.change(token.Slot.User)
					if len(g.ended) > 0 {
						return
					}
				}
			})
		}
		wg.Wait()
		g.until(t, "all changes are reported", func() bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			return len(g.over) == 0
		})
		if err := g.end(t); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if g.wrong != nil {
			t.Error(g.wrong)
		}
	})
}

// After Watch has returned, it leaves no goroutine, and no connection to the
// server.
func TestWatchLeavesNoGoroutinesOrConnections(t *testing.T) {
	before := runtime.NumGoroutine() // so the test must not run in parallel
	for name, start := range map[string]func(t *testing.T) rueidis.ClientOption{
		"server": func(t *testing.T) rueidis.ClientOption { return option(t, throwaway.StartRedis(t).DSN()) },
		"cluster": func(t *testing.T) rueidis.ClientOption {
			return rueidis.ClientOption{InitAddress: throwaway.RedisCluster(t), DisableCache: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := start(t)
			client := open(t, o)
			connections := func() (n int) {
				for _, node := range client.Nodes() {
					list, err := node.Do(t.Context(), node.B().ClientList().Build()).ToString()
					if err != nil {
						t.Fatal(err)
					}
					n += strings.Count(list, "\n")
				}
				return n
			}
			w := watched(t, o, "tokenauth:")
			for i := range 100 { // opens all connections of the store's client
				replace(t, w, newToken(fmt.Sprint("user", i), "", 1, time.Hour))
			}
			there, here := connections(), runtime.NumGoroutine()
			for range 3 {
				trial.Run(t, func(t *trial.T) {
					g := watch(t, w, beat)
					for _, node := range client.Nodes() {
						if n := len(feeds(t, node)); n != 1 {
							t.Late(fmt.Errorf("a node has %d connections with tracking, want 1", n)) // a busy machine may have lost the feed
						}
					}
					if err := g.end(t); !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
			}
			eventually(t, "the connections of Watch are closed", func() bool { return connections() <= there })
			eventually(t, "the goroutines of Watch have ended", func() bool { return runtime.NumGoroutine() <= here })
		})
	}
	eventually(t, "all goroutines of the test have ended", func() bool { return runtime.NumGoroutine() <= before })
}

// When the server hangs, Watch returns when its context ends, and otherwise by
// itself with an error.
func TestWatchEndsIfTheServerHangs(t *testing.T) {
	t.Parallel()
	trial.Run(t, watchEndsIfTheServerHangs)
}

func watchEndsIfTheServerHangs(t *trial.T) {
	server := throwaway.StartRedis(t)
	w := watched(t, option(t, server.DSN()), "tokenauth:")
	g := watch(t, w, 10*time.Second)
	server.Pause(t)
	began := time.Now()
	if err := g.end(t); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// Watch also returns if it cannot even connect.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := w.Watch(ctx, 10*time.Second, newFeed()); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Late(fmt.Errorf("both calls of Watch together returned %v after the server hung, want at most 3s", took))
	}
	server.Resume(t)

	g = watch(t, w, beat)
	server.Pause(t)
	select {
	case err := <-g.ended:
		if err == nil || t.Context().Err() != nil {
			t.Errorf("Watch of a server that hangs returns error %v, want one about the server", err)
		}
	case <-time.After(patience):
		t.Errorf("Watch has not returned %v after the server hung", patience)
	}
}

// Watch returns an error if the server is no longer a master, is busy with a
// script, or is stopped.
func TestWatchReturnsAnErrorWithoutAWorkingMaster(t *testing.T) {
	t.Parallel()
	trial.Run(t, watchReturnsAnErrorWithoutAWorkingMaster)
}

func watchReturnsAnErrorWithoutAWorkingMaster(t *trial.T) {
	server := throwaway.StartRedis(t)
	o := option(t, server.DSN())
	client := open(t, o)
	w := watched(t, o, "tokenauth:")
	g := watch(t, w, beat)
	do(t, client, "REPLICAOF", "127.0.0.1", "1")
	g.endsWith(t, "")
	if err := w.Watch(t.Context(), time.Second, newFeed()); err == nil || !strings.Contains(err.Error(), "no master") {
		t.Errorf("Watch of a replica returns error %v, want one with %q", err, "no master")
	}
	do(t, client, "REPLICAOF", "NO", "ONE")

	g = watch(t, w, beat)
	do(t, client, "CONFIG", "SET", "lua-time-limit", "50")
	busy := open(t, o)
	t.Cleanup(func() { client.Do(context.Background(), client.B().ScriptKill().Build()) }) // if this run ends before the command below
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		busy.Do(t.Context(), busy.B().Eval().Script("while true do end").Numkeys(0).Build())
	}()
	g.endsWith(t, "BUSY")
	do(t, client, "SCRIPT", "KILL")
	<-killed // Redis answers SCRIPT KILL before the script ends

	g = watch(t, w, beat)
	server.Stop(t)
	g.endsWith(t, "")
	if err := w.Watch(t.Context(), time.Second, newFeed()); err == nil {
		t.Error("Watch of a stopped server returns nil")
	}
}

// A feed connects with the dial function of the option.
func TestFeedUsesTheDialFunctionOfTheOption(t *testing.T) {
	t.Parallel()
	address := throwaway.RedisCluster(t)[0]
	refuse := errors.New("refused by the host")
	s := newStore(t, open(t, rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true}), "")
	for name, o := range map[string]rueidis.ClientOption{
		"DialCtxFn": {DialCtxFn: func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) { return nil, refuse }},
		"DialFn":    {DialFn: func(string, *net.Dialer, *tls.Config) (net.Conn, error) { return nil, refuse }},
	} {
		o.InitAddress = []string{address}
		w, err := redisstore.WithFeed(s, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.(tokenauth.Watcher).Watch(t.Context(), time.Second, newFeed()); !errors.Is(err, refuse) {
			t.Errorf("%s: Watch returns error %v, want that of the dial function", name, err)
		}
	}
	// An option for one node of a cluster does not reach the others.
	w, err := redisstore.WithFeed(s, rueidis.ClientOption{InitAddress: []string{address}, ForceSingleClient: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.(tokenauth.Watcher).Watch(t.Context(), time.Second, newFeed()); err == nil || !strings.Contains(err.Error(), "no connection") {
		t.Errorf("Watch of one node of three returns error %v, want one with %q", err, "no connection")
	}
}
