package abuse_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"
	"golang.org/x/net/http2"

	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// pooledHosts are two hosts that share one pool of connections to a database.
type pooledHosts struct {
	*testing.T
	storage  tokenauth.Storage
	users    tokenauth.Authenticator
	clients  tokenauth.ClientRegistry // has "web" and the confidential "resource"; nil for no clients
	secret   string                   // the secret of "resource"
	live     func(context.Context, tokenauth.Token) error
	fallback func(*http.Request) (tokenauth.Principal, error)
	// connections returns identifiers of the connections at the server. pending
	// returns the number of counters with pending attempts.
	connections func() []string
	pending     func() int
	pool        *sql.DB // nil for Redis

	plain, full *abuseHost       // plain has default options; full also has clients, a live check and a fallback
	http2       *httptest.Server // both, under /plain and /full
	streams     *http.Client     // of http2
	token       string           // an access token of "other", valid at plain
	abandoned   atomic.Int64     // requests whose client left before they were answered
}

// patience is a timeout that is long enough for a query on a busy machine.
const patience = 30 * time.Second

// poolSize is the number of connections of pooledHosts.
const poolSize = 10

// sqlHosts returns hosts whose tokens, users and clients are in a SQL database.
func sqlHosts(t *testing.T, e sqlEngine) *pooledHosts {
	db := openDB(t, e.open(t))
	pool := poolOf(t, db)
	pool.SetMaxOpenConns(poolSize)
	pool.SetMaxIdleConns(poolSize)
	store := newStore(t, db, &gormstore.Options{Passwords: &password.Options{Timeout: patience, KeepHashes: !long}})
	for _, name := range []string{"owner", "other", "victim", "admin"} {
		addUser(t, store, name)
	}
	if err := store.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "web"}); err != nil {
		t.Fatal(err)
	}
	secret, err := store.Clients().Create(t.Context(), tokenauth.Client{ID: "resource", IntrospectsAll: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &pooledHosts{
		T: t, storage: store, pool: pool, users: store.Users(), clients: store.Clients(), secret: secret.Reveal(), live: store.Users().LiveCheck,
		fallback: func(r *http.Request) (tokenauth.Principal, error) {
			var n int
			err := pool.QueryRowContext(r.Context(), "SELECT count(*) FROM tokenauth_users").Scan(&n)
			if err == nil {
				err = tokenauth.ErrRejected
			}
			return tokenauth.Principal{}, err
		},
		connections: func() []string { return identities(t, pool, e.name) },
		pending:     func() int { return number(t, db, "SELECT count(*) FROM tokenauth_counters WHERE pending > 0") },
	}
	s.open()
	return s
}

// identities returns the server's identifiers of the pool's connections. If a
// connection breaks, the pool opens another one with a new identifier.
func identities(t *testing.T, pool *sql.DB, engine string) (ids []string) {
	t.Helper()
	query := map[string]string{
		"postgres": "SELECT pg_backend_pid()", "mariadb": "SELECT CONNECTION_ID()", "sqlite": "SELECT id FROM temp.identity",
	}[engine]
	var held []*sql.Conn
	for range poolSize {
		conn, err := pool.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
		if engine == "sqlite" { // has no server that numbers connections
			if _, err := conn.ExecContext(t.Context(), "CREATE TEMP TABLE IF NOT EXISTS identity AS SELECT hex(randomblob(8)) AS id"); err != nil {
				t.Fatal(err)
			}
		}
		var id string
		if err := conn.QueryRowContext(t.Context(), query).Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	for _, conn := range held {
		conn.Close()
	}
	slices.Sort(ids)
	return ids
}

// redisHosts returns hosts with tokens and counters in Redis, and users in
// memory.
func redisHosts(t *testing.T) *pooledHosts {
	store, client := openRedis(t)
	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		if !slices.Contains([]string{"owner", "other", "victim", "admin"}, userName) {
			return password.Account{}, tokenauth.ErrNotFound
		}
		return password.Account{UserID: "id of " + userName, UserName: userName, PasswordHash: otherHash()}, nil
	}, &password.Options{Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	s := &pooledHosts{T: t, storage: store, users: users, clients: abuseClients{}, secret: appSecret.Reveal(), connections: func() []string {
		info, err := client.Do(t.Context(), client.B().Info().Section("stats").Build()).ToString()
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(info, "total_connections_received:")
		seen, _, _ := strings.Cut(after, "\r\n")
		return []string{seen}
	}, pending: func() int { return pendingInRedis(t, store, client) }}
	s.open()
	warm(t, client)
	return s
}

// pendingInRedis returns how many counters have pending attempts.
func pendingInRedis(t *testing.T, store *redisstore.Store, client rueidis.Client) (n int) {
	t.Helper()
	names, err := client.Do(t.Context(), client.B().Keys().Pattern("{*}*").Build()).AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		_, digits, _ := strings.Cut(name, "}")
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		err = store.UpdateCounters(t.Context(), []throttle.Key{throttle.Key(b)}, func(c []throttle.Counter) {
			if c[0].Pending > 0 {
				n++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// warm makes the Redis client open all its connections.
func warm(t *testing.T, client rueidis.Client) {
	t.Helper()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if err := client.Do(t.Context(), client.B().Get().Key(rand.Text()).Build()).Error(); !rueidis.IsRedisNil(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// open starts both hosts, each over HTTP/1.1 and together over HTTP/2.
func (s *pooledHosts) open() {
	o := tokenauth.Options{Timeout: patience, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	s.plain = onHTTP.host(s.T, s.storage, s.users, o)
	o.Clients, o.LiveCheck, o.Fallback = s.clients, s.live, s.fallback
	o.Throttle.Key = tokenauth.NewSecret("a key of thirty-two bytes, or so")
	s.full = onHTTP.host(s.T, s.storage, s.users, o)
	mux := http.NewServeMux()
	for path, h := range map[string]*abuseHost{"/plain/": s.plain, "/full/": s.full} {
		mux.Handle(path, http.StripPrefix(path[:len(path)-1], http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.handler.ServeHTTP(w, r)
			if r.Context().Err() != nil {
				s.abandoned.Add(1)
			}
		})))
	}
	s.http2 = httptest.NewUnstartedServer(mux)
	s.http2.EnableHTTP2 = true
	s.http2.Config.ErrorLog = s.plain.server.Config.ErrorLog
	s.http2.StartTLS()
	s.Cleanup(s.http2.Close)
	// The HTTP/2 of http.Transport has a data race of its own if a request is cancelled
	// before its connection exists.
	transport := &http2.Transport{TLSClientConfig: s.http2.Client().Transport.(*http.Transport).TLSClientConfig}
	s.Cleanup(transport.CloseIdleConnections)
	s.streams = &http.Client{Transport: transport}
	s.token = s.plain.signIn(s.T, grantFor("other", otherPassword))
}

// A requestKind is a kind of request that a client may send.
type requestKind struct {
	host, method, path string
	form               url.Values
	bearer             string
}

// requestKinds returns one request of each kind. Some name an unknown user or
// present an unknown token.
func (s *pooledHosts) requestKinds() []requestKind {
	name, madeUp := rand.Text(), reforge(s.T, s.token, func(b []byte) { rand.Read(b[slotAt:checksumAt]) })
	var all []requestKind
	for _, who := range []struct{ name, password string }{{name, "x"}, {"victim", rand.Text()}, {"owner", otherPassword}, {"owner", otherPassword}} {
		form := url.Values{"grant_type": {"password"}, "username": {who.name}, "password": {who.password}}
		all = append(all, requestKind{host: "/plain", method: "POST", path: "/Token", form: form})
		if s.clients != nil {
			form = url.Values{"grant_type": {"password"}, "username": {who.name}, "password": {who.password}, "client_id": {"web"}}
		}
		all = append(all, requestKind{host: "/full", method: "POST", path: "/Token", form: form})
	}
	return append(all,
		requestKind{host: "/plain", method: "POST", path: "/revoke", form: url.Values{"token": {madeUp}}},
		requestKind{host: "/plain", method: "GET", path: "/me", bearer: madeUp},
		requestKind{host: "/full", method: "GET", path: "/me", bearer: s.token},     // calls the live check
		requestKind{host: "/full", method: "GET", path: "/me", bearer: rand.Text()}, // calls the fallback
		requestKind{host: "/full", method: "POST", path: "/introspect", form: url.Values{"token": {madeUp}, "client_id": {"resource"}, "client_secret": {s.secret}}},
	)
}

// request returns a request of the kind, sent by a client at the address.
func (s *pooledHosts) request(ctx context.Context, v requestKind, from string) *http.Request {
	r, err := http.NewRequestWithContext(ctx, v.method, s.http2.URL+v.host+v.path, strings.NewReader(v.form.Encode()))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("X-Forwarded-For", from)
	if v.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if v.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+v.bearer)
	}
	return r
}

// A leaver sends a request and disconnects within two milliseconds.
type leaver struct {
	name string
	send func(s *pooledHosts, v requestKind, from string)
}

// soon returns a random duration below 2 ms, and in half of the calls below 0.1
// ms.
func soon() time.Duration {
	if mathrand.N(2) == 0 {
		return mathrand.N(100 * time.Microsecond)
	}
	return mathrand.N(2 * time.Millisecond)
}

var leavers = []leaver{
	{"closed sockets", func(s *pooledHosts, v requestKind, from string) {
		h := map[string]*abuseHost{"/plain": s.plain, "/full": s.full}[v.host]
		conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
		if err != nil {
			s.Error(err)
			return
		}
		defer conn.Close()
		r := s.request(context.Background(), v, from)
		r.URL.Path = v.path
		if err := r.Write(conn); err != nil {
			s.Error(err)
		}
		time.Sleep(soon())
	}},
	{"reset streams", func(s *pooledHosts, v requestKind, from string) {
		ctx, cancel := context.WithTimeout(context.Background(), soon())
		defer cancel()
		response, err := s.streams.Do(s.request(ctx, v, from))
		if err == nil {
			io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	}},
	{"canceled contexts", func(s *pooledHosts, v requestKind, from string) {
		ctx, cancel := context.WithCancel(context.Background())
		defer time.AfterFunc(soon(), cancel).Stop()
		r := s.request(ctx, v, from)
		r.URL.Path = strings.TrimPrefix(r.URL.Path, v.host)
		map[string]*abuseHost{"/plain": s.plain, "/full": s.full}[v.host].handler.ServeHTTP(httptest.NewRecorder(), r)
		if ctx.Err() != nil {
			s.abandoned.Add(1)
		}
	}},
}

// perSecond is the number of clients per second.
const perSecond = 240

// leave lets that many clients send a request and disconnect, with each kind of
// request and of disconnecting in turn. It returns when all have disconnected.
func (s *pooledHosts) leave(clients int) {
	var wg sync.WaitGroup
	begin := time.Now()
	var kinds []requestKind
	for i := range clients {
		if len(kinds) == 0 {
			kinds = s.requestKinds()
		}
		v := kinds[0]
		kinds = kinds[1:]
		time.Sleep(time.Until(begin.Add(time.Second * time.Duration(i) / perSecond)))
		wg.Go(func() { leavers[i%len(leavers)].send(s, v, fmt.Sprintf("198.18.%d.%d", i/250, i%250)) })
	}
	wg.Wait()
}

// Clients that disconnect early must not disturb others. The pool keeps its
// connections, other users' tokens stay valid, and no attempt stays pending.
func TestDisconnectingClientsBreakNoConnections(t *testing.T) {
	t.Parallel()
	onPooledHosts(t, func(t *testing.T, s *pooledHosts) {
		clients := 2 * perSecond
		if long {
			clients = 20 * perSecond
		}
		before := s.connections()
		left := make(chan struct{})
		go func() {
			defer close(left)
			s.leave(clients)
		}()
		asked := 0
		for going := true; going; asked++ {
			select {
			case <-left:
				going = false // one more request after all have disconnected
			default:
			}
			s.plain.welcomes(t, s.token, "while clients leave")
			time.Sleep(time.Millisecond)
		}
		t.Logf("%d of %d clients disconnected before their answer; other users sent %d requests", s.abandoned.Load(), clients, asked)
		if s.abandoned.Load() < perSecond/10 {
			t.Errorf("only %d clients disconnected before their answer, want more", s.abandoned.Load())
		}
		// The owner signs in from a new address. If abandoned attempts were still
		// pending, the owner would have to wait for a minute.
		within, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		for i, host := range []string{"/plain", "/full"} {
			v := requestKind{host: host, method: "POST", path: "/Token", form: url.Values{
				"grant_type": {"password"}, "username": {"owner"}, "password": {otherPassword}, "client_id": {"web"}}}
			a, err := readAnswer(s.http2.Client().Do(s.request(within, v, fmt.Sprint("203.0.113.", i))))
			if err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("sign-in of the owner at %s: got %v %s, %v, want 200", host, a.Response, a.body, err)
			}
		}
		eventually(t, "no attempt is pending", func() bool { return s.pending() == 0 })
		if after := s.connections(); !slices.Equal(before, after) {
			t.Errorf("the pool's connections changed from %v to %v, want the same connections", before, after)
		}
		for _, h := range []*abuseHost{s.plain, s.full} {
			for line := range strings.Lines(h.log.String()) {
				if strings.Contains(line, "level=ERROR") {
					t.Errorf("the log contains an error: %s", line)
				}
			}
		}
	})
}

func onPooledHosts(t *testing.T, test func(t *testing.T, s *pooledHosts)) {
	for _, e := range sqlEngines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			test(t, sqlHosts(t, e))
		})
	}
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		test(t, redisHosts(t))
	})
}

// A deadline of the request, which only the host can set, interrupts a query.
// The request is answered, and its connection is free again.
func TestRequestDeadlineInterruptsQueries(t *testing.T) {
	t.Parallel()
	for engine, lock := range map[string]struct{ begin, end string }{
		"postgres": {"BEGIN; LOCK TABLE tokenauth_tokens, tokenauth_users, tokenauth_clients, tokenauth_counters", "ROLLBACK"},
		"mariadb":  {"LOCK TABLES tokenauth_tokens WRITE, tokenauth_users WRITE, tokenauth_clients WRITE, tokenauth_counters WRITE", "UNLOCK TABLES"},
	} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			e := sqlEngines[slices.IndexFunc(sqlEngines, func(e sqlEngine) bool { return e.name == engine })]
			s := sqlHosts(t, e)
			pool := s.pool
			conn, err := pool.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.ExecContext(t.Context(), lock.begin); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i, v := range s.requestKinds() {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
					defer cancel()
					r := s.request(ctx, v, fmt.Sprint("198.18.0.", i))
					r.URL.Path = v.path
					began := time.Now()
					w := httptest.NewRecorder()
					map[string]*abuseHost{"/plain": s.plain, "/full": s.full}[v.host].handler.ServeHTTP(w, r)
					if took := time.Since(began); w.Code != http.StatusServiceUnavailable || took > 10*time.Second {
						t.Errorf("%s %s%s %v: got %d after %v, want 503", v.method, v.host, v.path, v.form, w.Code, took)
					}
				})
			}
			wg.Wait()
			eventually(t, "only the connection with the lock is in use", func() bool { return pool.Stats().InUse == 1 })
			if _, err := conn.ExecContext(t.Context(), lock.end); err != nil {
				t.Fatal(err)
			}
			s.plain.welcomes(t, s.token, "after the lock")
		})
	}
}
