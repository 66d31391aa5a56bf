// Package abuse_test attacks package tokenauth over HTTP, mounted on net/http
// and on Gin. TestAbuse runs a catalogue of attacks and failures. The other
// tests check the contract of the token endpoint and of the guards.
package abuse_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/crypto/argon2"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// long reports whether to run the long variants of the tests
// (TOKENAUTH_LONG=1).
var long = throwaway.Long()

// A situation is one row of the catalogue: an attack, a broken client, a
// failing storage or overload, and the answer and state that are expected after
// it.
type situation struct {
	id   string // a letter for the chapter and a number, as in "P07"
	what string

	// unreachable says why the situation cannot occur. Such a row is skipped.
	unreachable string

	// run is called twice: for net/http and for a default Gin engine. Each call
	// gets a host of its own, which with configures if it is not nil.
	run  func(t *testing.T, h *abuseHost)
	with func(s *setup)

	// alone is called once, without a host. It is for situations that need real
	// servers or no server. A situation may have both run and alone.
	alone func(t *testing.T)
}

func situations() []situation {
	return slices.Concat(parsing, authorization, semantics, faults, overload, leakage, devices, webPages, refreshTokens, apiKeys)
}

// TestAbuse runs each situation of the catalogue as a subtest. With -v it lists
// them with their results.
func TestAbuse(t *testing.T) {
	t.Parallel()
	for _, s := range situations() {
		t.Run(s.id+" "+s.what, func(t *testing.T) {
			t.Parallel()
			t.Log(s.what)
			if s.unreachable != "" {
				t.Skip("not reachable in this design: " + s.unreachable)
			}
			if s.alone != nil {
				s.alone(t)
			}
			if s.run == nil {
				return
			}
			onEngines(func(t *testing.T, on engine) {
				h := newAbuseHost(t, on, s.with)
				h.users.unhashed = s.id[0] != 'U' && !long
				s.run(t, h)
			})(t)
		})
	}
}

// TestAbuseIsComplete checks that each row of the catalogue is there exactly
// once.
func TestAbuseIsComplete(t *testing.T) {
	t.Parallel()
	var want []string
	for _, chapter := range []struct {
		letter string
		last   int
	}{{"P", 48}, {"A", 27}, {"U", 39}, {"D", 30}, {"T", 20}, {"L", 20}, {"V", 9}, {"W", 4}, {"R", 6}, {"K", 6}} {
		for i := range chapter.last {
			if id := fmt.Sprintf("%s%02d", chapter.letter, i+1); id != "L17" {
				want = append(want, id)
			}
		}
	}
	if len(want) != 208 {
		t.Fatalf("the list of expected ids has %d entries, want 208", len(want))
	}
	seen := make(map[string]int)
	for _, s := range situations() {
		seen[s.id]++
		if seen[s.id] > 1 {
			t.Errorf("there are several situations with the id %s", s.id)
		}
		if !slices.Contains(want, s.id) {
			t.Errorf("the id %s is not in the catalogue", s.id)
		}
		if does := s.run != nil || s.alone != nil; does == (s.unreachable != "") {
			t.Errorf("%s must have either run or alone, or else a text in unreachable", s.id)
		}
	}
	var missing []string
	for _, id := range want {
		if seen[id] == 0 {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		t.Errorf("the catalogue has no situations with the ids %v", missing)
	}
}

// A setup configures the host of a situation.
type setup struct {
	tokenauth.Options

	// local makes the service count attempts in its own memory. Otherwise it counts
	// them in the storage, where a test can read the counters.
	local bool
	// serve starts the server; nil means without TLS, by httptest.Server.Start.
	serve func(*httptest.Server)
	// handler answers on the protected routes; nil means abuseHost.who.
	handler http.HandlerFunc
	// normalize is applied to user names before they are compared; nil means that
	// names are compared exactly.
	normalize func(string) string
}

// An abuseHost is a service with the Token API mounted. It has three users with
// password hashes: the administrator "admin", the reader "reader", and
// "disabled", whose account is disabled. It keeps tokens in memory and
// throttles sign-ins. It starts with a token of the administrator, issued to
// the client "app" if the host has a registry of clients.
type abuseHost struct {
	engine  string // "net-http" or "gin"
	auth    *tokenauth.Service
	storage *abuseStore
	users   *abuseUsers
	handler http.Handler // all routes, for requests without a network
	server  *httptest.Server
	url     string
	client  *http.Client // does not follow redirects

	token string // the access token of the administrator

	handled    atomic.Int64 // requests that reached a handler behind a guard
	inProgress atomic.Int64 // requests that have no answer yet
	closed     sync.Map     // the client's address of each closed connection
	log        *journal     // the log of the service and of the users, at debug level
	serverLog  *journal     // the log of the http.Server

	mu  sync.Mutex
	now time.Time
}

const (
	abuseRealm    = "abuse"
	adminPassword = "correct horse +battery%staple" // contains no user name
	otherPassword = "Tr0ub4dor & three"

	// grantOf is the start of the body of a token request. goodGrant is the
	// complete body of a valid one.
	grantOf   = "grant_type=password&username="
	goodGrant = grantOf + "admin&password=correct+horse+%2Bbattery%25staple"
)

// hashed has every password that was passed to hashOf.
var hashed sync.Map

// hashOf returns a password hash that is cheap to verify, because these tests
// do not test the hash. Rejecting a wrong password still costs a hash of the
// default cost.
func hashOf(text string) string {
	hashed.Store(text, true)
	salt := []byte("sixteen bytes---")
	key := argon2.IDKey([]byte(text), salt, 1, 8, 1, 32)
	return fmt.Sprintf("$argon2id$v=19$m=8,t=1,p=1$%s$%s", base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

var (
	adminHash = sync.OnceValue(func() string { return hashOf(adminPassword) })
	otherHash = sync.OnceValue(func() string { return hashOf(otherPassword) })
)

// An engine mounts the Token API on net/http or on Gin.
type engine struct {
	name  string
	mount func(*abuseHost, http.HandlerFunc) http.Handler
}

var engines = []engine{{"net-http", abuseHTTP}, {"gin", abuseGin()}}

// endpoints returns the endpoints that the host can mount.
func (h *abuseHost) endpoints() tokenauth.Endpoints {
	e := tokenauth.Endpoints{Revocation: "/revoke"}
	if h.auth.Options().Clients != nil {
		e.Introspection = "/introspect"
	}
	return e
}

func abuseHTTP(h *abuseHost, who http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	h.auth.Mount(mux, h.endpoints())
	mux.Handle("/me", h.auth.RequireBearer(who))
	mux.Handle("/staff", h.auth.RequireBearer(h.auth.RequireRole("Nobody", "Staff")(who)))
	mux.Handle("/admin", h.auth.RequireRole("Administrator")(who))
	mux.Handle("/app", h.auth.RequireClient("app")(who))
	mux.Handle("/open", h.auth.Optional(who))
	if h.auth.Options().Keys != nil {
		mux.Handle("/reports", tokenauth.Requirement{Keys: true}.Guard(h.auth)(who))
		mux.Handle("/audit", tokenauth.Requirement{Keys: true, Roles: []string{"Auditor"}}.Guard(h.auth)(who))
	}
	return mux
}

// abuseGin mounts the Token API on a default Gin engine, behind the middleware.
func abuseGin(before ...gin.HandlerFunc) func(*abuseHost, http.HandlerFunc) http.Handler {
	return func(h *abuseHost, who http.HandlerFunc) http.Handler {
		r := gin.Default()
		r.Use(before...)
		ginadapter.Mount(r, h.auth, h.endpoints())
		r.Any("/me", ginadapter.RequireBearer(h.auth), gin.WrapF(who))
		r.Any("/staff", ginadapter.RequireBearer(h.auth), ginadapter.RequireRole(h.auth, "Nobody", "Staff"), gin.WrapF(who))
		r.Any("/admin", ginadapter.RequireRole(h.auth, "Administrator"), gin.WrapF(who))
		r.Any("/app", ginadapter.RequireClient(h.auth, "app"), gin.WrapF(who))
		r.Any("/open", ginadapter.Optional(h.auth), gin.WrapF(who))
		if h.auth.Options().Keys != nil {
			r.Any("/reports", ginadapter.Guard(h.auth, tokenauth.Requirement{Keys: true}), gin.WrapF(who))
			r.Any("/audit", ginadapter.Guard(h.auth, tokenauth.Requirement{Keys: true, Roles: []string{"Auditor"}}), gin.WrapF(who))
		}
		return r
	}
}

func newAbuseHost(t *testing.T, on engine, with func(*setup)) *abuseHost {
	t.Helper()
	h := &abuseHost{engine: on.name, storage: new(abuseStore), log: new(journal), serverLog: new(journal), now: start}
	h.users = newAbuseUsers(h.log)
	var s setup
	s.Realm = abuseRealm
	s.Now = h.time
	s.Logger = h.log.logger()
	s.Throttle.Key = tokenauth.NewSecret("a key of thirty-two bytes, or so")
	s.serve = (*httptest.Server).Start
	s.handler = h.who
	if with != nil {
		with(&s)
	}
	h.users.normalize = s.normalize
	if s.local {
		s.Throttle.Key = tokenauth.Secret{}
	}
	var err error
	if h.auth, err = tokenauth.New(h.storage, h.users, &s.Options); err != nil {
		t.Fatal(err)
	}
	mounted := on.mount(h, func(w http.ResponseWriter, r *http.Request) {
		h.handled.Add(1)
		s.handler(w, r)
	})
	h.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.inProgress.Add(1)
		defer h.inProgress.Add(-1)
		mounted.ServeHTTP(w, r)
	})
	h.server = httptest.NewUnstartedServer(h.handler)
	h.server.Config.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			h.closed.Store(conn.RemoteAddr().String(), true)
		}
	}
	h.server.Config.ErrorLog = log.New(h.serverLog, "", 0)
	s.serve(h.server)
	t.Cleanup(h.server.Close)
	h.url = h.server.URL
	h.client = h.server.Client()
	h.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	client := ""
	if s.Clients != nil {
		client = "app"
	}
	grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: "1", UserName: "admin", Roles: []string{"Administrator"}}, &tokenauth.IssueOptions{ClientID: client})
	if err != nil {
		t.Fatal(err)
	}
	h.token = grant.AccessToken.Reveal()
	t.Cleanup(func() {
		for name, log := range map[string]*journal{"the service": h.log, "net/http": h.serverLog} {
			for _, secret := range []string{adminPassword, otherPassword, "correct+horse", h.token, appSecret.Reveal()} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log of %s contains the secret %q: %s", name, secret, log)
				}
			}
		}
		if strings.Contains(h.serverLog.String(), "panic") {
			t.Errorf("net/http caught a panic: %s", h.serverLog)
		}
	})
	return h
}

func (h *abuseHost) who(w http.ResponseWriter, r *http.Request) {
	name := "anonymous"
	if token, ok := tokenauth.FromContext(r.Context()); ok {
		name = token.Principal.UserName
	}
	fmt.Fprint(w, name)
}

func (h *abuseHost) time() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// wait advances the clock of the service.
func (h *abuseHost) wait(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// A journal collects a log. It is safe for concurrent use.
type journal struct {
	mu sync.Mutex
	b  strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// abuseUsers is a password.Authenticator with a few accounts that counts its
// calls.
type abuseUsers struct {
	*password.Authenticator
	log *journal

	// unhashed rejects passwords that no account has without hashing them, which
	// makes the tests faster. Chapter U tests passwords, so it does not set this.
	unhashed bool

	hashes    atomic.Int64 // calls of Authenticate that checked the password; each costs one hash, unless unhashed
	throttled atomic.Int64 // calls of Authenticate that were throttled
	lookups   atomic.Int64
	normalize func(string) string // applied to user names; nil compares them exactly

	mu       sync.Mutex
	asked    []string // the user names that were looked up
	accounts map[string]password.Account
	fault    func(ctx context.Context) error // called before each look-up; may be nil
}

// abuseKey is the context key of the *abuseUsers of a request.
type abuseKey struct{}

// passwords is one Authenticator for the users of all hosts, because making one
// costs a hash.
var passwords = sync.OnceValue(func() *password.Authenticator { return newPasswords(0) })

func newPasswords(maxWaiting int) *password.Authenticator {
	lookup := func(ctx context.Context, userName string) (password.Account, error) {
		return ctx.Value(abuseKey{}).(*abuseUsers).lookup(ctx, userName)
	}
	u, err := password.New(lookup, &password.Options{Timeout: 10 * time.Second, MaxWaiting: maxWaiting, Logger: slog.New(abuseLog{})})
	if err != nil {
		panic(err)
	}
	return u
}

// abuseLog is a slog.Handler that writes to the log of the host of the request.
type abuseLog struct{ slog.Handler }

func (abuseLog) Enabled(context.Context, slog.Level) bool { return true }

func (abuseLog) Handle(ctx context.Context, r slog.Record) error {
	return ctx.Value(abuseKey{}).(*abuseUsers).log.logger().Handler().Handle(ctx, r)
}

func newAbuseUsers(log *journal) *abuseUsers {
	return &abuseUsers{Authenticator: passwords(), log: log, accounts: map[string]password.Account{
		"admin":    {UserID: "1", UserName: "admin", PasswordHash: adminHash(), Roles: []string{"Administrator"}},
		"reader":   {UserID: "2", UserName: "reader", PasswordHash: otherHash(), Roles: []string{"Reader"}},
		"disabled": {UserID: "3", UserName: "disabled", PasswordHash: otherHash(), Disabled: true},
	}}
}

// Authenticate implements tokenauth.Authenticator.
func (u *abuseUsers) Authenticate(ctx context.Context, c tokenauth.Credentials) (p tokenauth.Principal, err error) {
	defer func() {
		if errors.Is(err, tokenauth.ErrThrottled) {
			u.throttled.Add(1)
		} else {
			u.hashes.Add(1)
		}
	}()
	if _, ok := hashed.Load(c.Password.Reveal()); u.unhashed && !ok {
		account, err := u.lookup(ctx, c.UserName)
		if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
			return tokenauth.Principal{}, err
		}
		if err := c.CountAttempt(ctx, account.UserID); err != nil {
			return tokenauth.Principal{}, err
		}
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return u.Authenticator.Authenticate(context.WithValue(ctx, abuseKey{}, u), c)
}

// Recheck implements tokenauth.Rechecker.
func (u *abuseUsers) Recheck(ctx context.Context, p tokenauth.Principal) error {
	return u.Authenticator.Recheck(context.WithValue(ctx, abuseKey{}, u), p)
}

func (u *abuseUsers) lookup(ctx context.Context, userName string) (password.Account, error) {
	u.lookups.Add(1)
	u.mu.Lock()
	fault := u.fault
	if u.normalize != nil {
		userName = u.normalize(userName)
	}
	account, ok := u.accounts[userName]
	u.asked = append(u.asked, userName)
	u.mu.Unlock()
	if fault != nil {
		if err := fault(ctx); err != nil {
			return password.Account{}, err
		}
	}
	if !ok {
		return password.Account{}, tokenauth.ErrNotFound
	}
	return account, nil
}

// lastAsked returns the user name that was looked up last, or "".
func (u *abuseUsers) lastAsked() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.asked) == 0 {
		return ""
	}
	return u.asked[len(u.asked)-1]
}

// set calls change, which may change the accounts and the fault of look-ups.
func (u *abuseUsers) set(change func(accounts map[string]password.Account, fault *func(context.Context) error)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(u.accounts, &u.fault)
}

// put adds an account or replaces the one with the same name.
func (u *abuseUsers) put(account password.Account) {
	u.set(func(accounts map[string]password.Account, _ *func(context.Context) error) {
		accounts[account.UserName] = account
	})
}

// meet sets a fault, which each later look-up calls first. Nil removes it.
func (u *abuseUsers) meet(fault func(context.Context) error) {
	u.set(func(_ map[string]password.Account, f *func(context.Context) error) { *f = fault })
}

// abuseClients is a registry of clients. "app", "resource" and "desktop" have
// the secret appSecret; "app" may introspect its own tokens and "resource" all
// tokens. "web" is public. "desk" is public and for readers only. "gone" is
// disabled. Looking up "ill" fails with errStorage.
type abuseClients struct{}

var (
	appSecret = tokenauth.NewSecret(rand.Text())
	appDigest = tokenauth.Digest(sha256.Sum256([]byte(appSecret.Reveal())))
)

// FindClient implements tokenauth.ClientRegistry.
func (abuseClients) FindClient(_ context.Context, clientID string) (tokenauth.Client, error) {
	switch clientID {
	case "app":
		return tokenauth.Client{ID: "app", Secrets: []tokenauth.Digest{appDigest}, IntrospectsOwn: true}, nil
	case "resource":
		return tokenauth.Client{ID: "resource", Secrets: []tokenauth.Digest{appDigest}, IntrospectsAll: true}, nil
	case "desktop":
		return tokenauth.Client{ID: "desktop", Secrets: []tokenauth.Digest{appDigest}}, nil
	case "web":
		return tokenauth.Client{ID: "web"}, nil
	case "desk":
		return tokenauth.Client{ID: "desk", Roles: []string{"Reader"}}, nil
	case "gone":
		return tokenauth.Client{ID: "gone", Disabled: true}, nil
	case "ill":
		return tokenauth.Client{}, errStorage
	}
	return tokenauth.Client{}, tokenauth.ErrNotFound
}

// withClients gives the host a registry of clients.
func withClients(s *setup) { s.Clients = abuseClients{} }

// An abuseStore is a storage in memory that counts its calls, lets tests read
// its throttle counters, and fails on demand.
type abuseStore struct {
	memory.Store

	mu       sync.Mutex
	calls    map[string]int
	fault    func(ctx context.Context, call string) error
	counters map[throttle.Key]throttle.Counter
}

var errStorage = errors.New("host=10.0.0.7 user=app: connection refused (SQLSTATE 08006)")

// meet sets a fault, which each later call of the storage calls first. The
// fault may return an error, panic, or wait for the context. Nil removes it.
func (s *abuseStore) meet(fault func(ctx context.Context, call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// fails is a fault that fails each call with errStorage.
func fails(context.Context, string) error { return errStorage }

// failsIn returns a fault that fails only the named methods.
func failsIn(calls ...string) func(context.Context, string) error {
	return func(_ context.Context, call string) error {
		if slices.Contains(calls, call) {
			return errStorage
		}
		return nil
	}
}

func hangs(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

func (s *abuseStore) count(ctx context.Context, call string) error {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[call]++
	fault := s.fault
	s.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx, call)
}

// called returns how often the method was called.
func (s *abuseStore) called(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[call]
}

func (s *abuseStore) Replace(ctx context.Context, t tokenauth.Token) error {
	if err := s.count(ctx, "Replace"); err != nil {
		return err
	}
	return s.Store.Replace(ctx, t)
}

func (s *abuseStore) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	if err := s.count(ctx, "Find"); err != nil {
		return tokenauth.Token{}, err
	}
	return s.Store.Find(ctx, slot)
}

func (s *abuseStore) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	if err := s.count(ctx, "Revoke"); err != nil {
		return err
	}
	return s.Store.Revoke(ctx, slot, d)
}

func (s *abuseStore) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if err := s.count(ctx, "RevokeUser"); err != nil {
		return err
	}
	return s.Store.RevokeUser(ctx, u)
}

// UpdateCounters implements throttle.Storage.
func (s *abuseStore) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	if err := s.count(ctx, "UpdateCounters"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	counters := make([]throttle.Counter, len(keys))
	for i, key := range keys {
		counters[i] = s.counters[key]
	}
	change(counters)
	if s.counters == nil {
		s.counters = make(map[throttle.Key]throttle.Counter)
	}
	for i, key := range keys {
		if s.counters[key] = counters[i]; counters[i] == (throttle.Counter{}) {
			delete(s.counters, key)
		}
	}
	return nil
}

// A moment is a snapshot of the state of a host: tokens, counters and calls.
type moment struct {
	h         *abuseHost
	token     string
	hashes    int64
	lookups   int64
	throttled int64
	handled   int64
	calls     map[string]int
	counters  map[throttle.Key]throttle.Counter
	logged    int
}

func (h *abuseHost) moment() moment {
	h.storage.mu.Lock()
	defer h.storage.mu.Unlock()
	return moment{
		h: h, token: h.token, hashes: h.users.hashes.Load(), lookups: h.users.lookups.Load(), throttled: h.users.throttled.Load(), handled: h.handled.Load(),
		calls: maps.Clone(h.storage.calls), counters: maps.Clone(h.storage.counters), logged: len(h.log.String()),
	}
}

// failures returns the sum of the failures in all counters. One failed sign-in
// counts in several of them.
func (m moment) failures() (n int64) {
	for _, c := range m.counters {
		n += c.Failures
	}
	return n
}

// An effect is the change of state that a request must cause.
type effect int

const (
	unchanged  effect = iota // no change
	oneFailure               // one failed attempt is counted
	newToken                 // a new token replaces the administrator's token
)

// expect compares the current state with the snapshot m. It checks the effect,
// that the number of password hashes is as given, and that no handler behind a
// guard was called.
func (m moment) expect(t *testing.T, e effect, hashes int) {
	t.Helper()
	now := m.h.moment()
	if got := now.hashes - m.hashes; got != int64(hashes) {
		t.Errorf("%d passwords were hashed, want %d", got, hashes)
	}
	if hashes == 0 && now.lookups-m.lookups != now.throttled-m.throttled {
		t.Error("a user was looked up, want no look-up without a hash")
	}
	if now.handled != m.handled {
		t.Error("a handler behind a guard was called")
	}
	replaced := now.calls["Replace"] - m.calls["Replace"]
	switch e {
	case unchanged:
		if !maps.Equal(now.counters, m.counters) {
			t.Errorf("the throttle counters changed to %v from %v", now.counters, m.counters)
		}
	case oneFailure:
		more := 0
		for key, c := range now.counters {
			if before := m.counters[key]; c != before {
				if c.Failures != before.Failures+1 || c.Pending != before.Pending {
					t.Errorf("a throttle counter changed to %+v from %+v, want one failure more", c, before)
				}
				more++
			}
		}
		if more != 5 {
			t.Errorf("%d throttle counters changed, want 5", more)
		}
	case newToken:
		// A success resets the failures of the account, and not those of the
		// source.
		succeeded := 0
		for key, c := range now.counters {
			if c == m.counters[key] {
				continue
			}
			if c.Failures != 0 || c.Pending != 0 || c.SucceededAt == 0 {
				t.Errorf("a throttle counter changed to %+v from %+v, want a success without failures", c, m.counters[key])
			}
			succeeded++
		}
		if len(now.counters) > 0 && succeeded > 1 {
			t.Errorf("%d throttle counters recorded the success, want at most 1", succeeded)
		}
	}
	if want := map[effect]int{newToken: 1}[e]; replaced != want {
		t.Errorf("%d tokens were stored, want %d", replaced, want)
	}
	a := m.h.do(t, "GET", "/me", "", "Authorization", "Bearer "+m.token)
	if e == newToken {
		replacedToken.check(t, a)
	}
	if kept := a.StatusCode == http.StatusOK; kept != (e != newToken) {
		t.Errorf("the earlier token is still valid: %v, want %v; GET /me: got %d %s", kept, e != newToken, a.StatusCode, a.body)
	}
}

// do sends a request and reads the answer.
func (h *abuseHost) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	return do(t, h.client, method, h.url+path, aNewGuess(body), headers...)
}

// aNewGuess appends a number to a wrong password at the end of a body, so that
// each guess is a new one. The throttle does not count repetitions.
func aNewGuess(body string) string {
	for _, wrong := range []string{"&password=x", "&password=something+else"} {
		if strings.HasSuffix(body, wrong) {
			return fmt.Sprint(body, guesses.Add(1))
		}
	}
	return body
}

var guesses atomic.Int64

// answers sends the parts as raw does, and parses the responses that the server
// sends back.
func (h *abuseHost) answers(t *testing.T, parts ...string) []answer {
	t.Helper()
	return readAnswers(t, h.raw(t, parts...))
}

func readAnswers(t *testing.T, all string) (answers []answer) {
	t.Helper()
	for r := bufio.NewReader(strings.NewReader(all)); ; {
		if _, err := r.Peek(1); err == io.EOF {
			return answers
		}
		answers = append(answers, nextAnswer(t, r))
	}
}

func nextAnswer(t *testing.T, r *bufio.Reader) answer {
	t.Helper()
	a, err := readAnswer(http.ReadResponse(r, nil))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// one returns the only answer, and fails the test if there are none or several.
func one(t *testing.T, answers []answer) answer {
	t.Helper()
	if len(answers) != 1 {
		t.Fatalf("got %d answers, want 1", len(answers))
	}
	return answers[0]
}

// dial opens a TCP connection to the server.
func (h *abuseHost) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// A reply is the expected answer of the token endpoint, with its effect.
type reply struct {
	status            int
	code, description string // "" for a token response
	header            map[string]string
	effect            effect
	hashes            int
	closes            bool // whether the server closes the connection, as when the body may be unread
}

// refusal is a refusal that comes before any password is checked.
func refusal(status int, code, description string) reply {
	return reply{status: status, code: code, description: description}
}

// badRequest is 400 with the error invalid_request.
func badRequest(description string) reply { return refusal(400, "invalid_request", description) }

// early is invalid_request for a request that is refused before its body is
// read.
func early(status int, description string) reply {
	r := refusal(status, "invalid_request", description)
	r.closes = true
	return r
}

var (
	// issued is a token response.
	issued = reply{status: 200, effect: newToken, hashes: 1}
	// rejected is the refusal of wrong credentials.
	rejected = reply{status: 400, code: "invalid_grant", description: "The user name or password is incorrect.", effect: oneFailure, hashes: 1}
	// unavailable is the answer to a storage error or a failed look-up.
	unavailable = reply{status: 503, code: "temporarily_unavailable",
		description: "The server is temporarily unable to handle the request. Try again later.", header: map[string]string{"Retry-After": "2"}}
)

// with returns a copy of the reply that also expects the header.
func (r reply) with(name, value string) reply {
	r.header = maps.Clone(r.header)
	if r.header == nil {
		r.header = make(map[string]string)
	}
	r.header[name] = value
	return r
}

var issuedBody = regexp.MustCompile(`^\{"access_token":"tat_[A-Za-z0-9_-]{92}","token_type":"bearer","expires_in":\d+,` +
	`"userName":"[^"]+","userId":"[^"]+","role":"[^"]*",".issued":"[^"]{29}",".expires":"[^"]{29}"\}$`)

// check compares an answer of the token endpoint with the expected reply.
func (r reply) check(t *testing.T, a answer) {
	t.Helper()
	a.expectNoStore(t)
	want := map[string]string{"Allow": "", "Retry-After": "", "WWW-Authenticate": "", "Accept-Encoding": ""}
	maps.Copy(want, r.header)
	a.expectHeaders(t, want)
	if a.StatusCode != r.status {
		t.Errorf("status is %d, want %d; body is %s", a.StatusCode, r.status, a.body)
	}
	if a.ProtoMajor == 1 && a.Close != r.closes {
		t.Errorf("the server closes the connection: %v, want %v", a.Close, r.closes)
	}
	if r.code == "" {
		if !issuedBody.MatchString(a.body) {
			t.Errorf("body is %s, want a token response", a.body)
		}
	} else if body := fmt.Sprintf(`{"error":%q,"error_description":%q}`, r.code, r.description); a.body != body {
		t.Errorf("body is %s, want %s", a.body, body)
	}
}

// tries sends a request to the token endpoint. It checks the answer and the
// effect on the state, and that the log contains no part of the request.
func (h *abuseHost) tries(t *testing.T, want reply, method, path, body string, headers ...string) answer {
	t.Helper()
	before := h.moment()
	a := h.do(t, method, path, body, headers...)
	want.check(t, a)
	before.expect(t, want.effect, want.hashes)
	if want.code == "" && a.StatusCode == http.StatusOK {
		h.token = accessTokenIn(t, a)
		if me := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+h.token); me.StatusCode != http.StatusOK {
			t.Errorf("GET /me with the new token: got %d %s, want 200", me.StatusCode, me.body)
		}
	}
	before.expectLog(t, append([]string{path, body}, headers...)...)
	return a
}

// expectLog fails the test if the log since the snapshot contains a part of the
// inputs.
func (m moment) expectLog(t *testing.T, inputs ...string) {
	t.Helper()
	logged := m.h.log.String()[m.logged:]
	if logged == "" {
		return
	}
	for _, input := range inputs {
		for _, part := range strings.FieldsFunc(input, func(r rune) bool { return strings.ContainsRune("&=?/ ", r) }) {
			if len(part) >= 8 && part != "password" && part != "username" && part != "grant_type" && part != "client_id" && strings.Contains(logged, part) {
				t.Errorf("the log contains %q of the request: %s", part, logged)
			}
		}
	}
}

func accessTokenIn(t *testing.T, a answer) string {
	t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &token); err != nil || token.AccessToken == "" {
		t.Fatalf("the answer has no access token: %d %s", a.StatusCode, a.body)
	}
	return token.AccessToken
}

// signIn sends a sign-in that must succeed, and returns the access token.
func (h *abuseHost) signIn(t *testing.T, body string, headers ...string) string {
	t.Helper()
	return accessTokenIn(t, h.do(t, "POST", "/Token", body, headers...))
}

// A denial is the expected answer of a guard that refuses a request.
type denial struct {
	status            int
	code, description string // "" for a request without credentials
	challenge         string
	message           string
}

const messageDenied = "Authorization has been denied for this request."

func denied(status int, code, description, message string) denial {
	challenge := `Bearer realm="` + abuseRealm + `", error="` + code + `"`
	if status != http.StatusForbidden {
		challenge += `, error_description="` + description + `"`
	}
	return denial{status, code, description, challenge, message}
}

const descriptionOneHeader = "The request needs one Authorization header with one bearer token."

var (
	anonymous     = denial{status: 401, challenge: `Bearer realm="` + abuseRealm + `"`, message: messageDenied}
	invalidToken  = denied(401, "invalid_token", "The access token is invalid.", messageDenied)
	expiredToken  = denied(401, "invalid_token", "The access token has expired.", messageDenied)
	replacedToken = denied(401, "invalid_token", "The access token was replaced by a newer sign-in.", messageDenied)
	malformed     = denied(400, "invalid_request", descriptionOneHeader, descriptionOneHeader)
	roleMissing   = denied(403, "insufficient_scope", "The user does not have the role that this needs.", messageDenied)
	clientRefused = denied(403, "insufficient_scope", "The access token was issued to a client that may not do this.", messageDenied)
)

// check compares an answer of a protected route with the expected denial.
func (d denial) check(t *testing.T, a answer) {
	t.Helper()
	a.expectNoStore(t)
	a.expectHeaders(t, map[string]string{"WWW-Authenticate": d.challenge, "Retry-After": ""})
	body := fmt.Sprintf(`{"Message":%q}`, d.message)
	if d.code != "" {
		body = fmt.Sprintf(`{"error":%q,"error_description":%q,"Message":%q}`, d.code, d.description, d.message)
	}
	if a.StatusCode != d.status || a.body != body {
		t.Errorf("got %d %s, want %d %s", a.StatusCode, a.body, d.status, body)
	}
}

// denies sends a request to a protected route that must be refused. It checks
// the answer, the number of look-ups in the storage, that no state changed and
// no handler was called, and that the log contains no part of the request.
func (h *abuseHost) denies(t *testing.T, want denial, lookups int, method, path, body string, headers ...string) {
	t.Helper()
	before := h.moment()
	a := h.do(t, method, path, body, headers...)
	if got := h.storage.called("Find") - before.calls["Find"]; got != lookups {
		t.Errorf("the storage was asked for a token %d times, want %d", got, lookups)
	}
	want.check(t, a)
	before.expect(t, unchanged, 0)
	before.expectLog(t, append([]string{path, body}, headers...)...)
}

// admits sends a request that must reach the handler.
func (h *abuseHost) admits(t *testing.T, method, path string, headers ...string) {
	t.Helper()
	handled := h.handled.Load()
	if a := h.do(t, method, path, "", headers...); a.StatusCode != http.StatusOK || h.handled.Load() != handled+1 {
		t.Errorf("%s %s: got %d %s, want 200 from the handler", method, path, a.StatusCode, a.body)
	}
}
