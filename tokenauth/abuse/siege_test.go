package abuse_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

var siegeTime = flag.Duration("siege", time.Second, "how long each of the phases of TestSiege lasts")

// TestSiege measures how an attack affects normal users: their requests with a
// token, and their sign-ins. It measures three phases: no attack, as many harmless
// requests to a path that does nothing, and the attack. The harmless requests show
// the cost of the machine alone. The test runs for minutes and prints a table:
//
//	TOKENAUTH_LONG=1 go test ./tokenauth/abuse -run TestSiege -v -count=1 -siege 10s
//
// During the attack, all requests with a token and all sign-ins must be answered
// 200. The test is skipped if this fails beside the harmless requests, because the
// machine is then too slow. The durations are only printed: they depend on the
// machine.
func TestSiege(t *testing.T) {
	if !long {
		t.Skip("this test takes minutes; to run it: TOKENAUTH_LONG=1")
	}
	postgresql, mariadb := sqlEngines[1], sqlEngines[2]
	for _, a := range []struct {
		name   string
		engine sqlEngine
		setup  siegeSetup
		attack func(*siege)
	}{
		{"sockets that close, POST Token", postgresql, siegeSetup{far: true}, (*siege).closeTokens},
		{"sockets that close, POST revoke", postgresql, siegeSetup{far: true}, (*siege).closeRevocations},
		{"sockets that close, POST Token", postgresql, siegeSetup{far: true, together: true}, (*siege).closeTokens},
		{"crowd, made-up names", postgresql, siegeSetup{together: true}, (*siege).crowdOfNobody},
		{"crowd, made-up names", mariadb, siegeSetup{together: true}, (*siege).crowdOfNobody},
		{"crowd, right passwords", postgresql, siegeSetup{together: true}, (*siege).crowdOfUsers},
		{"crowd, right passwords", mariadb, siegeSetup{together: true}, (*siege).crowdOfUsers},
		{"crowd, right passwords", postgresql, siegeSetup{together: true, cheap: true}, (*siege).crowdOfUsers},
		{"crowd, right passwords", mariadb, siegeSetup{together: true, cheap: true}, (*siege).crowdOfUsers},
		{"crowd, right passwords", postgresql, siegeSetup{together: true, cheap: true, clients: true}, (*siege).crowdOfUsers},
		{"crowd, right passwords", postgresql, siegeSetup{together: true, cheap: true, sources: true}, (*siege).crowdOfUsers},
		{"crowd, wrong passwords of one account", postgresql, siegeSetup{together: true, sources: true}, (*siege).crowdOnAccount},
		{"crowd, wrong passwords of one account", mariadb, siegeSetup{together: true, sources: true}, (*siege).crowdOnAccount},
		{"60 accounts without a pause", postgresql, siegeSetup{}, (*siege).accounts},
		{"60 accounts without a pause", postgresql, siegeSetup{together: true}, (*siege).accounts},
		{"120,000 failures of 120 networks", sqlEngine{name: "memory"}, siegeSetup{cheap: true}, (*siege).networks},
	} {
		t.Run(fmt.Sprintf("%s/%s, %v", a.name, a.engine.name, a.setup), func(t *testing.T) {
			s := newSiege(t, a.engine, a.setup)
			without := s.observe(nil)
			harmless := s.observe(func(s *siege) { s.path = "/nothing"; a.attack(s) })
			with := s.observe(func(s *siege) { s.path = ""; a.attack(s) })
			t.Logf("\n%s\nwithout   %v\nharmless  %v\nwith      %v", figuresHead, without, harmless, with)
			if with.validations.p(99) > max(20*time.Millisecond, 3*without.validations.p(99)) {
				t.Log("p99 of requests with a token is above 20 ms and above three times the p99 without the attack")
			}
			if with.signIns.p(99) > time.Second {
				t.Log("p99 of sign-ins is above one second")
			}
			for _, f := range []*figures{without, harmless} {
				if len(f.validations.bad)+len(f.signIns.bad) > 0 {
					t.Skipf("this machine is too busy: without the attack, some requests and sign-ins were answered %v and %v", f.validations.bad, f.signIns.bad)
				}
			}
			with.validations.expectAllGood(t, "requests with a token")
			with.signIns.expectAllGood(t, "sign-ins")
		})
	}
}

// A siege is a service with its users on a pool of ten connections, and an
// attacker.
type siege struct {
	*testing.T
	siegeSetup
	*abuseHost
	db        *gorm.DB // nil for the storage in memory
	engine    string
	attackers sync.Map      // *attackersConn by the number of the client
	token     string        // the access token of a normal user
	path      string        // a harmless path that the attacker requests instead; "" for none
	later     atomic.Int64  // nanoseconds by which the clock of the service is ahead
	phase     int           // each phase has new addresses of normal users
	ends      chan struct{} // closed when the attack must end
}

type siegeSetup struct {
	together bool // replicas share their counters
	cheap    bool // hashing costs nothing, so the database is the bottleneck
	clients  bool // the service has a registry with a public client
	sources  bool // each client of the attack has its own address
	far      bool // connecting to the database takes 50 ms, as over TLS to another site
}

func (s siegeSetup) String() string {
	words := []string{"count alone", "usual hashes", "no registry", "one source", "local database"}
	for i, other := range []struct {
		is   bool
		word string
	}{{s.together, "count together"}, {s.cheap, "cheap hashes"}, {s.clients, "registry"}, {s.sources, "600 sources"}, {s.far, "far database"}} {
		if other.is {
			words[i] = other.word
		}
	}
	return strings.Join(words, ", ")
}

const (
	others   = 10
	accounts = 200 // of the attacker
)

func newSiege(t *testing.T, e sqlEngine, setup siegeSetup) *siege {
	s := &siege{T: t, siegeSetup: setup, engine: e.name}
	hash := otherHash()
	if !s.cheap {
		var err error
		if hash, err = password.Hash(otherPassword); err != nil {
			t.Fatal(err)
		}
	}
	o := tokenauth.Options{
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
		Now:            func() time.Time { return time.Now().Add(time.Duration(s.later.Load())) },
	}
	if s.together {
		o.Throttle.Key = tokenauth.NewSecret("a key of thirty-two bytes, or so")
	}
	if e.open == nil {
		s.abuseHost = onHTTP.host(t, new(memory.Store), directory{}, o)
	} else {
		if s.far {
			s.db = openDB(t, farPostgres(t))
		} else {
			s.db = openDB(t, e.open(t))
		}
		pool := poolOf(t, s.db)
		pool.SetMaxOpenConns(poolSize)
		pool.SetMaxIdleConns(poolSize)
		store := newStore(t, s.db, &gormstore.Options{Passwords: &password.Options{KeepHashes: true}})
		for i := range others + accounts {
			name := fmt.Sprint("other", i)
			if i >= others {
				name = fmt.Sprint("account", i-others)
			}
			if _, err := store.Users().Import(t.Context(), gormstore.User{Name: name}, hash); err != nil {
				t.Fatal(err)
			}
		}
		if s.siegeSetup.clients {
			if err := store.Clients().CreatePublic(t.Context(), tokenauth.Client{ID: "web"}); err != nil {
				t.Fatal(err)
			}
			o.Clients = store.Clients()
		}
		s.abuseHost = onHTTP.host(t, store, store.Users(), o)
	}
	s.client.Timeout = 20 * time.Second
	s.client.Transport.(*http.Transport).MaxIdleConnsPerHost = 100
	s.token = accessTokenIn(t, s.do(t, "POST", "/Token", s.grant("other0", otherPassword)))
	return s
}

func farPostgres(t *testing.T) gorm.Dialector {
	config, err := pgx.ParseConfig(throwaway.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		pause(ctx, 50*time.Millisecond)
		return dial(ctx, network, address)
	}
	return postgres.New(postgres.Config{Conn: stdlib.OpenDB(*config)})
}

func (s *siege) grant(userName, password string) string {
	return grantFor(userName, password) + "&client_id=web"
}

// at returns the path that the attacker requests: path, or the harmless one.
func (s *siege) at(path string) string { return cmp.Or(s.path, path) }

// figures are the measurements of normal users during one phase.
type figures struct {
	validations, signIns answers
	transactions         float64 // per second
}

const figuresHead = "        GET /me   200   p50        p99        sign-ins  200   p50        p99        statements or transactions/s"

func (f *figures) String() string {
	return fmt.Sprintf("%v  %v  %.0f", &f.validations, &f.signIns, f.transactions)
}

// answers are the answers to the requests of one kind.
type answers struct {
	mu    sync.Mutex
	good  int
	bad   map[string]int
	times []time.Duration
}

func (a *answers) add(took time.Duration, what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.times = append(a.times, took)
	if what == "200" {
		a.good++
		return
	}
	if a.bad == nil {
		a.bad = make(map[string]int)
	}
	a.bad[what]++
}

// p returns a percentile of the durations.
func (a *answers) p(percent int) time.Duration {
	slices.Sort(a.times)
	return a.times[(len(a.times)-1)*percent/100]
}

func (a *answers) String() string {
	round := func(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }
	return fmt.Sprintf("%-8d  %-4d  %-9s  %-9s", len(a.times), a.good, round(a.p(50)), round(a.p(99)))
}

func (a *answers) expectAllGood(t *testing.T, what string) {
	t.Helper()
	if len(a.bad) > 0 {
		t.Errorf("of %d %s, some were answered %v, want 200", len(a.times), what, a.bad)
	}
}

// observe measures the requests of normal users during the attack. Their pace
// does not depend on the answers.
func (s *siege) observe(attack func(*siege)) *figures {
	f := new(figures)
	s.phase++
	s.ends = make(chan struct{})
	var attacking, using sync.WaitGroup
	if attack != nil {
		attacking.Go(func() { attack(s) })
		time.Sleep(time.Second) // the attack has begun by then
	}
	before, began := s.statements(), time.Now()
	using.Go(func() {
		s.pace(100, func(int) {
			s.ask(&f.validations, "GET", "/me", "", "Authorization", "Bearer "+s.token)
		})
	})
	using.Go(func() {
		s.pace(5, func(i int) {
			s.ask(&f.signIns, "POST", "/Token", s.grant(fmt.Sprint("other", 1+i%(others-1)), otherPassword),
				from(fmt.Sprintf("203.0.%d.%d", s.phase, i))...)
		})
	})
	using.Wait()
	f.transactions = float64(s.statements()-before) / time.Since(began).Seconds()
	s.end()
	attacking.Wait()
	return f
}

// pace calls do perSecond times a second, each time in a goroutine. It returns
// when all calls have returned.
func (s *siege) pace(perSecond int, do func(i int)) {
	var wg sync.WaitGroup
	began := time.Now()
	for i := 0; time.Since(began) < *siegeTime; i++ {
		wg.Go(func() { do(i) })
		time.Sleep(time.Until(began.Add(time.Duration(i+1) * time.Second / time.Duration(perSecond))))
	}
	wg.Wait()
}

// ask sends a request and records the answer.
func (s *siege) ask(to *answers, method, path, body string, headers ...string) {
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Error(err)
		return
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	began := time.Now()
	a, err := readAnswer(s.client.Do(r))
	if err != nil {
		to.add(time.Since(began), err.Error())
		return
	}
	to.add(time.Since(began), strconv.Itoa(a.StatusCode))
}

// statements returns the number of transactions of PostgreSQL, or of statements
// of MariaDB.
func (s *siege) statements() (n int) {
	switch s.engine {
	case "postgres":
		return number(s.T, s.db, "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
	case "mariadb":
		return number(s.T, s.db, "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'Queries'")
	}
	return 0
}

// closing sends requests on sockets that it closes within two milliseconds.
func (s *siege) closing(path string, form func() url.Values) {
	address := s.server.Listener.Addr().String()
	var wg sync.WaitGroup
	ticker := time.NewTicker(time.Second / perSecond)
	defer ticker.Stop()
	for {
		select {
		case <-s.ends:
			wg.Wait()
			return
		case <-ticker.C:
			wg.Go(func() {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					s.Error(err)
					return
				}
				defer conn.Close()
				body := form().Encode()
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", s.at(path), len(body), body)
				time.Sleep(mathrand.N(2 * time.Millisecond))
			})
		}
	}
}

func (s *siege) closeTokens() {
	s.closing("/Token", func() url.Values {
		return url.Values{"grant_type": {"password"}, "username": {rand.Text()}, "password": {"x"}}
	})
}

func (s *siege) closeRevocations() {
	s.closing("/revoke", func() url.Values {
		return url.Values{"token": {reforge(s.T, s.token, func(b []byte) { rand.Read(b[slotAt:checksumAt]) })}}
	})
}

// crowd makes 600 clients sign in concurrently, again and again, at most once a
// second.
func (s *siege) crowd(body func(i int) string) {
	for {
		pause := time.After(time.Second)
		var wg sync.WaitGroup
		for i := range 600 {
			wg.Go(func() { s.guess(i, body(i)) })
		}
		wg.Wait()
		select {
		case <-s.ends:
			return
		case <-pause:
		}
	}
}

// guess sends a token request on the connection of the i-th client, which it
// keeps open, and reads the answer. It uses little CPU, so that the service has
// it. The client disconnects when the attack ends.
func (s *siege) guess(i int, body string) {
	conn, err := s.connection(i)
	if err != nil {
		s.Error(err)
		return
	}
	from := i
	if !s.sources {
		from = 0
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 198.18.%d.%d\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
		s.at("/Token"), from/250, from%250, len(body), body)
	response, err := http.ReadResponse(conn.answers, nil)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
	}
	if err != nil {
		conn.Close()
		s.attackers.Delete(i)
		if !s.ended() {
			s.Error(err)
		}
	}
}

// An attackersConn is a connection of an attacker with a reader for its
// answers.
type attackersConn struct {
	net.Conn
	answers *bufio.Reader
}

func (s *siege) connection(i int) (*attackersConn, error) {
	if conn, ok := s.attackers.Load(i); ok {
		return conn.(*attackersConn), nil
	}
	conn, err := net.Dial("tcp", s.server.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	s.Cleanup(func() { conn.Close() })
	c := &attackersConn{conn, bufio.NewReader(conn)}
	s.attackers.Store(i, c)
	if s.ended() { // end has closed the other connections
		conn.Close()
	}
	return c, nil
}

func (s *siege) ended() bool {
	select {
	case <-s.ends:
		return true
	default:
		return false
	}
}

// end ends the attack and disconnects its clients.
func (s *siege) end() {
	close(s.ends)
	s.attackers.Range(func(i, conn any) bool {
		conn.(*attackersConn).Close()
		s.attackers.Delete(i)
		return true
	})
}

func (s *siege) crowdOfNobody() {
	s.crowd(func(int) string { return s.grant(rand.Text(), "x") })
}

func (s *siege) crowdOfUsers() {
	s.crowd(func(i int) string { return s.grant(fmt.Sprint("account", i%accounts), otherPassword) })
}

func (s *siege) crowdOnAccount() {
	s.crowd(func(int) string { return s.grant("account0", "x") })
}

// accounts makes one source sign in to sixty accounts without a pause.
func (s *siege) accounts() {
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			for !s.ended() {
				s.guess(i, s.grant(fmt.Sprint("account", i), otherPassword))
				if s.path != "" {
					time.Sleep(time.Second) // about as often as the attack gets answers
				}
			}
		})
	}
	wg.Wait()
}

// networks fails a thousand sign-ins from each of 120 IPv6 networks. Then 300
// users sign in from unknown addresses, and 300 more twelve hours later.
func (s *siege) networks() {
	if s.path != "" {
		return
	}
	began := time.Now()
	for network := range 120 {
		for i := range 1000 {
			addr := netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::1", network, i%10))
			if err := s.signInFrom(addr, fmt.Sprintf("nobody%d-%d", network, i), "x"); !errors.Is(err, tokenauth.ErrRejected) {
				s.Error(err)
				return
			}
		}
		time.Sleep(time.Until(began.Add(*siegeTime * time.Duration(network) / 120)))
	}
	for round := range 2 {
		in := 0
		for i := range 300 {
			addr := netip.AddrFrom4([4]byte{192, byte(round), byte(i >> 8), byte(i)})
			if s.signInFrom(addr, fmt.Sprint("newcomer", i), otherPassword) == nil {
				in++
			}
		}
		s.Logf("%d of 300 new users signed in, %d hours after the failures", in, 12*round)
		if in != 300 {
			s.Error("not all new users could sign in")
		}
		s.later.Add(int64(12 * time.Hour))
	}
}

func (s *siege) signInFrom(addr netip.Addr, userName, password string) error {
	_, err := s.auth.SignIn(context.Background(), tokenauth.Credentials{UserName: userName, Password: tokenauth.NewSecret(password), RemoteAddr: addr})
	return err
}
