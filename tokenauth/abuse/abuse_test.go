// Package abuse_test attacks the core through net/http and Gin: the catalogue of
// TestAbuse, and the contract of the token endpoint and the guards.
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

// long reports whether tests run their long variants (TOKENAUTH_LONG=1).
var long = throwaway.Long()

// A situation is what an attacker, a broken client, an ill storage or a bad
// day does to the service, and what must come of it.
type situation struct {
	id   string // a letter for the chapter, and a number
	what string

	// unreachable says why it cannot come about; nothing is run then.
	unreachable string

	// run is called for net/http and for a default Gin engine, each with a
	// host of its own, set up by with if there is one.
	run  func(t *testing.T, h *abuseHost)
	with func(s *setup)

	// alone is called once, for what needs real servers, or no server at all.
	// A situation may have both.
	alone func(t *testing.T)
}

func situations() []situation {
	return slices.Concat(parsing, authorization, semantics, faults, overload, leakage)
}

// TestAbuse is a catalogue. Run with -v, it lists each situation with what came
// of it.
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

// TestAbuseIsComplete has each situation of the catalogue exactly once.
func TestAbuseIsComplete(t *testing.T) {
	t.Parallel()
	var want []string
	for _, chapter := range []struct {
		letter string
		last   int
	}{{"P", 48}, {"A", 27}, {"U", 39}, {"D", 30}, {"T", 20}, {"L", 20}} {
		for i := range chapter.last {
			if id := fmt.Sprintf("%s%02d", chapter.letter, i+1); id != "L17" {
				want = append(want, id)
			}
		}
	}
	if len(want) != 183 {
		t.Fatalf("there are %d ids", len(want))
	}
	seen := make(map[string]int)
	for _, s := range situations() {
		seen[s.id]++
		if seen[s.id] > 1 {
			t.Errorf("%s is there twice", s.id)
		}
		if !slices.Contains(want, s.id) {
			t.Errorf("%s is no id of the catalogue", s.id)
		}
		if does := s.run != nil || s.alone != nil; does == (s.unreachable != "") {
			t.Errorf("%s must either do something or say why not", s.id)
		}
	}
	var missing []string
	for _, id := range want {
		if seen[id] == 0 {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
}

// A setup is what a situation may want otherwise of its host.
type setup struct {
	tokenauth.Options

	// local has the attempts counted in the memory of the service, and not in
	// the storage, where a test can read them.
	local bool
	// serve starts the server; nil means httptest's plain one.
	serve func(*httptest.Server)
	// handler answers on the protected routes instead of abuseHost.who.
	handler http.HandlerFunc
	// normalize is what users' names are compared by; nil means exactly.
	normalize func(string) string
}

// An abuseHost is a service of the real pieces with the Token API mounted: an
// administrator "admin", a reader "reader", and "disabled", who has been shut
// out, with password hashes; tokens in memory; and a throttle. The token of the
// administrator is one for the client "app" if there is a registry of clients.
type abuseHost struct {
	engine  string // "net-http" or "gin"
	auth    *tokenauth.Service
	storage *abuseStore
	users   *abuseUsers
	handler http.Handler // everything, for requests without a network
	server  *httptest.Server
	url     string
	client  *http.Client // follows no redirect

	token string // of the administrator

	handled   atomic.Int64 // requests that reached a handler behind a guard
	underWay  atomic.Int64 // requests that have no answer yet
	closed    sync.Map     // of the client's address of each connection that the server is done with
	log       *journal     // of the service and the users, at debug level
	serverLog *journal     // of net/http

	mu  sync.Mutex
	now time.Time
}

const (
	abuseRealm    = "abuse"
	adminPassword = "correct horse +battery%staple" // neither has a name in it
	otherPassword = "Tr0ub4dor & three"

	// grantOf begins the body of a token request, goodGrant is a good one.
	grantOf   = "grant_type=password&username="
	goodGrant = grantOf + "admin&password=correct+horse+%2Bbattery%25staple"
)

// hashed are the passwords that hashOf was given.
var hashed sync.Map

// hashOf returns a hash that costs next to nothing to verify. What is under
// test is not the hash. A wrong password still costs a hash of the default cost.
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

// An engine is what the Token API is mounted on.
type engine struct {
	name  string
	mount func(*abuseHost, http.HandlerFunc) http.Handler
}

var engines = []engine{{"net-http", abuseHTTP}, {"gin", abuseGin()}}

// endpoints are those that can be mounted on the host.
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
	return mux
}

// abuseGin mounts on a Gin engine that has the middlewares.
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
		h.underWay.Add(1)
		defer h.underWay.Add(-1)
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
	grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: "1", UserName: "admin", Roles: []string{"Administrator"}}, client)
	if err != nil {
		t.Fatal(err)
	}
	h.token = grant.AccessToken.Reveal()
	t.Cleanup(func() {
		for name, log := range map[string]*journal{"the service": h.log, "net/http": h.serverLog} {
			for _, secret := range []string{adminPassword, otherPassword, "correct+horse", h.token, appSecret.Reveal()} {
				if strings.Contains(log.String(), secret) {
					t.Errorf("the log of %s has %q: %s", name, secret, log)
				}
			}
		}
		if strings.Contains(h.serverLog.String(), "panic") {
			t.Errorf("the server caught a panic: %s", h.serverLog)
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

// wait lets time pass for the service.
func (h *abuseHost) wait(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// A journal is a log that can be read while it is written.
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

// abuseUsers are password.Users of a few accounts, who count what they do.
type abuseUsers struct {
	*password.Authenticator
	log *journal

	// unhashed rejects the passwords that no account has without hashing them.
	// Chapter U is about passwords; in the others their cost only takes time.
	unhashed bool

	hashes    atomic.Int64 // calls of Authenticate that came to the password; each is one hash, unless unhashed
	throttled atomic.Int64 // those that did not, because the account was over a limit
	lookups   atomic.Int64
	normalize func(string) string // nil: every spelling is a name of its own

	mu       sync.Mutex
	asked    []string // the names that were looked up
	accounts map[string]password.Account
	fault    func(ctx context.Context) error // before each look-up; nil for none
}

// abuseKey is that of the *abuseUsers whose request it is.
type abuseKey struct{}

// passwords are the password.Users of all hosts, for each new one costs a hash.
var passwords = sync.OnceValue(func() *password.Authenticator {
	lookup := func(ctx context.Context, userName string) (password.Account, error) {
		return ctx.Value(abuseKey{}).(*abuseUsers).lookup(ctx, userName)
	}
	u, err := password.New(lookup, &password.Options{Timeout: 10 * time.Second, Logger: slog.New(abuseLog{})})
	if err != nil {
		panic(err)
	}
	return u
})

// abuseLog is a slog.Handler that writes to the log of whose request it is.
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

// lastAsked is the name that was looked up last.
func (u *abuseUsers) lastAsked() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.asked) == 0 {
		return ""
	}
	return u.asked[len(u.asked)-1]
}

// set changes accounts, or has look-ups meet a fault.
func (u *abuseUsers) set(change func(accounts map[string]password.Account, fault *func(context.Context) error)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	change(u.accounts, &u.fault)
}

// put adds an account, or changes the one of that name.
func (u *abuseUsers) put(account password.Account) {
	u.set(func(accounts map[string]password.Account, _ *func(context.Context) error) {
		accounts[account.UserName] = account
	})
}

// meet has every look-up that follows meet a fault first; nil ends that.
func (u *abuseUsers) meet(fault func(context.Context) error) {
	u.set(func(_ map[string]password.Account, f *func(context.Context) error) { *f = fault })
}

// abuseClients is a registry: "app" proves itself by appSecret, and may
// introspect its own tokens, "resource" by the same, and may all; "web" is public,
// "desk" is public and for readers only, and "gone" has been shut out. Whoever
// asks for "ill" finds the registry down.
type abuseClients struct{}

var (
	appSecret = tokenauth.NewSecret(rand.Text())
	appDigest = tokenauth.Digest(sha256.Sum256([]byte(appSecret.Reveal())))
)

// FindClient implements tokenauth.Clients.
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

// withClients is a setup.
func withClients(s *setup) { s.Clients = abuseClients{} }

// An abuseStore is a storage in memory that counts what it is asked, lets its
// counters be read, and does what it is told to instead.
type abuseStore struct {
	memory.Store

	mu       sync.Mutex
	calls    map[string]int
	fault    func(ctx context.Context, call string) error
	counters map[throttle.Key]throttle.Counter
}

var errStorage = errors.New("host=10.0.0.7 user=app: connection refused (SQLSTATE 08006)")

// meet has every call that follows meet a fault before it does anything; nil
// ends that. The fault returns an error, panics, or waits for the context.
func (s *abuseStore) meet(fault func(ctx context.Context, call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = fault
}

// fails and hangs are faults.
func fails(context.Context, string) error { return errStorage }

// failsIn is a fault of some calls.
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

// called tells how often a method was called so far.
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

// A moment is what the state was.
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

// failures is how many the counters have, each attempt in three of them: the
// account from the source, the account, the source.
func (m moment) failures() (n int64) {
	for _, c := range m.counters {
		n += c.Failures
	}
	return n
}

// An effect is what a request did to the state.
type effect int

const (
	unchanged  effect = iota // nothing
	oneFailure               // it counted as one failed attempt
	newToken                 // the slot's token was replaced
)

// expect compares what is with what was: that the administrator's token is
// still good, or not any more, that no attempt was counted, or one, how often
// a password was hashed, and that no handler was called.
func (m moment) expect(t *testing.T, e effect, hashes int) {
	t.Helper()
	now := m.h.moment()
	if got := now.hashes - m.hashes; got != int64(hashes) {
		t.Errorf("%d hashes, want %d", got, hashes)
	}
	if hashes == 0 && now.lookups-m.lookups != now.throttled-m.throttled {
		t.Error("a user was looked up")
	}
	if now.handled != m.handled {
		t.Error("the handler was called")
	}
	replaced := now.calls["Replace"] - m.calls["Replace"]
	switch e {
	case unchanged:
		if !maps.Equal(now.counters, m.counters) {
			t.Errorf("the counters are %v, were %v", now.counters, m.counters)
		}
	case oneFailure:
		more := 0
		for key, c := range now.counters {
			if before := m.counters[key]; c != before {
				if c.Failures != before.Failures+1 || c.Pending != before.Pending {
					t.Errorf("a counter is %+v, was %+v", c, before)
				}
				more++
			}
		}
		if more != 5 {
			t.Errorf("%d counters have changed, want 5", more)
		}
	case newToken:
		// The failures of the account are forgotten, the source's are not.
		succeeded := 0
		for key, c := range now.counters {
			if c == m.counters[key] {
				continue
			}
			if c.Failures != 0 || c.Pending != 0 || c.SucceededAt == 0 {
				t.Errorf("a counter is %+v, was %+v", c, m.counters[key])
			}
			succeeded++
		}
		if len(now.counters) > 0 && succeeded > 1 {
			t.Errorf("%d counters know of a success, want 1", succeeded)
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
		t.Errorf("the token before is kept: %v; %d %s", kept, a.StatusCode, a.body)
	}
}

// do sends a request and reads the answer.
func (h *abuseHost) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	return do(t, h.client, method, h.url+path, aNewGuess(body), headers...)
}

// aNewGuess makes the wrong password at the end of a body one that nobody has tried:
// a repetition would not count.
func aNewGuess(body string) string {
	for _, wrong := range []string{"&password=x", "&password=something+else"} {
		if strings.HasSuffix(body, wrong) {
			return fmt.Sprint(body, guesses.Add(1))
		}
	}
	return body
}

var guesses atomic.Int64

// answers sends bytes as raw does, and reads the answers in what comes back.
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

// one is the only one of some answers.
func one(t *testing.T, answers []answer) answer {
	t.Helper()
	if len(answers) != 1 {
		t.Fatalf("there are %d answers, want 1", len(answers))
	}
	return answers[0]
}

// dial connects to the server.
func (h *abuseHost) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	return conn
}

// A reply is what must come of a token request.
type reply struct {
	status            int
	code, description string // none for a token
	header            map[string]string
	effect            effect
	hashes            int
	closes            bool // the connection, for the body may not have been read
}

// refusal is the reply to what is refused before any password is looked at.
func refusal(status int, code, description string) reply {
	return reply{status: status, code: code, description: description}
}

// badRequest is 400 invalid_request.
func badRequest(description string) reply { return refusal(400, "invalid_request", description) }

// early is the invalid_request of what is refused before the body is read.
func early(status int, description string) reply {
	r := refusal(status, "invalid_request", description)
	r.closes = true
	return r
}

var (
	// issued is a new token.
	issued = reply{status: 200, effect: newToken, hashes: 1}
	// rejected are the credentials of nobody.
	rejected = reply{status: 400, code: "invalid_grant", description: "The user name or password is incorrect.", effect: oneFailure, hashes: 1}
	// unavailable is trouble that says nothing about the credentials.
	unavailable = reply{status: 503, code: "temporarily_unavailable",
		description: "The server is temporarily unable to handle the request. Try again later.", header: map[string]string{"Retry-After": "2"}}
)

// with adds a header to the reply.
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

// check compares an answer of the token endpoint with what must come.
func (r reply) check(t *testing.T, a answer) {
	t.Helper()
	a.expectNoStore(t)
	want := map[string]string{"Allow": "", "Retry-After": "", "WWW-Authenticate": "", "Accept-Encoding": ""}
	maps.Copy(want, r.header)
	a.expectHeaders(t, want)
	if a.StatusCode != r.status {
		t.Errorf("status is %d, want %d; body %s", a.StatusCode, r.status, a.body)
	}
	if a.ProtoMajor == 1 && a.Close != r.closes {
		t.Errorf("the connection is closed: %v, want %v", a.Close, r.closes)
	}
	if r.code == "" {
		if !issuedBody.MatchString(a.body) {
			t.Errorf("body is %s", a.body)
		}
	} else if body := fmt.Sprintf(`{"error":%q,"error_description":%q}`, r.code, r.description); a.body != body {
		t.Errorf("body is %s, want %s", a.body, body)
	}
}

// tries sends a request to the token endpoint and checks what comes of it:
// answer, state, and a log without anything of the request.
func (h *abuseHost) tries(t *testing.T, want reply, method, path, body string, headers ...string) answer {
	t.Helper()
	before := h.moment()
	a := h.do(t, method, path, body, headers...)
	want.check(t, a)
	before.expect(t, want.effect, want.hashes)
	if want.code == "" && a.StatusCode == http.StatusOK {
		h.token = accessTokenIn(t, a)
		if me := h.do(t, "GET", "/me", "", "Authorization", "Bearer "+h.token); me.StatusCode != http.StatusOK {
			t.Errorf("the new token answered %d %s", me.StatusCode, me.body)
		}
	}
	before.expectLog(t, append([]string{path, body}, headers...)...)
	return a
}

// expectLog looks for parts of the input in what was logged since.
func (m moment) expectLog(t *testing.T, inputs ...string) {
	t.Helper()
	logged := m.h.log.String()[m.logged:]
	if logged == "" {
		return
	}
	for _, input := range inputs {
		for _, part := range strings.FieldsFunc(input, func(r rune) bool { return strings.ContainsRune("&=?/ ", r) }) {
			if len(part) >= 8 && part != "password" && part != "username" && part != "grant_type" && part != "client_id" && strings.Contains(logged, part) {
				t.Errorf("the log has %q: %s", part, logged)
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
		t.Fatalf("no token in %d %s", a.StatusCode, a.body)
	}
	return token.AccessToken
}

// signIn signs somebody in who can.
func (h *abuseHost) signIn(t *testing.T, body string, headers ...string) string {
	t.Helper()
	return accessTokenIn(t, h.do(t, "POST", "/Token", body, headers...))
}

// A denial is what must come of a request to a protected route.
type denial struct {
	status            int
	code, description string // none for a request without credentials
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

// check compares an answer on a protected route with what must come.
func (d denial) check(t *testing.T, a answer) {
	t.Helper()
	a.expectNoStore(t)
	a.expectHeaders(t, map[string]string{"WWW-Authenticate": d.challenge, "Retry-After": ""})
	body := fmt.Sprintf(`{"Message":%q}`, d.message)
	if d.code != "" {
		body = fmt.Sprintf(`{"error":%q,"error_description":%q,"Message":%q}`, d.code, d.description, d.message)
	}
	if a.StatusCode != d.status || a.body != body {
		t.Errorf("answered %d %s, want %d %s", a.StatusCode, a.body, d.status, body)
	}
}

// denies sends a request to a protected route and checks what comes of it: the
// answer, that the handler was not called, that nothing changed, that the
// storage was asked so often, and a log without anything of the request.
func (h *abuseHost) denies(t *testing.T, want denial, lookups int, method, path, body string, headers ...string) {
	t.Helper()
	before := h.moment()
	a := h.do(t, method, path, body, headers...)
	if got := h.storage.called("Find") - before.calls["Find"]; got != lookups {
		t.Errorf("the storage was asked %d times, want %d", got, lookups)
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
		t.Errorf("%s %s answered %d %s", method, path, a.StatusCode, a.body)
	}
}
