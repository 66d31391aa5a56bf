package abuse_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/gormstore/pgxfeed"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
)

// Who may sign in, and how long a token is good.
var semantics = []situation{
	{
		id: "U01", what: "an unknown user is rejected after one hash of the default cost",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, rejected, "POST", "/Token", grantFor("nobody", adminPassword))
		},
		alone: func(t *testing.T) { expectHashes(t, "unknown", "right") },
	},
	{
		id: "U02", what: "a wrong password is rejected as an unknown user is, byte for byte",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			wrong := h.tries(t, rejected, "POST", "/Token", grantFor("admin", "x"))
			expectSame(t, unknown, wrong)
		},
		alone: func(t *testing.T) { expectHashes(t, "wrong") },
	},
	{
		id: "U03", what: "a disabled user is rejected as an unknown one is, with the right password",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			disabled := h.tries(t, rejected, "POST", "/Token", grantFor("disabled", otherPassword))
			expectSame(t, unknown, disabled)
		},
		alone: func(t *testing.T) { expectHashes(t, "disabled", "disabled, wrong") },
	},
	{
		id: "U04", what: "a user without a usable hash is rejected as an unknown one is, and the operator is told",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			for _, hash := range []string{"", otherPassword, "$argon2id$", "$2a$05$CCCC", otherHash() + "$", "\x00", "$1$salt$2Bq"} {
				expectUnusable(t, h, unknown, hash)
			}
		},
		alone: func(t *testing.T) { expectHashes(t, "no hash", "in the clear") },
	},
	{
		id: "U05", what: "a stored hash that asks for too much work, or for none, is refused before the work",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			for _, hash := range hostileHashes {
				began := time.Now()
				expectUnusable(t, h, unknown, hash)
				// Each of them would take minutes at least.
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("%s took %v", hash, took)
				}
			}
		},
		alone: func(t *testing.T) {
			for _, hash := range hostileHashes {
				expectHashes(t, "hostile "+hash)
			}
		},
	},
	{
		id: "U06", what: "bcrypt's cut at 72 bytes lets no longer password in",
		run: func(t *testing.T, h *abuseHost) {
			const right = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
			h.users.set(func(accounts map[string]password.Account, _ *func(context.Context) error) {
				accounts["bcrypt"] = password.Account{UserID: "72", UserName: "bcrypt", PasswordHash: "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui"}
			})
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			for _, wrong := range []string{right + "0", right + right, right[:71]} {
				expectSame(t, unknown, h.tries(t, rejected, "POST", "/Token", grantFor("bcrypt", wrong)))
			}
			h.welcomes(t, h.signIn(t, grantFor("bcrypt", right)), "72 bytes")
		},
	},
	{
		id: "U07", what: "an empty password is refused before any hash, whatever the format",
		run: func(t *testing.T, h *abuseHost) {
			for i, hash := range []string{
				otherHash(), "",
				"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
				aspnetV2, aspnetV3,
				"$pbkdf2-sha256$i=1000,l=32$c2l4dGVlbiBieXRlcy0tLQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
			} {
				name := fmt.Sprint("format", i)
				h.users.set(func(accounts map[string]password.Account, _ *func(context.Context) error) {
					accounts[name] = password.Account{UserID: name, UserName: name, PasswordHash: hash}
				})
				h.tries(t, badRequest("The parameter password is missing."), "POST", "/Token", grantFor(name, ""))
			}
		},
		alone: func(t *testing.T) { expectHashes(t, "empty") },
	},
	{
		id: "U08", what: "a hash of ASP.NET Identity signs in and is upgraded once; that this fails is not the user's trouble",
		alone: onEngines(signsInWithAnOldHash),
	},
	{
		id: "U09", what: "two sign-ins race the upgrade of a hash: both are good, and so is the hash",
		alone: onDatabases(racesTheUpgrade),
	},
	{
		id: "U10", what: "a password or role that changes between look-up and write is seen by the second look",
		alone: onEngines(func(t *testing.T, on engine) {
			changesWhileSigningIn(t, on, map[string]func(ctx context.Context, users *gormstore.Users, id string) error{
				"password": func(ctx context.Context, users *gormstore.Users, id string) error {
					return users.SetPassword(ctx, id, tokenauth.NewSecret("another"))
				},
				"roles": func(ctx context.Context, users *gormstore.Users, id string) error {
					return users.SetRoles(ctx, id, "Auditor")
				},
			})
		}),
	},
	{
		id: "U11", what: "a user who is disabled or deleted between look-up and write is seen by the second look",
		alone: onEngines(func(t *testing.T, on engine) {
			changesWhileSigningIn(t, on, map[string]func(ctx context.Context, users *gormstore.Users, id string) error{
				"disabled": func(ctx context.Context, users *gormstore.Users, id string) error {
					return users.SetDisabled(ctx, id, true)
				},
				"deleted": func(ctx context.Context, users *gormstore.Users, id string) error {
					return users.Delete(ctx, id)
				},
			})
		}),
	},
	{
		id: "U12", what: "a user who is deleted and created again under the same name is another one",
		alone: onEngines(func(t *testing.T, on engine) {
			s := newStore(t, openDB(t, sqlite.open(t)), nil)
			h := on.host(t, s, s.Users(), tokenauth.Options{})
			first := addUser(t, s, "alice", "Administrator")
			old := h.signIn(t, grantFor("alice", otherPassword))
			if err := s.Users().Delete(t.Context(), first.ID); err != nil {
				t.Fatal(err)
			}
			second := addUser(t, s, "alice", "Reader")
			h.refuses(t, invalidToken, old)
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			h.refuses(t, invalidToken, old) // not even replaced: it was another slot
			token, err := h.auth.Validate(t.Context(), accessToken)
			if err != nil {
				t.Fatal(err)
			}
			if first.ID == second.ID || token.Principal.UserID != second.ID || tokenauth.UserKeyOf(first.ID) == token.Slot.User {
				t.Errorf("the first is %s, the second %s, the token is for %s", first.ID, second.ID, token.Principal.UserID)
			}
		}),
	},
	{
		id: "U13", what: "a user who is disabled has no token any more",
		alone: func(t *testing.T) {
			endsTokens(t, "disabled = true", func(ctx context.Context, users *gormstore.Users, id string) error {
				return users.SetDisabled(ctx, id, true)
			})
		},
	},
	{
		// The live check says yes or no to the principal that the token stands
		// for, and does not make another of it. So where a host changed the
		// roles in its own table, the answer is 401, and the client signs in
		// again, rather than 403 on the routes that need the role.
		id: "U14", what: "a user whose roles change has no token any more",
		alone: func(t *testing.T) {
			endsTokens(t, "roles = 'Auditor'", func(ctx context.Context, users *gormstore.Users, id string) error {
				return users.SetRoles(ctx, id, "Auditor")
			})
		},
	},
	{
		id: "U15", what: "an empty list of roles is refused when the route is made",
		run: func(t *testing.T, h *abuseHost) {
			for name, make := range map[string]func(){
				"net/http":          func() { h.auth.RequireRole() },
				"net/http, nil":     func() { h.auth.RequireRole([]string(nil)...) },
				"net/http, empty":   func() { h.auth.RequireRole("Administrator", "") },
				"gin":               func() { ginadapter.RequireRole(h.auth) },
				"gin, empty":        func() { ginadapter.RequireRole(h.auth, "") },
				"clients":           func() { h.auth.RequireClient() },
				"gin, clients":      func() { ginadapter.RequireClient(h.auth) },
				"adapters":          func() { h.auth.Authorizer(tokenauth.Requirement{Roles: []string{}}) },
				"adapters, clients": func() { h.auth.Authorizer(tokenauth.Requirement{Clients: []string{""}}) },
			} {
				if !panics(make) {
					t.Errorf("%s: it is accepted", name)
				}
			}
		},
	},
	{
		id: "U16", what: "roles are compared exactly",
		run: func(t *testing.T, h *abuseHost) {
			for i, roles := range [][]string{{"administrator"}, {"ADMINISTRATOR"}, {"Administrator "}, {"Administratör"}, {"Administrator2", "Admin"}, {"\u0410dministrator"}, nil} {
				grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: fmt.Sprint("role", i), UserName: "x", Roles: roles}, "")
				if err != nil {
					t.Fatal(err)
				}
				h.denies(t, roleMissing, 1, "GET", "/admin", "", "Authorization", "Bearer "+grant.AccessToken.Reveal())
			}
			h.admits(t, "GET", "/admin", "Authorization", "Bearer "+h.token)
		},
	},
	{
		id: "U17", what: "a required role authenticates by itself, and each request by itself",
		run: func(t *testing.T, h *abuseHost) {
			h.denies(t, anonymous, 0, "GET", "/admin", "")
			h.denies(t, invalidToken, 0, "GET", "/admin", "", "Authorization", "Bearer x")
			h.denies(t, anonymous, 0, "GET", "/app", "")
			h.admits(t, "GET", "/admin", "Authorization", "Bearer "+h.token)

			// Nor does a request inherit the token of the one whose handler makes
			// it, as a batch endpoint does.
			reader := h.signIn(t, goodReader)
			batch := h.auth.RequireBearer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				for _, part := range []struct {
					path, bearer string
					status       int
					body         string // of a 200
				}{
					{"/me", "", 401, ""}, {"/admin", "", 401, ""}, {"/staff", "", 401, ""}, {"/app", "", 401, ""}, {"/open", "", 200, "anonymous"},
					{"/me", reader, 200, "reader"}, {"/admin", reader, 403, ""}, {"/open", reader, 200, "reader"},
					{"/admin", "x", 401, ""}, {"/open", "x", 200, "anonymous"},
					{"/admin", h.token, 200, "admin"}, {"/open", h.token, 200, "admin"},
				} {
					request, err := http.NewRequestWithContext(r.Context(), "GET", part.path, nil)
					if err != nil {
						t.Fatal(err)
					}
					if part.bearer != "" {
						request.Header.Set("Authorization", "Bearer "+part.bearer)
					}
					w := httptest.NewRecorder()
					h.handler.ServeHTTP(w, request)
					if w.Code != part.status || w.Code == 200 && w.Body.String() != part.body {
						t.Errorf("%s on the administrator's context answers %d %s, want %d %s", part.path, w.Code, w.Body, part.status, part.body)
					}
				}
			}))
			request := httptest.NewRequest("POST", "/batch", nil)
			request.Header.Set("Authorization", "Bearer "+h.token)
			w := httptest.NewRecorder()
			if batch.ServeHTTP(w, request); w.Code != 200 {
				t.Errorf("the batch answers %d", w.Code)
			}
		},
	},
	{
		id: "U18", what: "a handler that no guard stands before finds nobody",
		run: func(t *testing.T, h *abuseHost) {
			found := func(r *http.Request) bool {
				token, ok := tokenauth.FromContext(r.Context())
				if !token.Digest.IsZero() || token.Principal.UserID != "" || len(token.Principal.Roles) > 0 {
					t.Errorf("the token is %+v", token)
				}
				return ok
			}
			var reached atomic.Int64
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				reached.Add(1)
				if found(r) {
					t.Error("a token was found")
				}
			})
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+h.token)
			handler.ServeHTTP(httptest.NewRecorder(), r)
			// Optional lets it through, and says that it is nobody.
			h.auth.Optional(handler).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			if reached.Load() != 2 {
				t.Errorf("the handler was called %d times", reached.Load())
			}
		},
	},
	{
		id: "U19", what: "what a handler does to its principal stays its own",
		alone: onEngines(func(t *testing.T, on engine) {
			for name, o := range map[string]tokenauth.Options{"strict": {}, "cached": {Cache: &tokenauth.CacheOptions{}}} {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					h := on.host(t, new(memory.Store), directory{}, o, func(w http.ResponseWriter, r *http.Request) {
						token, _ := tokenauth.FromContext(r.Context())
						p := token.Principal
						fmt.Fprint(w, p.Roles, p.Attributes, p.UserName)
						p.Roles[0], p.Attributes["tenant"] = "Administrator", "another"
						again, _ := tokenauth.FromContext(r.Context())
						fmt.Fprint(w, again.Principal.Roles)
					})
					grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{
						UserID: "1", UserName: "alice", Roles: []string{"Reader"}, Attributes: map[string]string{"tenant": "north"},
					}, "")
					if err != nil {
						t.Fatal(err)
					}
					eventually(t, "the cache serves", func() bool { return o.Cache == nil || h.auth.CacheStats().FeedAlive })
					var wg sync.WaitGroup
					for range 20 {
						wg.Go(func() {
							if a := h.me(t, grant.AccessToken.Reveal()); a.body != "[Reader] map[tenant:north]alice[Reader]" {
								t.Errorf("answered %d %s", a.StatusCode, a.body)
							}
						})
					}
					wg.Wait()
				})
			}
		}),
	},
	{
		id: "U20", what: "a token that was replaced is refused at once here, and soon elsewhere",
		alone: onEngines(func(t *testing.T, on engine) {
			const lease = 2 * time.Second
			s := new(memory.Store)
			here := on.host(t, s, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
			there := on.host(t, s, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
			for _, h := range []*abuseHost{here, there} {
				eventually(t, "the cache serves", func() bool { return h.auth.CacheStats().FeedAlive })
			}
			for range 20 {
				old := here.signIn(t, grantFor("alice", otherPassword))
				for range 2 {
					here.welcomes(t, old, "here")
					there.welcomes(t, old, "there")
				}
				accessToken := here.signIn(t, grantFor("alice", otherPassword))
				replaced := time.Now()
				here.refuses(t, replacedToken, old)
				there.welcomes(t, accessToken, "a new token, there")
				for asked := time.Now(); ; asked = time.Now() {
					if there.me(t, old).StatusCode == http.StatusUnauthorized {
						break
					}
					if asked.Sub(replaced) > lease {
						t.Fatalf("it passed %v later", asked.Sub(replaced))
					}
				}
				there.refuses(t, replacedToken, old)
			}
		}),
	},
	{
		id: "U21", what: "of a hundred sign-ins of one user at once all are answered, and one token is good",
		run: func(t *testing.T, h *abuseHost) {
			tokens := make([]string, 100)
			var wg sync.WaitGroup
			for i := range tokens {
				wg.Go(func() { tokens[i] = h.signIn(t, goodGrant) })
			}
			wg.Wait()
			good := 0
			for _, accessToken := range tokens {
				switch a := h.me(t, accessToken); a.StatusCode {
				case http.StatusOK:
					good++
				case http.StatusUnauthorized:
				default:
					t.Errorf("answered %d %s", a.StatusCode, a.body)
				}
			}
			if good != 1 {
				t.Errorf("%d tokens are good", good)
			}
			h.refuses(t, invalidToken, h.token) // replaced long ago
		},
	},
	{
		id: "U22", what: "a user has a token at each application",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Clients: registry{"app": {ID: "app"}, "other": {ID: "other"}}})
			var wg sync.WaitGroup
			tokens := make(map[string]string)
			var mu sync.Mutex
			for range 10 {
				for _, client := range []string{"app", "other"} {
					wg.Go(func() {
						accessToken := h.signIn(t, grantFor("alice", otherPassword)+"&client_id="+client)
						mu.Lock()
						defer mu.Unlock()
						tokens[accessToken] = client
					})
				}
			}
			wg.Wait()
			good := map[string]int{}
			for accessToken, client := range tokens {
				if h.me(t, accessToken).StatusCode == http.StatusOK {
					good[client]++
				}
			}
			if good["app"] != 1 || good["other"] != 1 {
				t.Errorf("good tokens: %v", good)
			}
			// Signing in at one leaves the other's alone.
			app := h.signIn(t, grantFor("alice", otherPassword)+"&client_id=app")
			other := h.signIn(t, grantFor("alice", otherPassword)+"&client_id=other")
			h.welcomes(t, app, "after a sign-in at another client")
			h.welcomes(t, other, "its own")
		}),
	},
	{
		id: "U23", what: "of a sign-in that timed out and the one that tries again, the second one's token is good",
		alone: onEngines(func(t *testing.T, on engine) {
			stored, gone := make(chan tokenauth.Digest, 1), make(chan struct{})
			var first atomic.Bool
			s := new(meddler)
			s.after = func(ctx context.Context, call string) {
				if call == "Replace" && first.CompareAndSwap(false, true) {
					token, _ := s.Store.Find(ctx, tokenauth.SlotOf("id of alice", ""))
					stored <- token.Digest
					<-gone
				}
			}
			h := on.host(t, s, directory{}, tokenauth.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			left := make(chan error)
			go func() {
				r, err := http.NewRequestWithContext(ctx, "POST", h.url+"/Token", strings.NewReader(grantFor("alice", otherPassword)))
				if err == nil {
					_, err = h.client.Do(r)
				}
				left <- err
			}()
			lost := <-stored
			cancel() // the client's patience ends
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Fatalf("the first one got %v", err)
			}
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			close(gone)
			h.server.Close() // waits for the first one
			token, err := h.auth.Validate(t.Context(), accessToken)
			if err != nil || token.Digest != sha256.Sum256([]byte(accessToken)) || token.Digest == lost {
				t.Errorf("the second token: %v", err)
			}
		}),
	},
	{
		// What a client does that sends its GET twice; see Options.DisableGET.
		id: "U24", what: "a GET that a proxy sends again issues again, and the last token is good",
		run: func(t *testing.T, h *abuseHost) {
			first := accessTokenIn(t, h.tries(t, issued, "GET", "/Token", goodGrant, "Content-Type", "application/json"))
			second := accessTokenIn(t, h.tries(t, issued, "GET", "/Token", goodGrant, "Content-Type", "application/json"))
			h.denies(t, replacedToken, 1, "GET", "/me", "", "Authorization", "Bearer "+first)
			h.admits(t, "GET", "/me", "Authorization", "Bearer "+second)
		},
	},
	{
		id: "U25", what: "a token is good until the very moment at which it expires",
		run: func(t *testing.T, h *abuseHost) {
			token, err := h.auth.Validate(t.Context(), h.token)
			if err != nil {
				t.Fatal(err)
			}
			h.wait(token.ExpiresAt.Sub(h.time()) - time.Nanosecond)
			h.admits(t, "GET", "/me", "Authorization", "Bearer "+h.token)
			h.wait(time.Nanosecond)
			h.refuses(t, expiredToken, h.token)
			h.wait(time.Hour)
			h.refuses(t, expiredToken, h.token)
		},
	},
	{
		// expires_in is what is left as the answer is written, a second less
		// than the lifetime; .expires less .issued is the lifetime exactly.
		id: "U26", what: "the server never ends a token before the time that it told",
		run: func(t *testing.T, h *abuseHost) {
			for _, fraction := range []time.Duration{0, 1, time.Second - 1, 500 * time.Millisecond} {
				h.mu.Lock()
				h.now = start.Truncate(time.Second).Add(fraction)
				h.mu.Unlock()
				a := h.posts(t, issued, goodGrant)
				var told struct {
					ExpiresIn int64  `json:"expires_in"`
					Issued    string `json:".issued"`
					Expires   string `json:".expires"`
				}
				if err := json.Unmarshal([]byte(a.body), &told); err != nil {
					t.Fatal(err)
				}
				since, err := http.ParseTime(told.Issued)
				until, err2 := http.ParseTime(told.Expires)
				if err := errors.Join(err, err2); err != nil || !strings.HasSuffix(told.Issued, " GMT") || !strings.HasSuffix(told.Expires, " GMT") {
					t.Fatalf("%s: %v", a.body, err)
				}
				const lifetime = 14 * 24 * time.Hour
				if until.Sub(since) != lifetime || told.ExpiresIn != 1209599 || since.After(h.time()) {
					t.Errorf("%v: %s", fraction, a.body)
				}
				accessToken := accessTokenIn(t, a)
				now := h.time()
				h.wait(time.Duration(told.ExpiresIn)*time.Second - 1)
				h.welcomes(t, accessToken, "just before expires_in is over")
				h.wait(until.Sub(h.time()) - 1)
				h.welcomes(t, accessToken, "just before .expires")
				h.wait(1)
				h.refuses(t, expiredToken, accessToken)
				h.wait(now.Sub(h.time()))
			}
			h.token = h.signIn(t, goodGrant)
		},
	},
	{
		id: "U27", what: "a wall clock that steps back revives no token",
		unreachable: "nothing sets a test's system clock back; that the service's own never runs backwards is tested on its readings (TestClockNeverRunsBackwards in package tokenauth)",
	},
	{
		id: "U28", what: "a replica whose clock is behind takes the tokens of the others, and deletes none",
		alone: onEngines(func(t *testing.T, on engine) {
			s := newStore(t, openDB(t, sqlite.open(t)), nil)
			ahead := on.host(t, s, directory{}, tokenauth.Options{Now: func() time.Time { return start }})
			behind := on.host(t, s, directory{}, tokenauth.Options{Now: func() time.Time { return start.Add(-30 * 24 * time.Hour) }})
			accessToken := ahead.signIn(t, grantFor("alice", otherPassword))
			behind.welcomes(t, accessToken, "issued a month ahead")
			if removed, err := behind.auth.Purge(t.Context()); removed != 0 || err != nil {
				t.Errorf("purged %d, %v", removed, err)
			}
			behind.welcomes(t, accessToken, "after a purge")
			// A sign-in on the one that is behind counts all the same.
			later := behind.signIn(t, grantFor("alice", otherPassword))
			behind.welcomes(t, later, "issued here")
			behind.refuses(t, replacedToken, accessToken)
			ahead.refuses(t, expiredToken, later)
		}),
	},
	{
		id: "U29", what: "a clock that jumps ahead ends tokens, and removes none of them for a day",
		alone: onEngines(func(t *testing.T, on engine) {
			var mu sync.Mutex
			now := start
			set := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = start.Truncate(time.Second).Add(d) }
			db := openDB(t, sqlite.open(t))
			s := newStore(t, db, nil)
			h := on.host(t, s, directory{}, tokenauth.Options{Lifetime: time.Hour, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			for _, jump := range []time.Duration{time.Hour, 24 * time.Hour, 25 * time.Hour} {
				set(jump)
				h.refuses(t, expiredToken, accessToken)
				if removed, err := h.auth.Purge(t.Context()); removed != 0 || err != nil {
					t.Errorf("after %v it purged %d, %v", jump, removed, err)
				}
			}
			set(0)
			h.welcomes(t, accessToken, "when the clock is right again")
			set(25*time.Hour + time.Second)
			if removed, err := h.auth.Purge(t.Context()); removed != 1 || err != nil {
				t.Errorf("it purged %d, %v", removed, err)
			}
			h.refuses(t, invalidToken, accessToken)
		}),
	},
	{
		id: "U30", what: "no time zone, of the process or the database, moves a time",
		alone: onDatabases(zones),
	},
	{
		id: "U31", what: "a lifetime that cannot be is refused by the constructor, and zero is 14 days",
		alone: func(t *testing.T) {
			for _, lifetime := range []time.Duration{
				-1, -time.Hour, 1, time.Second, time.Minute - 1, time.Minute + 1, time.Minute + time.Millisecond,
				365*24*time.Hour + 1, 366 * 24 * time.Hour, 1<<63 - 1, -1 << 63,
			} {
				_, err := tokenauth.New(new(memory.Store), directory{}, &tokenauth.Options{Lifetime: lifetime})
				if err == nil || !strings.Contains(err.Error(), "Options.Lifetime") {
					t.Errorf("%v: %v", lifetime, err)
				}
			}
			for lifetime, want := range map[time.Duration]time.Duration{0: 14 * 24 * time.Hour, time.Minute: time.Minute, 365 * 24 * time.Hour: 365 * 24 * time.Hour} {
				auth, err := tokenauth.New(new(memory.Store), directory{}, &tokenauth.Options{Lifetime: lifetime})
				if err != nil {
					t.Fatal(err)
				}
				grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "1"}, "")
				if err != nil || grant.Token.ExpiresAt.Sub(grant.Token.IssuedAt) != want {
					t.Errorf("%v: %+v, %v", lifetime, grant.Token, err)
				}
			}
		},
	},
	{
		id: "U32", what: "spellings of one name are one account and one counter; look-alikes are others",
		alone: onDatabases(spellings),
	},
	{
		id: "U33", what: "no user and application share a slot with others, whatever their names",
		run: func(t *testing.T, h *abuseHost) {
			names := []string{"a", "a:b", "a:", ":b", "b", "a\x1fb", "a,b", "a|b", "a/b", "ab", "a b", " a", "a ", "id\x00of", "A", "\u00e4", "a\u0308"}
			slots := make(map[tokenauth.Slot]string)
			for _, user := range names {
				for _, client := range append(names, "") {
					slot, is := tokenauth.SlotOf(user, client), fmt.Sprintf("%q at %q", user, client)
					if was, taken := slots[slot]; taken {
						t.Errorf("%s and %s share a slot", was, is)
					}
					slots[slot] = is
					if slices.Equal(slot.User[:], slot.Client[:]) {
						t.Errorf("%s has one key twice", is)
					}
				}
			}
			// The same by tokens: all are good beside each other.
			tokens := make(map[string]string)
			for _, user := range names {
				for _, client := range []string{"", "a", "b", ":b", "a:b"} {
					if strings.Contains(user, "\x00") {
						continue // no storage has to keep that
					}
					grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: user, UserName: user + "@" + client}, client)
					if err != nil {
						t.Fatal(err)
					}
					tokens[grant.AccessToken.Reveal()] = user + "@" + client
				}
			}
			for accessToken, name := range tokens {
				if a := h.me(t, accessToken); a.body != name {
					t.Errorf("the token of %q is %d %q's", name, a.StatusCode, a.body)
				}
			}
		},
	},
	{
		id: "U34", what: "a route for one client takes no token of another",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Clients: registry{"app": {ID: "app"}, "APP": {ID: "APP"}, "other": {ID: "other"}}})
			for _, client := range []string{"other", "APP"} {
				accessToken := h.signIn(t, grantFor("alice", otherPassword)+"&client_id="+client)
				h.welcomes(t, accessToken, client)
				handled := h.handled.Load()
				clientRefused.check(t, h.do(t, "GET", "/app", "", "Authorization", "Bearer "+accessToken))
				if h.handled.Load() != handled {
					t.Error("the handler was called")
				}
			}
			h.admits(t, "GET", "/app", "Authorization", "Bearer "+h.signIn(t, grantFor("alice", otherPassword)+"&client_id=app"))
		}),
	},
	{
		id: "U35", what: "introspection of one's own token, another's, an expired one, and rubbish",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			app, resource := basic("app", appSecret.Reveal()), basic("resource", appSecret.Reveal())
			own := h.signIn(t, goodGrant, app...)
			foreign := h.signIn(t, goodGrant+"&client_id=web")
			replaced := own
			own = h.signIn(t, goodGrant, app...)

			active := regexp.MustCompile(`^\{"active":true,"client_id":"(app|web)","username":"admin","token_type":"bearer","exp":(\d+),"iat":(\d+),"sub":"1","role":"Administrator"\}$`)
			for _, test := range []struct {
				by     []string
				token  string
				client string
			}{{app, own, "app"}, {resource, own, "app"}, {resource, foreign, "web"}} {
				a := h.introspects(t, test.token, test.by...)
				if m := active.FindStringSubmatch(a.body); m == nil || m[1] != test.client {
					t.Errorf("a good token is %s", a.body)
				} else if exp, iat := unixIn(t, m[2]), unixIn(t, m[3]); exp-iat != 14*24*3600 || iat != h.time().Unix() {
					t.Errorf("it is good from %d to %d", iat, exp)
				}
			}
			inactive := func(token, what string, by ...string) {
				t.Helper()
				if a := h.introspects(t, token, by...); a.body != `{"active":false}` {
					t.Errorf("%s is %s", what, a.body)
				}
			}
			inactive(foreign, "another client's token", app...)
			for _, by := range [][]string{app, resource} {
				inactive(replaced, "a token that was replaced", by...)
				inactive(flip(own, len(own)-9), "a token that was changed", by...)
				inactive("rubbish", "rubbish", by...)
				inactive("eyJhbGciOiJub25lIn0.e30.", "a JWT", by...)
			}
			h.storage.meet(fails)
			unavailable.check(t, h.do(t, "POST", "/introspect", "token="+own, app...))
			h.storage.meet(nil)
			h.wait(14 * 24 * time.Hour)
			inactive(own, "an expired token", app...)
		},
	},
	{
		id: "U36", what: "introspection without authentication, and by clients that may not",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			body := "token=" + h.token
			for _, headers := range [][]string{basic("app", "wrong"), basic("nobody", "x"), basic("web", ""), basic("gone", "")} {
				challenged.check(t, h.do(t, "POST", "/introspect", body, headers...))
			}
			for _, client := range []string{"", "&client_id=", "&client_id=web", "&client_id=nobody", "&client_id=app", "&client_id=app&client_secret=wrong"} {
				invalidClient.check(t, h.do(t, "POST", "/introspect", body+client))
			}
			invalidClient.check(t, h.do(t, "POST", "/introspect", body, bearer(h.token)...))
			// Who does not authenticate is told that, whatever else is wrong.
			invalidClient.check(t, h.do(t, "POST", "/introspect", ""))
			app := basic("app", appSecret.Reveal())
			badRequest("The parameter token is missing.").check(t, h.do(t, "POST", "/introspect", "token=", app...))
			refusal(400, "unauthorized_client", "The client may not introspect tokens.").
				check(t, h.do(t, "POST", "/introspect", body, basic("desktop", appSecret.Reveal())...))
			for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
				if a := h.do(t, method, "/introspect", body, app...); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST" {
					t.Errorf("%s answers %d, Allow: %s", method, a.StatusCode, a.Header.Get("Allow"))
				}
			}
			early := badRequest("Credentials belong in the body, never in the query.")
			early.closes = true
			early.check(t, h.do(t, "POST", "/introspect?"+body, "", app...))
		},
	},
	{
		id: "U37", what: "revocation of one's own token, an unknown one, another client's, twice, with a wrong hint, without authentication",
		with: withClients,
		run: func(t *testing.T, h *abuseHost) {
			app := basic("app", appSecret.Reveal())
			own := h.signIn(t, goodGrant, app...)
			h.token = own
			for _, headers := range [][]string{basic("app", "wrong"), basic("nobody", "x"), basic("gone", "")} {
				challenged.check(t, h.do(t, "POST", "/revoke", "token="+own, headers...))
			}
			for _, client := range []string{"", "&client_id=nobody", "&client_id=gone", "&client_id=app", "&client_id=app&client_secret=wrong", "&client_id=web&client_secret=x"} {
				invalidClient.check(t, h.do(t, "POST", "/revoke", "token="+own+client))
			}
			h.welcomes(t, own, "after revocations that failed")

			foreign := h.signIn(t, goodGrant+"&client_id=web")
			refusal(400, "unauthorized_client", "The token was issued to another client.").
				check(t, h.do(t, "POST", "/revoke", "token="+foreign, app...))
			h.welcomes(t, foreign, "after another client tried to revoke it")
			h.revokes(t, foreign, "client_id=web")
			h.refuses(t, invalidToken, foreign)

			h.revokes(t, flip(own, len(own)-9), "", app...)
			h.revokes(t, "rubbish", "", app...)
			h.welcomes(t, own, "after others were revoked")
			for range 2 {
				h.revokes(t, own, "token_type_hint=refresh_token", app...)
				h.refuses(t, invalidToken, own)
			}
			old := h.signIn(t, goodGrant, app...)
			newer := h.signIn(t, goodGrant, app...)
			h.revokes(t, old, "token_type_hint=nonsense", app...)
			h.welcomes(t, newer, "after an older one was revoked")
			badRequest("The parameter token is missing.").check(t, h.do(t, "POST", "/revoke", "", app...))
			badRequest("A parameter is given twice.").check(t, h.do(t, "POST", "/revoke", "token=a&TOKEN=b", app...))
			badRequest("Send the parameters urlencoded in the body: token=...").check(t, h.do(t, "POST", "/revoke", `{"token":"x"}`, app...))
			if a := h.do(t, "GET", "/revoke", "token="+newer, app...); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST" {
				t.Errorf("GET answers %d, Allow: %s", a.StatusCode, a.Header.Get("Allow"))
			}
			h.token = newer

			// Made-up tokens leave no record, and suppress nobody's.
			elsewhere, err := tokenauth.New(new(memory.Store), directory{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			madeUp, err := elsewhere.Issue(t.Context(), tokenauth.Principal{UserID: "1"}, "web")
			if err != nil {
				t.Fatal(err)
			}
			real := h.signIn(t, goodReader+"&client_id=web")
			logged := strings.Count(h.log.String(), "tokens revoked")
			for range 300 {
				h.revokes(t, madeUp.AccessToken.Reveal(), "client_id=web")
			}
			h.revokes(t, real, "client_id=web")
			if n := strings.Count(h.log.String(), "tokens revoked") - logged; n != 1 || !strings.Contains(h.log.String(), "event=revoked user_id=2 user_name=reader") {
				t.Errorf("%d revocations are logged, want 1: %s", n, h.log)
			}
		},
		alone: onEngines(func(t *testing.T, on engine) {
			// Without a registry the token is authority enough.
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{})
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			h.revokes(t, accessToken, "")
			h.refuses(t, invalidToken, accessToken)
			h.revokes(t, accessToken, "client_id=whoever", basic("some", "body")...)
		}),
	},
	{
		id: "U38", what: "a revocation that the storage could not do is an error, and the token is good",
		run: func(t *testing.T, h *abuseHost) {
			for _, revoke := range map[string]func() error{
				"Revoke":     func() error { return h.auth.Revoke(t.Context(), h.token) },
				"RevokeUser": func() error { return h.auth.RevokeUser(t.Context(), "1") },
			} {
				h.storage.meet(fails)
				if err := revoke(); !errors.Is(err, tokenauth.ErrUnavailable) || errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Errorf("it returns %v", err)
				}
				h.storage.meet(nil)
				h.admits(t, "GET", "/me", "Authorization", "Bearer "+h.token)
			}
			h.storage.meet(fails)
			unavailable.check(t, h.do(t, "POST", "/revoke", "token="+h.token))
			h.storage.meet(nil)
			h.admits(t, "GET", "/me", "Authorization", "Bearer "+h.token)
			for range 2 { // twice is fine
				if err := h.auth.Revoke(t.Context(), h.token); err != nil {
					t.Error(err)
				}
				h.refuses(t, invalidToken, h.token)
			}
		},
	},
	{
		id: "U39", what: "a sign-in and a revocation at the same time leave what one order of them leaves",
		run: func(t *testing.T, h *abuseHost) {
			for range 30 {
				old := h.signIn(t, goodGrant)
				var wg sync.WaitGroup
				var accessToken string
				wg.Go(func() { accessToken = h.signIn(t, goodGrant) })
				wg.Go(func() {
					if err := h.auth.Revoke(t.Context(), old); err != nil {
						t.Error(err)
					}
				})
				wg.Wait()
				// Whichever came first, the old one is dead and the new one lives.
				if a := h.me(t, old); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("the old token answers %d", a.StatusCode)
				}
				h.welcomes(t, accessToken, "a token issued while the one before was revoked")

				// All of the user's: then the new one may have come before.
				wg.Go(func() {
					if err := h.auth.RevokeUser(t.Context(), "1"); err != nil {
						t.Error(err)
					}
				})
				var newer string
				wg.Go(func() { newer = h.signIn(t, goodGrant) })
				wg.Wait()
				if a := h.me(t, accessToken); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("a token from before RevokeUser answers %d", a.StatusCode)
				}
				_, err := h.storage.Store.Find(t.Context(), tokenauth.SlotOf("1", ""))
				holds := err == nil
				if good := h.me(t, newer).StatusCode == http.StatusOK; good != holds {
					t.Errorf("the new token is good: %v; the slot holds one: %v", good, holds)
				}
			}
			h.token = h.signIn(t, goodGrant)
		},
	},
}

// The hashes are those of ASP.NET Core's own tests, of the password
// "my password".
const (
	aspnetV2 = "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg=="
	aspnetV3 = "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw=="
)

// hashedAs adds a user whose password, "my password", another application has
// hashed.
func hashedAs(t *testing.T, s *gormstore.Store, name, hash string) {
	t.Helper()
	if _, err := s.Users().Import(t.Context(), gormstore.User{Name: name}, hash); err != nil {
		t.Fatal(err)
	}
}

// storedHash returns what the table has of a user's password.
func storedHash(t *testing.T, db *gorm.DB, name string) (hash string) {
	t.Helper()
	if err := poolOf(t, db).QueryRow("SELECT password_hash FROM tokenauth_users WHERE name = '" + name + "'").Scan(&hash); err != nil {
		t.Fatal(err)
	}
	return hash
}

func signsInWithAnOldHash(t *testing.T, on engine) {
	db := openDB(t, sqlite.open(t))
	told := new(journal)
	s := newStore(t, db, &gormstore.Options{Passwords: &password.Options{Logger: told.logger()}})
	h := on.host(t, s, s.Users(), tokenauth.Options{})
	mustExec(t, db, "CREATE TRIGGER stuck BEFORE UPDATE OF password_hash ON tokenauth_users WHEN old.name = 'stuck' BEGIN SELECT RAISE(ABORT, 'it is stuck'); END")
	for name, hash := range map[string]string{"v2": aspnetV2, "v3": aspnetV3, "stuck": aspnetV2} {
		hashedAs(t, s, name, hash)
		h.posts(t, rejected, grantFor(name, "My password"))
		if got := storedHash(t, db, name); got != hash {
			t.Errorf("%s: after a wrong password the hash is %s", name, got)
		}
		first := accessTokenIn(t, h.posts(t, issued, grantFor(name, "my password")))
		h.welcomes(t, first, "after the upgrade")
		upgraded := storedHash(t, db, name)
		if is := strings.HasPrefix(upgraded, "$argon2id$"); is == (name == "stuck") || !is && upgraded != hash {
			t.Errorf("%s: the hash is %s", name, upgraded)
		}
		second := accessTokenIn(t, h.posts(t, issued, grantFor(name, "my password")))
		h.welcomes(t, second, "the second sign-in")
		h.refuses(t, replacedToken, first)
		if again := storedHash(t, db, name); again != upgraded {
			t.Errorf("%s: the hash was %s and is %s", name, upgraded, again)
		}
		h.posts(t, rejected, grantFor(name, "My password"))
	}
	if log := told.String(); !strings.Contains(log, "it is stuck") || strings.Contains(log, aspnetV2) || strings.Contains(log, "$argon2id$") {
		t.Errorf("the log is %s", log)
	}
}

func racesTheUpgrade(t *testing.T, e sqlEngine) {
	db := openDB(t, e.open(t))
	s := newStore(t, db, new(gormstore.Options))
	h := onHTTP.host(t, s, s.Users(), tokenauth.Options{Timeout: 10 * time.Second})
	for _, name := range []string{"v2", "v3"} {
		hashedAs(t, s, name, map[string]string{"v2": aspnetV2, "v3": aspnetV3}[name])
		var wg sync.WaitGroup
		tokens := make([]string, 4)
		for i := range tokens {
			wg.Go(func() { tokens[i] = accessTokenIn(t, h.posts(t, issued, grantFor(name, "my password"))) })
		}
		wg.Wait()
		good := 0
		for _, accessToken := range tokens {
			if h.me(t, accessToken).StatusCode == http.StatusOK {
				good++
			}
		}
		hash := storedHash(t, db, name)
		if good != 1 || !strings.HasPrefix(hash, "$argon2id$") {
			t.Errorf("%s: %d tokens are good; the hash is %s", name, good, hash)
		}
		h.welcomes(t, accessTokenIn(t, h.posts(t, issued, grantFor(name, "my password"))), "after the race")
		if got := storedHash(t, db, name); got != hash {
			t.Errorf("%s: the hash was %s and is %s", name, hash, got)
		}
	}
}

// A registry is a tokenauth.Clients by their IDs.
type registry map[string]tokenauth.Client

func (r registry) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	c, ok := r[id]
	if !ok {
		return c, tokenauth.ErrNotFound
	}
	return c, nil
}

// expectSame compares two answers to the byte, but for the time.
func expectSame(t *testing.T, a, b answer) {
	t.Helper()
	one, two := a.Header.Clone(), b.Header.Clone()
	one.Del("Date")
	two.Del("Date")
	if a.StatusCode != b.StatusCode || a.Proto != b.Proto || a.body != b.body || fmt.Sprint(one) != fmt.Sprint(two) {
		t.Errorf("one is %d %v %s,\ntwo is %d %v %s", a.StatusCode, one, a.body, b.StatusCode, two, b.body)
	}
}

// expectUnusable signs in as a user with that hash, who is nobody for the
// client, and is told of to the operator.
func expectUnusable(t *testing.T, h *abuseHost, unknown answer, hash string) {
	t.Helper()
	// One account is warned about once a minute, also by the other hosts.
	id := rand.Text()
	name := "user of " + id[:8]
	h.users.set(func(accounts map[string]password.Account, _ *func(context.Context) error) {
		accounts[name] = password.Account{UserID: id, UserName: name, PasswordHash: hash}
	})
	logged := len(h.log.String())
	expectSame(t, unknown, h.tries(t, rejected, "POST", "/Token", grantFor(name, otherPassword)))
	if log := h.log.String()[logged:]; !strings.Contains(log, "user_id="+id) || hash != "" && strings.Contains(log, hash) {
		t.Errorf("for %q the log has %q", hash, log)
	}
}

func panics(do func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	do()
	return
}

// changesWhileSigningIn changes a user after the password was checked, and
// before the token is stored.
func changesWhileSigningIn(t *testing.T, on engine, changes map[string]func(context.Context, *gormstore.Users, string) error) {
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, sqlite.open(t))
			s := newStore(t, db, nil)
			var user gormstore.User
			var armed atomic.Bool
			h := on.host(t, preceded{s, func(ctx context.Context, _ string) {
				if armed.CompareAndSwap(true, false) {
					if err := change(ctx, s.Users(), user.ID); err != nil {
						t.Error(err)
					}
				}
			}}, s.Users(), tokenauth.Options{})
			user = addUser(t, s, "alice", "Reader")
			old := h.signIn(t, grantFor("alice", otherPassword))
			armed.Store(true)
			h.posts(t, rejected, grantFor("alice", otherPassword))
			if armed.Load() {
				t.Fatal("nothing was changed")
			}
			if n := number(t, db, "SELECT count(*) FROM tokenauth_tokens"); n != 0 {
				t.Errorf("%d tokens are left", n)
			}
			h.refuses(t, invalidToken, old)
		})
	}
}

// endsTokens changes a user by the table of users, strict and with a cache, and
// behind its back, with a live check. Set is the same change in SQL.
func endsTokens(t *testing.T, set string, change func(context.Context, *gormstore.Users, string) error) {
	t.Run("strict", onEngines(func(t *testing.T, on engine) {
		s := newStore(t, openDB(t, sqlite.open(t)), nil)
		h := on.host(t, s, s.Users(), tokenauth.Options{})
		user := addUser(t, s, "alice", "Administrator")
		accessToken := h.signIn(t, grantFor("alice", otherPassword))
		h.admits(t, "GET", "/admin", "Authorization", "Bearer "+accessToken)
		if err := change(t.Context(), s.Users(), user.ID); err != nil {
			t.Fatal(err)
		}
		h.refuses(t, invalidToken, accessToken)
	}))
	t.Run("live check", onEngines(func(t *testing.T, on engine) {
		db := openDB(t, sqlite.open(t))
		s := newStore(t, db, nil)
		h := on.host(t, s, s.Users(), tokenauth.Options{LiveCheck: s.Users().LiveCheck})
		addUser(t, s, "alice", "Administrator")
		accessToken := h.signIn(t, grantFor("alice", otherPassword))
		h.admits(t, "GET", "/admin", "Authorization", "Bearer "+accessToken)
		mustExec(t, db, "UPDATE tokenauth_users SET "+set)
		h.refuses(t, invalidToken, accessToken)
		handled := h.handled.Load()
		invalidToken.check(t, h.do(t, "GET", "/admin", "", "Authorization", "Bearer "+accessToken))
		if h.handled.Load() != handled {
			t.Error("the handler was called")
		}
	}))
	t.Run("cache", func(t *testing.T) {
		t.Parallel()
		const lease = 2 * time.Second
		s := newStore(t, openDB(t, postgres.Open(throwaway.Postgres(t))), &gormstore.Options{Feed: true})
		w, err := gormstore.WithFeed(t.Context(), s, pgxfeed.Listener{})
		if err != nil {
			t.Fatal(err)
		}
		h := onHTTP.host(t, w, s.Users(), tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
		user := addUser(t, s, "alice", "Administrator")
		accessToken := h.signIn(t, grantFor("alice", otherPassword))
		eventually(t, "the cache has the token", func() bool {
			hits := h.auth.CacheStats().Hits
			h.welcomes(t, accessToken, "before the change")
			return h.auth.CacheStats().Hits > hits
		})
		if err := change(t.Context(), s.Users(), user.ID); err != nil {
			t.Fatal(err)
		}
		changed := time.Now()
		for asked := time.Now(); h.me(t, accessToken).StatusCode == http.StatusOK; asked = time.Now() {
			if asked.Sub(changed) > lease {
				t.Fatalf("it passed %v later", asked.Sub(changed))
			}
		}
		h.refuses(t, invalidToken, accessToken)
	})
}

// zones has the process, and the clock of the service, in odd time zones.
func zones(t *testing.T, e sqlEngine) {
	db := openDB(t, e.open(t))
	s := newStore(t, db, nil)
	places := []*time.Location{
		time.UTC, time.FixedZone("LHST", 10*3600+1800), time.FixedZone("+1545", 15*3600+2700), time.FixedZone("-1200", -12*3600), time.FixedZone("LMT", -(17*60 + 30)),
	}
	for _, name := range []string{"Europe/Berlin", "America/St_Johns", "Pacific/Apia", "Africa/Monrovia"} {
		place, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, place)
	}
	for _, moment := range []time.Time{
		time.Date(2016, 12, 31, 23, 59, 59, 999_999_999, time.UTC), // before a leap second
		time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2021, 3, 28, 1, 0, 0, 0, time.UTC), // the hour that Berlin skips, and repeats
		time.Date(2021, 10, 31, 0, 30, 0, 0, time.UTC),
		time.Date(2011, 12, 30, 10, 0, 0, 0, time.UTC), // the day that Apia skips
		time.Date(2038, 1, 19, 3, 14, 8, 0, time.UTC),
		time.Date(1969, 12, 31, 23, 59, 58, 0, time.UTC),
	} {
		for _, place := range places {
			h := onHTTP.host(t, s, directory{}, tokenauth.Options{Now: func() time.Time { return moment.In(place) }})
			a := h.posts(t, issued, grantFor("alice", otherPassword))
			since := moment.Truncate(time.Second)
			until := since.Add(14 * 24 * time.Hour)
			want := fmt.Sprintf(`".issued":%q,".expires":%q`, since.Format(http.TimeFormat), until.Format(http.TimeFormat))
			if !strings.Contains(a.body, want) {
				t.Errorf("%v in %v: %s, want %s", moment, place, a.body, want)
			}
			token, err := h.auth.Validate(t.Context(), accessTokenIn(t, a))
			if err != nil || !token.IssuedAt.Equal(since) || !token.ExpiresAt.Equal(until) || token.IssuedAt.Location() != time.UTC {
				t.Errorf("%v in %v: from %v until %v, %v", moment, place, token.IssuedAt, token.ExpiresAt, err)
			}
			var stored, expires int64
			row := poolOf(t, db).QueryRow("SELECT issued_at, expires_at FROM tokenauth_tokens")
			if err := row.Scan(&stored, &expires); err != nil || stored != since.Unix() || expires != until.Unix() {
				t.Errorf("%v in %v: stored are %d and %d, %v", moment, place, stored, expires, err)
			}
		}
	}
}

// cheapGuesses rejects passwords that begin with "wrong" without hashing them.
type cheapGuesses struct{ *gormstore.Users }

func (g cheapGuesses) Authenticate(ctx context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if strings.HasPrefix(c.Password.Reveal(), "wrong") && !long {
		user, err := g.Users.FindByName(ctx, c.UserName)
		if err != nil && !errors.Is(err, tokenauth.ErrNotFound) {
			return tokenauth.Principal{}, err
		}
		if err := c.CountAttempt(ctx, user.ID); err != nil {
			return tokenauth.Principal{}, err
		}
		return tokenauth.Principal{}, tokenauth.ErrRejected
	}
	return g.Users.Authenticate(ctx, c)
}

// spellings has a user sign in, and fail to, under many names.
func spellings(t *testing.T, e sqlEngine) {
	s := newStore(t, openDB(t, e.open(t)), nil)
	for _, test := range []struct {
		name      string
		same, not []string
		alike     bool // whether the first of not differs by an accent only
	}{
		{"Alice", []string{"alice", "ALICE", "\uff21\uff4c\uff49\uff43\uff45", "alice ", " Alice\u00a0"}, []string{"\u0410lice", "a lice", "al\u200bice", "alice\u00ad", "alic\u00e9", "alic", "a%", "a_ice"}, false},
		{"Ren\u00e9", []string{"rene\u0301", "REN\u00c9", "RENE\u0301"}, []string{"rene", "Ren\u00e8"}, true},
		{"stra\u00dfe", []string{"Stra\u00dfe", "STRA\u1e9eE"}, []string{"strase"}, false},
		{"\u0130stanbul", []string{"i\u0307stanbul"}, []string{"\u0131stanbul", "istanbul"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			user := addUser(t, s, test.name)
			h := onHTTP.host(t, s, cheapGuesses{s.Users()}, tokenauth.Options{Throttle: tokenauth.ThrottleOptions{PerSource: 100_000}})
			key := s.Users().NormalizeUserName(test.name)
			for _, same := range append(test.same, test.name) {
				token, err := h.auth.Validate(t.Context(), h.signIn(t, grantFor(same, otherPassword)))
				if err != nil || token.Principal.UserID != user.ID || token.Principal.UserName != test.name {
					t.Errorf("%q is %+v, %v", same, token.Principal, err)
				}
				if got := s.Users().NormalizeUserName(same); got != key {
					t.Errorf("%q is the name %q, not %q", same, got, key)
				}
			}
			for _, other := range test.not {
				h.posts(t, rejected, grantFor(other, otherPassword))
				if got := s.Users().NormalizeUserName(other); got == key {
					t.Errorf("%q is the name %q", other, got)
				}
				h.signIn(t, grantFor(test.name, otherPassword)) // forgets the failures of what looks alike
			}
			// Five failures, each under another spelling, use up what is free.
			for i := range 5 {
				h.posts(t, rejected, grantFor(test.same[i%len(test.same)], fmt.Sprint("wrong", i)))
			}
			a := h.do(t, "POST", "/Token", grantFor(test.name, otherPassword))
			a.expectError(t, http.StatusTooManyRequests, "temporarily_unavailable")
			// What differs by an accent only shares the tries, whoever has it.
			a = h.do(t, "POST", "/Token", grantFor(test.not[0], otherPassword))
			if want := map[bool]int{true: http.StatusTooManyRequests, false: http.StatusBadRequest}[test.alike]; a.StatusCode != want {
				t.Errorf("%q: %d, want %d", test.not[0], a.StatusCode, want)
			}
			if err := s.Users().Delete(t.Context(), user.ID); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// introspects asks about a token, and checks the form of the answer.
func (h *abuseHost) introspects(t *testing.T, accessToken string, headers ...string) answer {
	t.Helper()
	a := h.do(t, "POST", "/introspect", "token="+accessToken, headers...)
	a.expectNoStore(t)
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json;charset=UTF-8" {
		t.Errorf("introspection answers %d %s", a.StatusCode, a.body)
	}
	return a
}

// revokes has a token revoked.
func (h *abuseHost) revokes(t *testing.T, accessToken, parameters string, headers ...string) {
	t.Helper()
	a := h.do(t, "POST", "/revoke", "token="+accessToken+"&"+parameters, headers...)
	a.expectNoStore(t)
	if a.StatusCode != http.StatusOK || a.body != "{}" {
		t.Errorf("revocation answers %d %s", a.StatusCode, a.body)
	}
}

func unixIn(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
