package storage_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/ncruces/go-sqlite3/gormlite"
	"github.com/redis/rueidis"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// streamsVariable makes the test binary run as a replica with streams. Its value
// is a streamsConfig.
const streamsVariable = "STORAGE_TEST_STREAMS"

func TestMain(m *testing.M) {
	mysqldriver.SetLogger(&mysqldriver.NopLogger{}) // the driver would log each broken connection
	if config := os.Getenv(streamsVariable); config != "" {
		if err := serveStreams(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(throwaway.Main(m))
}

// A streamsConfig says what a replica with streams opens.
type streamsConfig struct {
	Engine, DSN string
	Cache       bool
	Interval    time.Duration // zero means streamsInterval
}

// streamsInterval is the [tokenauth.Options.StreamInterval] of the replicas in tests.
const streamsInterval = 500 * time.Millisecond

// open returns the storage, and its database if it is SQL.
func (c streamsConfig) open(ctx context.Context) (storage tokenauth.Storage, db *gorm.DB, err error) {
	if c.Engine == "redis" {
		option, err := rueidis.ParseURL(c.DSN)
		if err != nil {
			return nil, nil, err
		}
		option.DisableCache, option.ConnWriteTimeout = true, 2*time.Second
		client, err := rueidis.NewClient(option)
		if err != nil {
			return nil, nil, err
		}
		store, err := redisstore.New(client, nil)
		if err != nil {
			return nil, nil, err
		}
		storage, err = redisstore.WithFeed(store, option)
		return storage, nil, err
	}
	var dialector gorm.Dialector
	switch c.Engine {
	case "postgres":
		dialector = postgres.Open(c.DSN)
	case "mariadb":
		dialector = mysql.Open(c.DSN)
	case "sqlite":
		dialector = gormlite.Open(c.DSN)
	}
	if db, err = gorm.Open(dialector, &gorm.Config{Logger: logger.Discard}); err != nil {
		return nil, nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, nil, err
	}
	pool.SetMaxOpenConns(8)
	pool.SetMaxIdleConns(8)
	o := &gormstore.Options{Feed: c.Engine == "postgres", Passwords: &password.Options{KeepHashes: true}}
	if err := gormstore.Migrate(ctx, db, o); err != nil {
		return nil, nil, err
	}
	store, err := gormstore.New(ctx, db, o)
	if err != nil || !o.Feed {
		return store, db, err
	}
	storage, err = gormstore.WithFeed(ctx, store, pgxfeed.Listener{})
	return storage, db, err
}

// serveStreams serves server-sent events until the parent process closes its side
// of the standard input. It prints its address.
func serveStreams(config string) error {
	var c streamsConfig
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	storage, _, err := c.open(ctx)
	if err != nil {
		return err
	}
	o := &tokenauth.Options{StreamInterval: cmp.Or(c.Interval, streamsInterval), Logger: slog.New(slog.DiscardHandler)}
	if c.Cache {
		o.Cache = new(tokenauth.CacheOptions)
	}
	auth, err := tokenauth.New(storage, nil, o)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /events", tokenauth.Requirement{Stream: true}.Guard(auth)(http.HandlerFunc(events)))
	mux.HandleFunc("GET /figures", figures)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	running := make(chan error)
	go func() { running <- auth.Run(ctx) }()
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	fmt.Println(listener.Addr())
	io.Copy(io.Discard, os.Stdin)
	stop()
	<-running
	return server.Close()
}

// figures answers with what the process uses, where the benchmark can find that out.
var figures = http.NotFound

// events sends an event at once, and another one with the reason when the token has
// ended.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(event string) {
		fmt.Fprintf(w, "data: %s\n\n", event)
		http.NewResponseController(w).Flush()
	}
	send("open")
	<-r.Context().Done()
	for _, reason := range []error{tokenauth.ErrReplacedToken, tokenauth.ErrExpiredToken, tokenauth.ErrInvalidToken, tokenauth.ErrUnavailable} {
		if errors.Is(context.Cause(r.Context()), reason) {
			send(reason.Error())
			return
		}
	}
	send(fmt.Sprint(context.Cause(r.Context())))
}

// startStreams starts a replica in another process. It returns the URL of its
// stream.
func startStreams(t testing.TB, c streamsConfig) string {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), streamsVariable+"="+string(config))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the replica failed: %v", err)
		}
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the replica did not start: %v", err)
	}
	return "http://" + strings.TrimSpace(address) + "/events"
}

// A remoteStream is a stream that is open at another process.
type remoteStream struct {
	token  tokenauth.Token
	text   string // the access token
	ended  chan struct{}
	at     time.Time // when it ended; set before ended is closed
	reason string
}

// openRemote opens a stream with an access token, and returns when its first event
// has arrived.
func openRemote(t testing.TB, client *http.Client, url string, issued tokenauth.IssuedToken) *remoteStream {
	t.Helper()
	s := &remoteStream{token: issued.Token, text: issued.AccessToken.Reveal(), ended: make(chan struct{})}
	var response *http.Response
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.text)
		if response, err = client.Do(r); err != nil {
			t.Fatal(err)
		}
		if response.StatusCode == http.StatusOK {
			break
		}
		response.Body.Close()
		// 503 is the answer before Run runs.
		if response.StatusCode != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("the stream was refused with %s", response.Status)
		}
	}
	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() || lines.Text() != "data: open" {
		t.Fatalf("the stream begins with %q: %v", lines.Text(), lines.Err())
	}
	go func() {
		defer close(s.ended)
		defer response.Body.Close()
		for lines.Scan() {
			if reason, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				s.at, s.reason = time.Now(), reason
				return
			}
		}
		s.at, s.reason = time.Now(), fmt.Sprint("the connection ended: ", lines.Err())
	}()
	return s
}

// A streamsTest opens streams at a replica in another process, and ends their
// tokens in this one.
type streamsTest struct {
	*testing.T
	auth   *tokenauth.Service
	users  *gormstore.Users
	client *http.Client
	url    string

	user   int
	others []*remoteStream // of tokens that do not end
	took   map[string][]time.Duration
	mu     sync.Mutex
}

// newStreamsTest connects both processes to the storage.
func newStreamsTest(t *testing.T, c streamsConfig) *streamsTest {
	t.Helper()
	storage, db, err := c.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if db == nil { // users of a service whose tokens are in Redis
		if _, db, err = (streamsConfig{Engine: "sqlite", DSN: "file:" + filepath.Join(t.TempDir(), "users.db") + "?_pragma=busy_timeout(60000)&_pragma=journal_mode(wal)&_pragma=synchronous(off)&_txlock=immediate"}).open(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	store := newStore(t, db)
	auth, err := tokenauth.New(storage, store.Users(), &tokenauth.Options{
		Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler), Throttle: tokenauth.ThrottleOptions{InsecureOff: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	run(t, auth)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	s := &streamsTest{T: t, auth: auth, users: store.Users(), client: &http.Client{Transport: transport}, url: startStreams(t, c), took: make(map[string][]time.Duration)}
	for range 10 {
		s.others = append(s.others, s.open("kept"))
	}
	return s
}

// open creates a user, and opens a stream with a token of the user at a client.
func (s *streamsTest) open(clientID string) *remoteStream {
	s.Helper()
	s.mu.Lock()
	s.user++
	n := s.user
	s.mu.Unlock()
	user, err := s.users.Import(s.Context(), gormstore.User{Name: fmt.Sprint("user", n)}, importedHash)
	if err != nil {
		s.Fatal(err)
	}
	p, err := s.users.Principal(s.Context(), user.ID)
	if err != nil {
		s.Fatal(err)
	}
	issued, err := s.auth.Issue(s.Context(), p, &tokenauth.IssueOptions{ClientID: clientID})
	if err != nil {
		s.Fatal(err)
	}
	return openRemote(s.T, s.client, s.url, issued)
}

// importedHash is the bcrypt hash of a password.
const importedHash = "$2a$04$Xa7JbF2bq9Qp0fYgJ5q0UOZ1a0n0vQ8C9m6zj1kq0b1kF2y3bW1fK"

// ends calls end, and waits until the streams have ended with the reason.
func (s *streamsTest) ends(name string, want error, end func(ctx context.Context) error, streams ...*remoteStream) {
	s.Helper()
	if err := end(s.Context()); err != nil {
		s.Fatal(name, ": ", err)
	}
	s.endedBy(name, time.Now(), want, streams...)
}

func (s *streamsTest) endedBy(name string, since time.Time, want error, streams ...*remoteStream) {
	s.Helper()
	for _, stream := range streams {
		select {
		case <-stream.ended:
			if stream.reason != want.Error() {
				s.Fatalf("%s: a stream ended with %q, want %q", name, stream.reason, want)
			}
			s.took[name] = append(s.took[name], stream.at.Sub(since))
		case <-time.After(time.Minute):
			s.Fatalf("%s: a stream did not end within a minute", name)
		}
	}
}

// goOn fails the test if a stream of another token has ended.
func (s *streamsTest) goOn(streams ...*remoteStream) {
	s.Helper()
	for _, stream := range append(streams, s.others...) {
		select {
		case <-stream.ended:
			s.Fatalf("the stream of a valid token ended with %q", stream.reason)
		default:
		}
	}
}

// report logs the times between the return of the revocation and the end of the
// stream.
func (s *streamsTest) report() {
	for _, name := range slices.Sorted(maps.Keys(s.took)) {
		took := s.took[name]
		slices.Sort(took)
		at := func(q float64) time.Duration {
			return took[int(math.Ceil(q*float64(len(took))))-1].Round(10 * time.Microsecond)
		}
		s.Logf("%-28s %4d streams ended: p50 %v, p99 %v, at most %v", name, len(took), at(0.5), at(0.99), at(1))
	}
}

// Streams at one process end with the tokens that another process ends, on each
// storage, and streams of other tokens go on.
func TestStreamsEndWithTokensEndedInAnotherProcess(t *testing.T) {
	t.Parallel()
	for engine, start := range map[string]func(testing.TB) *throwaway.Server{
		"postgres": throwaway.StartPostgres, "mariadb": throwaway.StartMariaDB, "redis": throwaway.StartRedis,
	} {
		for _, cache := range []bool{false, true} {
			if cache && engine == "mariadb" {
				continue // it has no feed
			}
			t.Run(fmt.Sprintf("%s, cache %v", engine, cache), func(t *testing.T) {
				t.Parallel()
				server := start(t)
				s := newStreamsTest(t, streamsConfig{Engine: engine, DSN: server.DSN(), Cache: cache})
				s.endInEveryWay()
				if engine != "mariadb" {
					s.loseFeed(engine, server)
				}
				s.stopStorage(server)
				s.report()
			})
		}
	}
}

func (s *streamsTest) endInEveryWay() {
	rounds := 5
	if throwaway.Long() {
		rounds = 100
	}
	for range rounds {
		a, b, c, d := s.open(""), s.open(""), s.open(""), s.open("")
		s.ends("Revoke", tokenauth.ErrInvalidToken, func(ctx context.Context) error { return s.auth.Revoke(ctx, a.text) }, a)
		s.ends("RevokeUser", tokenauth.ErrInvalidToken, func(ctx context.Context) error {
			return s.auth.RevokeUser(ctx, b.token.Principal.UserID)
		}, b)
		s.ends("a newer sign-in", tokenauth.ErrReplacedToken, func(ctx context.Context) error {
			_, err := s.auth.Issue(ctx, c.token.Principal, nil)
			return err
		}, c)
		s.ends("Users.SetDisabled", tokenauth.ErrInvalidToken, func(ctx context.Context) error {
			return s.users.SetDisabled(ctx, d.token.Principal.UserID, true)
		}, d)
		s.goOn()
	}
	for range 3 {
		var streams []*remoteStream
		for range 20 {
			streams = append(streams, s.open("ends"))
		}
		s.ends("RevokeClient", tokenauth.ErrInvalidToken, func(ctx context.Context) error { return s.auth.RevokeClient(ctx, "ends") }, streams...)
		s.goOn()
	}
}

// loseFeed cuts the connections of the feed, and ends a token at the same time.
func (s *streamsTest) loseFeed(engine string, server *throwaway.Server) {
	cut := s.cutter(engine, server)
	for i := range 10 {
		a := s.open("")
		for range i % 3 {
			cut()
		}
		ended := make(chan struct{})
		go func() { // at about the same time
			defer close(ended)
			for range 3 {
				cut()
			}
		}()
		s.ends("the feed is cut", tokenauth.ErrInvalidToken, func(ctx context.Context) error { return s.auth.Revoke(ctx, a.text) }, a)
		<-ended
		s.goOn()
	}
}

// cutter returns a func that ends the connections of all feeds.
func (s *streamsTest) cutter(engine string, server *throwaway.Server) func() {
	if engine == "postgres" {
		db, err := gorm.Open(postgres.Open(server.DSN()), &gorm.Config{Logger: logger.Discard})
		if err != nil {
			s.Fatal(err)
		}
		pool, err := db.DB()
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { pool.Close() })
		return func() {
			if err := db.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND pid <> pg_backend_pid()`).Error; err != nil {
				s.Error(err)
			}
		}
	}
	client := redisClient(s.T, server.DSN())
	return func() {
		list, err := client.Do(s.Context(), client.B().Arbitrary("CLIENT", "LIST").Build()).ToString()
		if err != nil {
			s.Error(err)
		}
		for line := range strings.Lines(strings.TrimPrefix(list, "txt:")) {
			var id, flags string
			for _, field := range strings.Fields(line) {
				switch name, value, _ := strings.Cut(field, "="); name {
				case "id":
					id = value
				case "flags":
					flags = value
				}
			}
			if strings.Contains(flags, "t") { // client tracking
				client.Do(s.Context(), client.B().Arbitrary("CLIENT", "KILL", "ID", id).Build())
			}
		}
	}
}

// stopStorage stops the storage, which ends no stream. When the storage is back,
// tokens end their streams again.
func (s *streamsTest) stopStorage(server *throwaway.Server) {
	a := s.open("")
	server.Stop(s.T)
	time.Sleep(3 * time.Second) // longer than the lease and some intervals
	s.goOn(a)
	server.Start(s.T)
	var ended time.Time
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := s.auth.Revoke(s.Context(), a.text)
		if ended = time.Now(); err == nil {
			break
		}
		if ended.After(deadline) {
			s.Fatal(err)
		}
	}
	s.endedBy("after the storage was stopped", ended, tokenauth.ErrInvalidToken, a)
	b := s.open("")
	s.ends("later", tokenauth.ErrInvalidToken, func(ctx context.Context) error { return s.auth.Revoke(ctx, b.text) }, b)
	s.goOn()
}
