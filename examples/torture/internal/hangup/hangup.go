// Package hangup has the trial "hangups". Clients send requests and close their
// connections early, at random instants of the calls that the service makes for them.
package hangup

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
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

	"github.com/bearerkit/bearerkit/examples/torture/internal/report"
	"github.com/bearerkit/bearerkit/examples/torture/internal/store"
	"github.com/bearerkit/bearerkit/examples/torture/internal/trial"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/tokenauth"
)

const (
	poolSize = 10
	// attack is how long clients send requests and hang up in each history.
	attack = 1500 * time.Millisecond
	// pause is the time between two such requests.
	pause = 4 * time.Millisecond
	// patience is the maximum time until no attempt is pending any more.
	patience = 10 * time.Second
)

// Fits reports whether the storage is an SQL database with one server.
func Fits(b *store.Backend) bool { return b.SQL() && b.Name != "sqlite" && b.Name != "mariadb-galera" }

// Run makes histories until [trial.Env.Over].
func Run(tb testing.TB, e *trial.Env) {
	s := newService(tb, e)
	before := e.Histories.Load()
	for n := uint64(0); !e.Over() && tb.Context().Err() == nil; n++ {
		for _, violation := range s.history(tb, n) {
			e.Violate("hangups history %d on %s: %s", n, e.Backend.Name, violation)
		}
		e.Histories.Add(1)
	}
	section := &report.Section{
		Title: "Clients that hang up",
		About: fmt.Sprintf("Clients send some 250 requests a second for a token or a revocation, and close their sockets within 2 ms, against a pool of %d connections. Other requests with a valid token must be answered with 200, the database server must see no new connection, and no attempt may stay pending.", poolSize),
		Head:  []string{"requests", "number"},
	}
	section.Row("of clients that hung up", s.hungUp.Load())
	section.Row("of other clients, with a valid token", s.validated.Load())
	section.Note("%d histories on %s.", e.Histories.Load()-before, e.Backend.Name)
	e.Report.Add(section)
}

// A service is a Token API with a small pool of connections, and its users in the
// database of the tokens.
type service struct {
	*trial.Env
	pool              *sql.DB
	identity          string // the query for the server's ID of a connection
	auth              *tokenauth.Service
	server            *httptest.Server
	accessToken       string
	hungUp, validated atomic.Int64
}

func newService(tb testing.TB, e *trial.Env) *service {
	tb.Helper()
	d := e.Backend.Directory(tb, true)
	pool, err := d.DB.DB()
	if err != nil {
		tb.Fatal(err)
	}
	pool.SetMaxOpenConns(poolSize)
	pool.SetMaxIdleConns(poolSize)
	s := &service{Env: e, pool: pool, identity: "SELECT CONNECTION_ID()"}
	if d.DB.Name() == "postgres" {
		s.identity = "SELECT pg_backend_pid()"
	}
	for _, name := range []string{"owner", "victim"} {
		if _, err := d.Users().Import(tb.Context(), gormstore.User{Name: name}, "plain:"+name); err != nil {
			tb.Fatal(err)
		}
	}
	s.auth, err = tokenauth.New(e.Planted(d.Store, e.Seed), d.Users(), &tokenauth.Options{
		Logger: slog.New(slog.DiscardHandler), Timeout: 5 * time.Second,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Throttle:       tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(rand.Text() + rand.Text())},
	})
	if err != nil {
		tb.Fatal(err)
	}
	mux := http.NewServeMux()
	s.auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke"})
	mux.Handle("/me", s.auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	s.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(withClient(r.Context())))
	}))
	tb.Cleanup(s.server.Close)
	issued, err := s.auth.SignIn(tb.Context(), tokenauth.Credentials{UserName: "owner", Password: tokenauth.NewSecret("owner")})
	if err != nil {
		tb.Fatal(err)
	}
	s.accessToken = issued.AccessToken.Reveal()
	return s
}

// history lets clients hang up, and returns the violations.
func (s *service) history(tb testing.TB, n uint64) (violations []string) {
	random := mathrand.New(mathrand.NewPCG(s.Seed, 4<<32+n))
	connections := s.identities(tb)
	end := time.Now().Add(attack)
	var mu sync.Mutex
	violation := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		violations = append(violations, fmt.Sprintf(format, args...))
	}
	var working sync.WaitGroup
	for range 4 {
		working.Go(func() {
			for time.Now().Before(end) {
				if status, err := s.me(tb.Context()); status != http.StatusOK {
					violation("a request with a valid token was answered %d, %v", status, err)
				}
				time.Sleep(pause)
			}
		})
	}
	for time.Now().Before(end) {
		request, stays := s.request(random), time.Duration(random.IntN(2000))*time.Microsecond
		working.Go(func() { s.hangUp(request, stays) })
		time.Sleep(pause)
	}
	working.Wait()
	for until := time.Now().Add(patience); s.pending(tb) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			violation("%d counters still have pending attempts %v after the last client left", s.pending(tb), patience)
			break
		}
	}
	if after := s.identities(tb); !slices.Equal(after, connections) {
		violation("the database server had the connections %v before and has %v now", connections, after)
	}
	return violations
}

// identities returns the server's IDs of the pool's connections. If a connection
// breaks, the pool opens another one, which has a new ID.
func (s *service) identities(tb testing.TB) (ids []int64) {
	tb.Helper()
	var held []*sql.Conn
	defer func() {
		for _, conn := range held {
			conn.Close()
		}
	}()
	for range poolSize {
		conn, err := s.pool.Conn(tb.Context())
		if err != nil {
			tb.Fatal(err)
		}
		held = append(held, conn)
		var id int64
		if err := conn.QueryRowContext(tb.Context(), s.identity).Scan(&id); err != nil {
			tb.Fatal(err)
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// pending returns the number of counters with pending attempts.
func (s *service) pending(tb testing.TB) (n int) {
	tb.Helper()
	if err := s.pool.QueryRowContext(tb.Context(), "SELECT count(*) FROM torture_counters WHERE pending > 0").Scan(&n); err != nil {
		tb.Fatal(err)
	}
	return n
}

// request returns a random HTTP/1.1 request for which the service calls the database.
func (s *service) request(random *mathrand.Rand) string {
	path, form := "/Token", url.Values{"grant_type": {"password"}, "username": {fmt.Sprint("unknown", random.Uint32())}, "password": {"x"}}
	switch random.IntN(4) {
	case 0:
		form.Set("username", "victim")
	case 1:
		form.Set("username", "victim")
		form.Set("password", "victim")
	case 2:
		last := "A"
		if strings.HasSuffix(s.accessToken, last) {
			last = "B"
		}
		path, form = "/revoke", url.Values{"token": {s.accessToken[:len(s.accessToken)-1] + last}}
	}
	body := form.Encode()
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: torture\r\nX-Forwarded-For: 10.%d.%d.%d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		path, random.IntN(256), random.IntN(256), random.IntN(256), len(body), body)
}

// hangUp sends the request and closes the connection after stays.
func (s *service) hangUp(request string, stays time.Duration) {
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		return // all ports of the machine are in use
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	if _, err := io.WriteString(conn, request); err == nil {
		s.hungUp.Add(1)
		s.Operations.Add(1)
		time.Sleep(stays)
	}
}

// me sends a request with the valid token.
func (s *service) me(ctx context.Context) (int, error) {
	r, err := http.NewRequestWithContext(ctx, "GET", s.server.URL+"/me", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+s.accessToken)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	s.validated.Add(1)
	s.Operations.Add(1)
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}
