package tokenauth_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

// A backend implements all that a Service calls: the storage, the counters, the
// users, the registry of clients, the live check and the fallback. A test can
// act during each call. It is not safe for concurrent use.
type backend struct {
	memory.Store
	counters map[throttle.Key]throttle.Counter
	account  password.Account
	looked   func(*backend) // called after each look-up, may change the account
	client   tokenauth.Client

	calls  []string
	during func(ctx context.Context, call int) error // called during each call; may be nil
}

func (b *backend) call(ctx context.Context, name string) error {
	b.calls = append(b.calls, name)
	if b.during == nil {
		return nil
	}
	return b.during(ctx, len(b.calls)-1)
}

func (b *backend) Replace(ctx context.Context, t tokenauth.Token) error {
	if err := b.call(ctx, "Replace"); err != nil {
		return err
	}
	return b.Store.Replace(ctx, t)
}

func (b *backend) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	if err := b.call(ctx, "Find"); err != nil {
		return tokenauth.Token{}, err
	}
	return b.Store.Find(ctx, slot)
}

func (b *backend) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	if err := b.call(ctx, "Revoke"); err != nil {
		return err
	}
	return b.Store.Revoke(ctx, slot, d)
}

func (b *backend) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	if err := b.call(ctx, "RevokeUser"); err != nil {
		return err
	}
	return b.Store.RevokeUser(ctx, u)
}

func (b *backend) RevokeClient(ctx context.Context, c string) error {
	if err := b.call(ctx, "RevokeClient"); err != nil {
		return err
	}
	return b.Store.RevokeClient(ctx, c)
}

func (b *backend) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	if err := b.call(ctx, "List"); err != nil {
		return nil, err
	}
	return b.Store.List(ctx, u)
}

func (b *backend) UpdateCounters(ctx context.Context, keys []throttle.Key, change func([]throttle.Counter)) error {
	if err := b.call(ctx, "UpdateCounters"); err != nil {
		return err
	}
	counters := make([]throttle.Counter, len(keys))
	for i, key := range keys {
		counters[i] = b.counters[key]
	}
	change(counters)
	for i, key := range keys {
		b.counters[key] = counters[i]
	}
	return nil
}

func (b *backend) pending() (n int64) {
	for _, c := range b.counters {
		n += c.Pending
	}
	return n
}

func (b *backend) lookup(ctx context.Context, userName string) (password.Account, error) {
	if err := b.call(ctx, "look-up"); err != nil {
		return password.Account{}, err
	}
	account := b.account
	if b.looked != nil {
		b.looked(b)
	}
	if userName != account.UserName {
		return account, tokenauth.ErrNotFound
	}
	return account, nil
}

func (b *backend) upgrade(ctx context.Context, _, _, _ string) error { return b.call(ctx, "upgrade") }

// noContext marks a call that gets no context.
var noContext context.Context

// format accepts stored hashes of the form "clear:" plus the password.
func (b *backend) format(stored string) func(string) bool {
	clear, ok := strings.CutPrefix(stored, "clear:")
	if !ok {
		return nil
	}
	return func(password string) bool {
		b.call(noContext, "hash")
		return password == clear
	}
}

func (b *backend) FindClient(ctx context.Context, clientID string) (tokenauth.Client, error) {
	if err := b.call(ctx, "FindClient"); err != nil {
		return tokenauth.Client{}, err
	}
	if clientID != b.client.ID {
		return tokenauth.Client{}, tokenauth.ErrNotFound
	}
	return b.client, nil
}

func (b *backend) liveCheck(ctx context.Context, _ tokenauth.Token) error {
	return b.call(ctx, "live check")
}

func (b *backend) fallback(r *http.Request) (tokenauth.Principal, error) {
	return bob(), b.call(r.Context(), "fallback")
}

// plainUsers does not call CountAttempt and has no Recheck.
type plainUsers struct{ *backend }

func (p plainUsers) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := p.call(ctx, "Authenticate"); err != nil {
		return tokenauth.Principal{}, err
	}
	if c.Password.Reveal() != "right" {
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return alice(), nil
}

// A backedService is a Service with its backend.
type backedService struct {
	*backend
	auth        *tokenauth.Service
	accessToken string // of alice at the client app
	routes      http.Handler
}

const appPassword = "the secret of the client app"

// newBackedService returns a Service whose users come from package password, or
// from plainUsers if plain is set.
func newBackedService(t *testing.T, plain bool) *backedService {
	h := &backedService{backend: new(backend)}
	var users tokenauth.Authenticator = plainUsers{h.backend}
	if !plain {
		var err error
		users, err = password.New(h.lookup, &password.Options{
			Formats: []func(string) func(string) bool{h.format}, Upgrade: h.upgrade, Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.auth = newService(t, h.backend, users, &tokenauth.Options{
		Clients: h.backend, LiveCheck: h.liveCheck, Fallback: h.fallback,
		Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret("a key of thirty-two bytes, or so")},
	})
	mux := http.NewServeMux()
	h.auth.Mount(mux, tokenauth.Endpoints{Revocation: "/revoke", Introspection: "/introspect"})
	mux.Handle("/me", h.auth.RequireBearer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	h.routes = mux
	h.reset(t)
	h.signIn(t.Context(), "alice", "right") // so that the Service learns whether the users call CountAttempt
	return h
}

// reset restores the initial state of the backend, with a valid token.
func (h *backedService) reset(t *testing.T) {
	time.Sleep(time.Second) // a repeated password is throttled for a second
	h.during, h.looked, h.counters = nil, nil, make(map[throttle.Key]throttle.Counter)
	h.account = password.Account{UserID: "17", UserName: "alice", PasswordHash: "clear:right", Stamp: "stamp"}
	h.client = tokenauth.Client{
		ID: "app", Secrets: []tokenauth.Digest{sha256.Sum256([]byte(appPassword))}, IntrospectsAll: true,
	}
	h.accessToken = issue(t, h.auth, alice(), "app")
	h.calls = nil
}

func (h *backedService) post(ctx context.Context, path string, form url.Values) {
	form.Set("client_id", "app")
	form.Set("client_secret", appPassword)
	r := httptest.NewRequestWithContext(ctx, "POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	h.routes.ServeHTTP(httptest.NewRecorder(), r)
}

func (h *backedService) get(ctx context.Context, accessToken string) {
	r := httptest.NewRequestWithContext(ctx, "GET", "/me", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	h.routes.ServeHTTP(httptest.NewRecorder(), r)
}

func (h *backedService) signIn(ctx context.Context, userName, password string) {
	h.auth.SignIn(ctx, h.credentials(userName, password))
}

func (h *backedService) credentials(userName, password string) tokenauth.Credentials {
	return tokenauth.Credentials{
		UserName: userName, Password: tokenauth.NewSecret(password), RemoteAddr: netip.MustParseAddr(here),
		ClientID: "app", ClientSecret: tokenauth.NewSecret(appPassword),
	}
}

// operations are the operations during which a client may disconnect. The field
// calls lists the calls that each makes if the client stays.
var operations = []struct {
	name  string
	plain bool // with plainUsers
	// looked changes the account or the client after each look-up
	looked func(*backend)
	do     func(context.Context, *backedService)
	calls  string
}{
	{
		name: "sign-in", do: func(ctx context.Context, h *backedService) { h.signIn(ctx, "alice", "right") },
		calls: "FindClient, look-up, UpdateCounters, hash, upgrade, Replace, look-up, FindClient, UpdateCounters",
	},
	{
		name: "wrong password", do: func(ctx context.Context, h *backedService) { h.signIn(ctx, "alice", "wrong") },
		calls: "FindClient, look-up, UpdateCounters, hash, UpdateCounters",
	},
	{
		name: "unknown user name", do: func(ctx context.Context, h *backedService) { h.signIn(ctx, "mallory", "right") },
		calls: "FindClient, look-up, UpdateCounters, hash, UpdateCounters",
	},
	{
		name:   "user disabled during the sign-in",
		looked: func(b *backend) { b.account.Disabled = true },
		do:     func(ctx context.Context, h *backedService) { h.signIn(ctx, "alice", "right") },
		calls:  "FindClient, look-up, UpdateCounters, hash, upgrade, Replace, look-up, Revoke, UpdateCounters",
	},
	{
		name:   "client disabled during the sign-in",
		looked: func(b *backend) { b.client.Disabled = true },
		do:     func(ctx context.Context, h *backedService) { h.signIn(ctx, "alice", "right") },
		calls:  "FindClient, look-up, UpdateCounters, hash, upgrade, Replace, look-up, FindClient, Revoke, UpdateCounters",
	},
	{
		name: "sign-in without CountAttempt", plain: true,
		do:    func(ctx context.Context, h *backedService) { h.signIn(ctx, "alice", "right") },
		calls: "FindClient, UpdateCounters, Authenticate, Replace, FindClient, UpdateCounters",
	},
	{
		name: "wrong password without CountAttempt", plain: true,
		do:    func(ctx context.Context, h *backedService) { h.signIn(ctx, "alice", "wrong") },
		calls: "FindClient, UpdateCounters, Authenticate, UpdateCounters",
	},
	{
		name: "VerifyPassword",
		do: func(ctx context.Context, h *backedService) {
			h.auth.VerifyPassword(ctx, h.credentials("alice", "right"))
		},
		calls: "look-up, UpdateCounters, hash, upgrade, UpdateCounters",
	},
	{
		name: "token endpoint",
		do: func(ctx context.Context, h *backedService) {
			h.post(ctx, "/Token", url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"right"}})
		},
		calls: "FindClient, look-up, UpdateCounters, hash, upgrade, Replace, look-up, FindClient, UpdateCounters",
	},
	{
		name: "revocation endpoint",
		do: func(ctx context.Context, h *backedService) {
			h.post(ctx, "/revoke", url.Values{"token": {h.accessToken}})
		},
		calls: "FindClient, Find, Revoke",
	},
	{
		name: "introspection endpoint",
		do: func(ctx context.Context, h *backedService) {
			h.post(ctx, "/introspect", url.Values{"token": {h.accessToken}})
		},
		calls: "FindClient, Find, live check",
	},
	{
		name: "guard", do: func(ctx context.Context, h *backedService) { h.get(ctx, h.accessToken) },
		calls: "Find, live check",
	},
	{
		name: "guard with a fallback", do: func(ctx context.Context, h *backedService) { h.get(ctx, "of-another-service") },
		calls: "fallback, live check",
	},
	{
		name: "Validate", do: func(ctx context.Context, h *backedService) { h.auth.Validate(ctx, h.accessToken) },
		calls: "Find, live check",
	},
	{
		name: "Issue", do: func(ctx context.Context, h *backedService) {
			h.auth.Issue(ctx, alice(), &tokenauth.IssueOptions{ClientID: "app"})
		},
		calls: "Replace",
	},
	{
		name: "Revoke", do: func(ctx context.Context, h *backedService) { h.auth.Revoke(ctx, h.accessToken) },
		calls: "Find, Revoke",
	},
	{
		name: "RevokeUser", do: func(ctx context.Context, h *backedService) { h.auth.RevokeUser(ctx, "17") },
		calls: "RevokeUser",
	},
	{
		name: "RevokeClient", do: func(ctx context.Context, h *backedService) { h.auth.RevokeClient(ctx, "app") },
		calls: "RevokeClient",
	},
	{
		name: "Tokens", do: func(ctx context.Context, h *backedService) { h.auth.Tokens(ctx, "17") },
		calls: "List",
	},
	{
		name: "Health", do: func(ctx context.Context, h *backedService) { h.auth.Health(ctx) },
		calls: "Find",
	},
	{
		name: "Unthrottle", do: func(ctx context.Context, h *backedService) { h.auth.Unthrottle(ctx, "17", "alice") },
		calls: "UpdateCounters, UpdateCounters, UpdateCounters, UpdateCounters, UpdateCounters",
	},
}

// steps are the calls that an operation makes to its backend.
type steps []string

func (s steps) String() string { return strings.Join(s, ", ") }

// settles reports whether a call cleans up for an earlier one. It revokes a
// token that the client never got, or ends a pending attempt.
func (s steps) settles(call int) bool {
	if !slices.Contains(s, "look-up") && !slices.Contains(s, "Authenticate") {
		return false // only a sign-in has such calls
	}
	return s[call] == "Revoke" || s[call] == "UpdateCounters" && slices.Index(s, "UpdateCounters") != call
}

// after returns all calls of the operation if the client disconnects during the
// given call.
func (s steps) after(call int) steps {
	if stored := slices.Index(s, "Replace"); call >= stored && stored >= 0 {
		return s
	}
	if s[len(s)-1] == "Revoke" {
		return s // a revocation is completed although the client has left
	}
	left := slices.Clone(s[:call+1])
	if i := slices.Index(s, "UpdateCounters"); i >= 0 && i <= call && !s.settles(call) && s.settles(len(s)-1) {
		left = append(left, "UpdateCounters")
	}
	return left
}

// forEachOperation runs test in a synctest bubble for each operation. The function
// again resets the backend and returns the operation.
func forEachOperation(t *testing.T, test func(t *testing.T, again func() (*backedService, func(context.Context)), all steps)) {
	t.Parallel()
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newBackedService(t, o.plain)
				test(t, func() (*backedService, func(context.Context)) {
					h.reset(t)
					h.looked = o.looked
					return h, func(ctx context.Context) { o.do(ctx, h) }
				}, strings.Split(o.calls, ", "))
			})
		})
	}
}

type requestKey struct{}

func TestClientThatLeavesInterruptsNoCall(t *testing.T) {
	forEachOperation(t, func(t *testing.T, again func() (*backedService, func(context.Context)), all steps) {
		for at := -1; at < len(all); at++ { // -1: the client stays
			h, do := again()
			ctx, leave := context.WithCancel(context.WithValue(t.Context(), requestKey{}, "value"))
			h.during = func(call context.Context, i int) error {
				if i != at && call != noContext && call.Err() != nil {
					t.Errorf("%s, client left during %s: the next call starts with a context that has ended: %v", steps(h.calls), all[at], call.Err())
				}
				if i == at {
					leave()
					synctest.Wait()
				}
				if call == noContext {
					return nil // hashing has no context
				}
				if call.Err() != nil {
					t.Errorf("%s: the last call was interrupted: %v", steps(h.calls), call.Err())
				}
				if _, bounded := call.Deadline(); !bounded && h.calls[i] != "RevokeClient" && h.calls[i] != "Authenticate" {
					t.Errorf("%s: the last call has no deadline", steps(h.calls))
				}
				if call.Value(requestKey{}) != "value" {
					t.Errorf("%s: the context of the last call lacks the values of the request", steps(h.calls))
				}
				return nil
			}
			do(ctx)
			leave()
			want := all
			if at >= 0 {
				want = all.after(at)
			}
			if !slices.Equal(h.calls, want) {
				t.Errorf("client left during call %d: the calls are\n%s, want\n%s", at, steps(h.calls), want)
			}
			if n := h.pending(); n != 0 {
				t.Errorf("client left during call %d: %d attempts are pending, want 0", at, n)
			}
		}
	})
}

// The caller's deadline interrupts each call. Only calls that clean up for an
// earlier one continue, until Options.Timeout.
func TestDeadlineInterruptsEachCall(t *testing.T) {
	forEachOperation(t, func(t *testing.T, again func() (*backedService, func(context.Context)), all steps) {
		for at, name := range all {
			if name == "hash" {
				continue // hashing makes no call
			}
			h, do := again()
			const within = 300 * time.Millisecond
			began := time.Now()
			ctx, cancel := context.WithDeadline(t.Context(), began.Add(within))
			h.during = func(call context.Context, i int) error {
				if i == at {
					return hang(call)
				}
				return nil
			}
			do(ctx)
			cancel()
			want := within
			if all.settles(at) {
				want = 2 * time.Second // Options.Timeout
			}
			if took := time.Since(began); took > want || took < want-want/40 {
				t.Errorf("the last call of %s hangs: the operation took %v, want %v", steps(h.calls), took, want)
			}
			if n := h.pending(); n != 0 && !(name == "UpdateCounters" && all.settles(at)) {
				t.Errorf("the last call of %s hangs: %d attempts are pending, want 0", steps(h.calls), n)
			}
			synctest.Wait()
		}
	})
}

// A client that disconnects may still read the response, so a wrong password
// counts once it is found wrong. An attempt abandoned before that does not
// count.
func TestAbandonedGuessCountsOnceDecided(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newBackedService(t, false)
		guesses := 0
		abandon := func(during string) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			h.calls = nil
			h.during = func(_ context.Context, i int) error {
				if h.calls[i] == during {
					leave()
					synctest.Wait()
				}
				return nil
			}
			guesses++
			h.signIn(ctx, "alice", fmt.Sprint("wrong", guesses))
		}
		signIn := func() string {
			h.during = nil
			_, err := h.auth.SignIn(t.Context(), h.credentials("alice", "right"))
			return reason(err)
		}
		for _, during := range []string{"FindClient", "look-up", "UpdateCounters"} {
			for range 200 { // more than each limit
				abandon(during)
			}
			if got := signIn(); got != "valid" {
				t.Errorf("after 200 attempts abandoned during %s: the right password is %q, want %q", during, got, "valid")
			}
		}
		for range 5 {
			abandon("hash")
		}
		if got := signIn(); got != "throttled" {
			t.Errorf("after five wrong passwords: %q, want throttled", got)
		}
	})
}
