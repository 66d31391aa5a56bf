package abuse_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/ncruces/go-sqlite3/gormlite"
	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

func TestMain(m *testing.M) {
	if os.Getenv(countHashes) != "" {
		printHashRuns()
		return
	}
	os.Exit(throwaway.Main(m))
}

var onHTTP = engines[0]

// onEngines runs a test once per engine. It is for situations that need another
// storage or other users than newAbuseHost uses.
func onEngines(run func(t *testing.T, on engine)) func(*testing.T) {
	return func(t *testing.T) {
		for _, e := range engines {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				run(t, e)
			})
		}
	}
}

// host returns a host with the storage and the users. Its protected routes
// answer with the name of the user, unless the test passes another handler.
func (on engine) host(t *testing.T, s tokenauth.Storage, a tokenauth.Authenticator, o tokenauth.Options, handler ...http.HandlerFunc) *abuseHost {
	t.Helper()
	h := &abuseHost{engine: on.name, log: new(journal), serverLog: new(journal), now: start}
	o.Realm = abuseRealm
	o.Logger = h.log.logger()
	var err error
	if h.auth, err = tokenauth.New(s, a, &o); err != nil {
		t.Fatal(err)
	}
	who := h.who
	if len(handler) > 0 {
		who = handler[0]
	}
	h.handler = on.mount(h, func(w http.ResponseWriter, r *http.Request) {
		h.handled.Add(1)
		who(w, r)
	})
	h.server = httptest.NewUnstartedServer(h.handler)
	h.server.Config.ErrorLog = log.New(h.serverLog, "", 0)
	h.server.Start()
	t.Cleanup(h.server.Close)
	h.url = h.server.URL
	h.client = h.server.Client()
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	if o.Cache != nil { // the cache needs its feed
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { h.auth.Run(ctx) })
		t.Cleanup(func() { cancel(); wg.Wait() })
	}
	return h
}

// me sends GET /me with the token.
func (h *abuseHost) me(t *testing.T, accessToken string) answer {
	t.Helper()
	return h.do(t, "GET", "/me", "", "Authorization", "Bearer "+accessToken)
}

// welcomes checks that the token is valid.
func (h *abuseHost) welcomes(t *testing.T, accessToken, when string) {
	t.Helper()
	if a := h.me(t, accessToken); a.StatusCode != http.StatusOK {
		t.Errorf("%s: GET /me with a valid token: got %d %s, want 200; log: %s", when, a.StatusCode, a.body, h.log)
	}
}

// refuses checks that a guard refuses the token and does not call the handler.
func (h *abuseHost) refuses(t *testing.T, d denial, accessToken string) {
	t.Helper()
	handled := h.handled.Load()
	d.check(t, h.me(t, accessToken))
	if h.handled.Load() != handled {
		t.Error("the handler was called for a refused request")
	}
}

// posts sends a token request and checks the answer.
func (h *abuseHost) posts(t *testing.T, want reply, body string) answer {
	t.Helper()
	a := h.do(t, "POST", "/Token", body)
	want.check(t, a)
	return a
}

// isDown checks that a guard answers as when the storage fails.
func (h *abuseHost) isDown(t *testing.T, accessToken string) {
	t.Helper()
	handled := h.handled.Load()
	a := h.me(t, accessToken)
	a.expectNoStore(t)
	a.expectHeaders(t, map[string]string{"WWW-Authenticate": "", "Retry-After": "2"})
	const body = `{"error":"temporarily_unavailable","error_description":"The server is temporarily unable to handle the request. Try again later.",` +
		`"Message":"The server is temporarily unable to handle the request. Try again later."}`
	if a.StatusCode != http.StatusServiceUnavailable || a.body != body {
		t.Errorf("GET /me: got %d %s, want 503", a.StatusCode, a.body)
	}
	if h.handled.Load() != handled {
		t.Error("the handler was called while the storage fails")
	}
}

// recovers waits until the token is valid and a user can sign in. A busy machine may
// exceed the host's short timeout a few times.
func (h *abuseHost) recovers(t *testing.T, accessToken string) {
	t.Helper()
	eventually(t, "the token is valid after the fault", func() bool { return h.me(t, accessToken).StatusCode == http.StatusOK })
	eventually(t, "a user signs in after the fault", func() bool {
		a := h.do(t, "POST", "/Token", grantFor("alice", otherPassword))
		if a.StatusCode != http.StatusServiceUnavailable {
			issued.check(t, a)
			return true
		}
		return false
	})
}

// eventually waits until the condition is true, and fails the test after patience.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("this is still not true after %v: %s", patience, what)
		}
	}
}

// grantFor returns the body of a token request.
func grantFor(userName, password string) string {
	return url.Values{"grant_type": {"password"}, "username": {userName}, "password": {password}}.Encode()
}

// A directory is an Authenticator in which all users have the same password,
// and IDs made from their names. It does not hash passwords.
type directory struct{}

func (directory) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if c.Password.Reveal() != otherPassword {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return tokenauth.Principal{UserID: "id of " + c.UserName, UserName: c.UserName, Roles: []string{"Reader"}}, nil
}

// A meddler is a storage that calls the func of a test before or after each
// call. The test sets the fields before the first call.
type meddler struct {
	memory.Store
	before func(ctx context.Context, call string) error
	after  func(ctx context.Context, call string)
	found  func(tokenauth.Token, error) (tokenauth.Token, error)
	watch  func(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error
	other  *memory.Store // used instead of Store if it is not nil
}

func (m *meddler) store() *memory.Store {
	if m.other != nil {
		return m.other
	}
	return &m.Store
}

func (m *meddler) do(ctx context.Context, call string, do func() error) error {
	if m.before != nil {
		if err := m.before(ctx, call); err != nil {
			return err
		}
	}
	err := do()
	if m.after != nil {
		m.after(ctx, call)
	}
	return err
}

func (m *meddler) Replace(ctx context.Context, t tokenauth.Token) error {
	return m.do(ctx, "Replace", func() error { return m.store().Replace(ctx, t) })
}

func (m *meddler) Revoke(ctx context.Context, s tokenauth.Slot, d tokenauth.Digest) error {
	return m.do(ctx, "Revoke", func() error { return m.store().Revoke(ctx, s, d) })
}

func (m *meddler) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	return m.do(ctx, "RevokeUser", func() error { return m.store().RevokeUser(ctx, u) })
}

func (m *meddler) Find(ctx context.Context, s tokenauth.Slot) (t tokenauth.Token, err error) {
	err = m.do(ctx, "Find", func() (err error) {
		t, err = m.store().Find(ctx, s)
		if m.found != nil {
			t, err = m.found(t, err)
		}
		return err
	})
	return t, err
}

func (m *meddler) Watch(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
	if m.watch != nil {
		return m.watch(ctx, beat, feed)
	}
	return m.store().Watch(ctx, beat, feed)
}

// preceded is a SQL storage that calls a func before each of its calls.
type preceded struct {
	*gormstore.Store
	call func(ctx context.Context, call string)
}

func (b preceded) Replace(ctx context.Context, t tokenauth.Token) error {
	b.call(ctx, "Replace")
	return b.Store.Replace(ctx, t)
}

// A sqlEngine opens a new, empty database.
type sqlEngine struct {
	name string
	open func(testing.TB) gorm.Dialector
}

var (
	sqlite = sqlEngine{"sqlite", func(tb testing.TB) gorm.Dialector {
		return sqliteFile(filepath.Join(tb.TempDir(), "abuse.db"), 10*time.Second)
	}}
	sqlEngines = []sqlEngine{
		sqlite,
		{"postgres", func(tb testing.TB) gorm.Dialector { return postgres.Open(throwaway.Postgres(tb)) }},
		{"mariadb", func(tb testing.TB) gorm.Dialector { return mysql.Open(throwaway.MariaDB(tb)) }},
	}
)

func sqliteFile(path string, busy time.Duration) gorm.Dialector {
	return gormlite.Open(fmt.Sprintf("file:%s?_pragma=busy_timeout(%d)&_pragma=journal_mode(wal)&_txlock=immediate", path, busy.Milliseconds()))
}

// onDatabases runs a test once per SQL database.
func onDatabases(run func(t *testing.T, e sqlEngine)) func(*testing.T) {
	return func(t *testing.T) {
		for _, e := range sqlEngines {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				run(t, e)
			})
		}
	}
}

// openDB opens a database and closes it at the end of the test.
func openDB(t *testing.T, d gorm.Dialector) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(d, &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	pool := poolOf(t, db)
	pool.SetMaxOpenConns(16)
	pool.SetMaxIdleConns(16)
	t.Cleanup(func() { pool.Close() })
	return db
}

func poolOf(t *testing.T, db *gorm.DB) *sql.DB {
	t.Helper()
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

// newStore returns a store on a database that it migrates. By default it does
// not replace the cheap hashes of the test users by more costly ones.
func newStore(t *testing.T, db *gorm.DB, o *gormstore.Options) *gormstore.Store {
	t.Helper()
	if o == nil {
		o = &gormstore.Options{Passwords: &password.Options{KeepHashes: !long}}
	}
	if err := gormstore.Migrate(t.Context(), db, o); err != nil {
		t.Fatal(err)
	}
	s, err := gormstore.New(t.Context(), db, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// mustExec runs a statement, and fails the test if that fails.
func mustExec(t *testing.T, db *gorm.DB, statement string, args ...any) {
	t.Helper()
	if err := db.Exec(statement, args...).Error; err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// number runs a query that returns one number.
func number(t *testing.T, db *gorm.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.Raw(query, args...).Scan(&n).Error; err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// addUser adds a user with the password otherPassword.
func addUser(t *testing.T, s *gormstore.Store, name string, roles ...string) gormstore.User {
	t.Helper()
	user, err := s.Users().Import(t.Context(), gormstore.User{Name: name, Roles: roles}, otherHash())
	if err != nil {
		t.Fatal(err)
	}
	return user
}

// The test counts hashes by the memory they allocate, 19 MiB each. It runs them
// in a process of its own, because other tests allocate in the same heap.
const countHashes = "TOKENAUTH_COUNT_HASHES"

const strongPassword = "correct horse of cost"

// hashCases are sign-ins with the same user name, by what is unusual about
// each.
var hashCases = map[string]struct {
	account  *password.Account // nil for an unknown user
	password string
	runs     int // how often Argon2id runs at the default cost
}{
	"right":           {&password.Account{PasswordHash: "default"}, strongPassword, 1},
	"unknown":         {nil, strongPassword, 1},
	"wrong":           {&password.Account{PasswordHash: "default"}, "wrong", 1},
	"disabled":        {&password.Account{PasswordHash: "default", Disabled: true}, strongPassword, 1},
	"disabled, wrong": {&password.Account{PasswordHash: "default", Disabled: true}, "wrong", 1},
	"no hash":         {&password.Account{}, strongPassword, 1},
	"in the clear":    {&password.Account{PasswordHash: strongPassword}, strongPassword, 1},
	"1025 bytes":      {&password.Account{PasswordHash: "default"}, strings.Repeat("x", 1025), 1},
	"1025, unknown":   {nil, strings.Repeat("x", 1025), 1},
	"empty":           {&password.Account{PasswordHash: "default"}, "", 0},
}

func init() {
	for _, hash := range hostileHashes {
		hashCases["hostile "+hash] = struct {
			account  *password.Account
			password string
			runs     int
		}{&password.Account{PasswordHash: hash}, strongPassword, 1}
	}
}

// hostileHashes are stored hashes that ask for more work than a service can do,
// or for no work.
var hostileHashes = []string{
	"$argon2id$v=19$m=4194304,t=2,p=1$c2l4dGVlbiBieXRlcy0tLQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=4294967295,t=4294967295,p=255$c2l4dGVlbiBieXRlcy0tLQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=64,t=0,p=1$c2l4dGVlbiBieXRlcy0tLQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$argon2id$v=19$m=64,t=1,p=0$c2l4dGVlbiBieXRlcy0tLQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"$2a$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
	"$pbkdf2-sha256$i=2147483648,l=32$c2l4dGVlbiBieXRlcy0tLQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
	"AQAAAAGAAAAAAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==", // Identity 3, 2³¹ rounds
}

// hashRuns returns how often each of hashCases ran the default hash.
var hashRuns = sync.OnceValues(func() (runs map[string]float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), countHashes+"=1")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return runs, json.Unmarshal(out, &runs)
})

// expectHashes checks how often the cases ran the default hash.
func expectHashes(t *testing.T, names ...string) {
	t.Helper()
	runs, err := hashRuns()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		want := hashCases[name].runs
		// The other allocations of a sign-in are far below a tenth of a hash.
		if got, ok := runs[name]; !ok || got < float64(want) || got > float64(want)+0.1 {
			t.Errorf("%s: the default hash ran %.2f times, want %d", name, got, want)
		}
	}
}

func printHashRuns() {
	accounts := map[string]password.Account{}
	users, err := password.New(func(_ context.Context, userName string) (password.Account, error) {
		account, ok := accounts[userName]
		if !ok {
			return account, tokenauth.ErrNotFound
		}
		return account, nil
	}, nil)
	if err != nil {
		panic(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{InsecureOff: true}})
	if err != nil {
		panic(err)
	}
	strong, err := password.Hash(strongPassword)
	if err != nil {
		panic(err)
	}
	endpoint := auth.TokenHandler()
	runs := make(map[string]float64)
	for name, test := range hashCases {
		clear(accounts)
		if test.account != nil {
			account := *test.account
			account.UserID, account.UserName = "1", "somebody"
			if account.PasswordHash == "default" {
				account.PasswordHash = strong
			}
			accounts["somebody"] = account
		}
		r := httptest.NewRequest("POST", "/Token", strings.NewReader(grantFor("somebody", test.password)))
		var earlier, later runtime.MemStats
		runtime.ReadMemStats(&earlier)
		endpoint.ServeHTTP(httptest.NewRecorder(), r)
		runtime.ReadMemStats(&later)
		runs[name] = float64(later.TotalAlloc-earlier.TotalAlloc) / (19 << 20)
	}
	if err := json.NewEncoder(os.Stdout).Encode(runs); err != nil {
		panic(err)
	}
}

// readAnswer reads the whole body of a response.
func readAnswer(response *http.Response, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	return answer{response, string(b)}, err
}
