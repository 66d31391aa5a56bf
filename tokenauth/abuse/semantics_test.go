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

// Chapter U of the catalogue: who may sign in, and how long a token is valid.
var semantics = []situation{
	{
		id: "U01", what: "an unknown user is rejected after one hash of the default cost",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, rejected, "POST", "/Token", grantFor("nobody", adminPassword))
		},
		alone: func(t *testing.T) { expectHashes(t, "unknown", "right") },
	},
	{
		id: "U02", what: "a wrong password gets the same answer as an unknown user",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			wrong := h.tries(t, rejected, "POST", "/Token", grantFor("admin", "x"))
			expectSame(t, unknown, wrong)
		},
		alone: func(t *testing.T) { expectHashes(t, "wrong") },
	},
	{
		id: "U03", what: "a disabled user with the correct password gets the same answer as an unknown user",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			disabled := h.tries(t, rejected, "POST", "/Token", grantFor("disabled", otherPassword))
			expectSame(t, unknown, disabled)
		},
		alone: func(t *testing.T) { expectHashes(t, "disabled", "disabled, wrong") },
	},
	{
		id: "U04", what: "a user without a usable hash gets the same answer as an unknown user, and the log has a warning",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			for _, hash := range []string{"", otherPassword, "$argon2id$", "$2a$05$CCCC", otherHash() + "$", "\x00", "$1$salt$2Bq"} {
				expectUnusable(t, h, unknown, hash)
			}
		},
		alone: func(t *testing.T) { expectHashes(t, "no hash", "in the clear") },
	},
	{
		id: "U05", what: "a stored hash that costs too much or nothing is refused without computing it",
		run: func(t *testing.T, h *abuseHost) {
			unknown := h.tries(t, rejected, "POST", "/Token", grantFor("nobody", "x"))
			for _, hash := range hostileHashes {
				began := time.Now()
				expectUnusable(t, h, unknown, hash)
				// Computing any of these hashes would take minutes.
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("refusing the hash %s took %v, want less than 20s", hash, took)
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
		id: "U06", what: "bcrypt's limit of 72 bytes admits no longer password",
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
		id: "U07", what: "an empty password is refused before any hash of any format",
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
		id: "U08", what: "a hash of ASP.NET Identity signs in and is upgraded once; a failed upgrade does not fail the sign-in",
		alone: onEngines(signsInWithAnOldHash),
	},
	{
		id: "U09", what: "concurrent sign-ins race to upgrade a hash: all succeed, and the hash stays valid",
		alone: onDatabases(racesTheUpgrade),
	},
	{
		id: "U10", what: "a password or role that changes during the sign-in is noticed by Recheck",
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
		id: "U11", what: "a user who is disabled or deleted during the sign-in is noticed by Recheck",
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
		id: "U12", what: "a user who is deleted and created again with the same name is another user",
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
			h.refuses(t, invalidToken, old) // invalid and not replaced: the new user has another slot
			token, err := h.auth.Validate(t.Context(), accessToken)
			if err != nil {
				t.Fatal(err)
			}
			if first.ID == second.ID || token.Principal.UserID != second.ID || tokenauth.UserKeyOf(first.ID) == token.Slot.User {
				t.Errorf("the user IDs are %s and %s, and the token is for %s, want a token for the second user in another slot", first.ID, second.ID, token.Principal.UserID)
			}
		}),
	},
	{
		id: "U13", what: "disabling a user ends the user's tokens",
		alone: func(t *testing.T) {
			endsTokens(t, "disabled = true", func(ctx context.Context, users *gormstore.Users, id string) error {
				return users.SetDisabled(ctx, id, true)
			})
		},
	},
	{
		// The live check accepts or rejects the principal of the token and never
		// changes it. So if a host changes the roles in its own table, the client
		// gets 401 and signs in again.
		id: "U14", what: "changing a user's roles ends the user's tokens",
		alone: func(t *testing.T) {
			endsTokens(t, "roles = 'Auditor'", func(ctx context.Context, users *gormstore.Users, id string) error {
				return users.SetRoles(ctx, id, "Auditor")
			})
		},
	},
	{
		id: "U15", what: "an empty list of roles panics when the route is built",
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
					t.Errorf("%s: an empty list or name was accepted, want a panic", name)
				}
			}
		},
	},
	{
		id: "U16", what: "roles are compared exactly",
		run: func(t *testing.T, h *abuseHost) {
			for i, roles := range [][]string{{"administrator"}, {"ADMINISTRATOR"}, {"Administrator "}, {"Administratör"}, {"Administrator2", "Admin"}, {"\u0410dministrator"}, nil} {
				grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: fmt.Sprint("role", i), UserName: "x", Roles: roles}, nil)
				if err != nil {
					t.Fatal(err)
				}
				h.denies(t, roleMissing, 1, "GET", "/admin", "", "Authorization", "Bearer "+grant.AccessToken.Reveal())
			}
			h.admits(t, "GET", "/admin", "Authorization", "Bearer "+h.token)
		},
	},
	{
		id: "U17", what: "RequireRole authenticates each request by itself",
		run: func(t *testing.T, h *abuseHost) {
			h.denies(t, anonymous, 0, "GET", "/admin", "")
			h.denies(t, invalidToken, 0, "GET", "/admin", "", "Authorization", "Bearer x")
			h.denies(t, anonymous, 0, "GET", "/app", "")
			h.admits(t, "GET", "/admin", "Authorization", "Bearer "+h.token)

			// A request that a handler makes with its own context does not inherit
			// the token, as in a batch endpoint.
			reader := h.signIn(t, goodReader)
			batch := h.auth.RequireBearer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				for _, part := range []struct {
					path, bearer string
					status       int
					body         string // of a response with status 200
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
						t.Errorf("%s with the context of the administrator's request: got %d %s, want %d %s", part.path, w.Code, w.Body, part.status, part.body)
					}
				}
			}))
			request := httptest.NewRequest("POST", "/batch", nil)
			request.Header.Set("Authorization", "Bearer "+h.token)
			w := httptest.NewRecorder()
			if batch.ServeHTTP(w, request); w.Code != 200 {
				t.Errorf("POST /batch: got %d, want 200", w.Code)
			}
		},
	},
	{
		id: "U18", what: "FromContext returns no token on a route without a guard",
		run: func(t *testing.T, h *abuseHost) {
			found := func(r *http.Request) bool {
				token, ok := tokenauth.FromContext(r.Context())
				if !token.Digest.IsZero() || token.Principal.UserID != "" || len(token.Principal.Roles) > 0 {
					t.Errorf("FromContext returns the token %+v, want the zero Token", token)
				}
				return ok
			}
			var reached atomic.Int64
			handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				reached.Add(1)
				if found(r) {
					t.Error("FromContext returned a token")
				}
			})
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+h.token)
			handler.ServeHTTP(httptest.NewRecorder(), r)
			// Optional lets the request through as anonymous.
			h.auth.Optional(handler).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
			if reached.Load() != 2 {
				t.Errorf("the handler was called %d times, want 2", reached.Load())
			}
		},
	},
	{
		id: "U19", what: "a handler that changes its principal changes no other request's",
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
					}, nil)
					if err != nil {
						t.Fatal(err)
					}
					eventually(t, "the feed of the cache is alive", func() bool { return o.Cache == nil || h.auth.CacheStats().FeedAlive })
					var wg sync.WaitGroup
					for range 20 {
						wg.Go(func() {
							if a := h.me(t, grant.AccessToken.Reveal()); a.body != "[Reader] map[tenant:north]alice[Reader]" {
								t.Errorf("got %d %s, want the principal without the changes of other requests", a.StatusCode, a.body)
							}
						})
					}
					wg.Wait()
				})
			}
		}),
	},
	{
		id: "U20", what: "a replaced token is rejected at once by this replica, and within the lease by others",
		alone: onEngines(func(t *testing.T, on engine) {
			const lease = 2 * time.Second
			s := new(memory.Store)
			here := on.host(t, s, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
			there := on.host(t, s, directory{}, tokenauth.Options{Cache: &tokenauth.CacheOptions{Lease: lease}})
			for _, h := range []*abuseHost{here, there} {
				eventually(t, "the feed of the cache is alive", func() bool { return h.auth.CacheStats().FeedAlive })
			}
			for range 20 {
				old := here.signIn(t, grantFor("alice", otherPassword))
				for range 2 {
					here.welcomes(t, old, "at this replica")
					there.welcomes(t, old, "at the other replica")
				}
				accessToken := here.signIn(t, grantFor("alice", otherPassword))
				replaced := time.Now()
				here.refuses(t, replacedToken, old)
				there.welcomes(t, accessToken, "a new token, at the other replica")
				for asked := time.Now(); ; asked = time.Now() {
					if there.me(t, old).StatusCode == http.StatusUnauthorized {
						break
					}
					if asked.Sub(replaced) > lease {
						t.Fatalf("the replaced token was still valid after %v", asked.Sub(replaced))
					}
				}
				there.refuses(t, replacedToken, old)
			}
		}),
	},
	{
		id: "U21", what: "of a hundred concurrent sign-ins of one user all succeed, and one token stays valid",
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
					t.Errorf("GET /me: got %d %s, want 200 or 401", a.StatusCode, a.body)
				}
			}
			if good != 1 {
				t.Errorf("%d tokens are valid, want 1", good)
			}
			h.refuses(t, invalidToken, h.token) // invalid and not replaced: it was replaced long ago
		},
	},
	{
		id: "U22", what: "a user has one token per client",
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
				t.Errorf("the valid tokens by client are %v, want one each", good)
			}
			// A sign-in at one client does not end the token of the other.
			app := h.signIn(t, grantFor("alice", otherPassword)+"&client_id=app")
			other := h.signIn(t, grantFor("alice", otherPassword)+"&client_id=other")
			h.welcomes(t, app, "after a sign-in at another client")
			h.welcomes(t, other, "the token of the other client")
		}),
	},
	{
		id: "U23", what: "after a timed-out sign-in and a second one, the second token is valid",
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
			cancel() // the client gives up
			if err := <-left; !errors.Is(err, context.Canceled) {
				t.Fatalf("the first sign-in got the error %v, want context.Canceled", err)
			}
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			close(gone)
			h.server.Close() // waits for the first sign-in
			token, err := h.auth.Validate(t.Context(), accessToken)
			if err != nil || token.Digest != sha256.Sum256([]byte(accessToken)) || token.Digest == lost {
				t.Errorf("validating the second token: got error %v, want the second token", err)
			}
		}),
	},
	{
		// A client may send its GET twice. See Options.DisableGET.
		id: "U24", what: "a GET that a proxy repeats issues a second token, and that one is valid",
		run: func(t *testing.T, h *abuseHost) {
			first := accessTokenIn(t, h.tries(t, issued, "GET", "/Token", goodGrant, "Content-Type", "application/json"))
			second := accessTokenIn(t, h.tries(t, issued, "GET", "/Token", goodGrant, "Content-Type", "application/json"))
			h.denies(t, replacedToken, 1, "GET", "/me", "", "Authorization", "Bearer "+first)
			h.admits(t, "GET", "/me", "Authorization", "Bearer "+second)
		},
	},
	{
		id: "U25", what: "a token is valid until exactly the moment of its expiry",
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
		// expires_in is the remaining time when the answer is written, one second
		// less than the lifetime. The difference of .expires and .issued is exactly
		// the lifetime.
		id: "U26", what: "a token never ends before the time in its response",
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
					t.Fatalf("cannot parse .issued and .expires in %s: %v", a.body, err)
				}
				const lifetime = 14 * 24 * time.Hour
				if until.Sub(since) != lifetime || told.ExpiresIn != 1209599 || since.After(h.time()) {
					t.Errorf("issued %v after a full second: the response is %s", fraction, a.body)
				}
				accessToken := accessTokenIn(t, a)
				now := h.time()
				h.wait(time.Duration(told.ExpiresIn)*time.Second - 1)
				h.welcomes(t, accessToken, "just before the end of expires_in")
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
		id: "U27", what: "a system clock that steps back makes no expired token valid",
		unreachable: "a test cannot set the system clock back; TestClockNeverRunsBackwards in package tokenauth tests the clock of the service",
	},
	{
		id: "U28", what: "a replica whose clock is behind accepts the tokens of others and purges none",
		alone: onEngines(func(t *testing.T, on engine) {
			s := newStore(t, openDB(t, sqlite.open(t)), nil)
			ahead := on.host(t, s, directory{}, tokenauth.Options{Now: func() time.Time { return start }})
			behind := on.host(t, s, directory{}, tokenauth.Options{Now: func() time.Time { return start.Add(-30 * 24 * time.Hour) }})
			accessToken := ahead.signIn(t, grantFor("alice", otherPassword))
			behind.welcomes(t, accessToken, "a token issued a month in the future")
			if removed, err := behind.auth.Purge(t.Context()); removed != 0 || err != nil {
				t.Errorf("Purge removed %d tokens with error %v, want 0 without an error", removed, err)
			}
			behind.welcomes(t, accessToken, "after a purge")
			// A sign-in at the replica whose clock is behind works, too.
			later := behind.signIn(t, grantFor("alice", otherPassword))
			behind.welcomes(t, later, "a token issued at this replica")
			behind.refuses(t, replacedToken, accessToken)
			ahead.refuses(t, expiredToken, later)
		}),
	},
	{
		id: "U29", what: "a clock that jumps ahead ends tokens, but removes none for a day",
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
					t.Errorf("%v after the sign-in, Purge removed %d tokens with error %v, want 0", jump, removed, err)
				}
			}
			set(0)
			h.welcomes(t, accessToken, "when the clock is correct again")
			set(25*time.Hour + time.Second)
			if removed, err := h.auth.Purge(t.Context()); removed != 1 || err != nil {
				t.Errorf("25h1s after the sign-in, Purge removed %d tokens with error %v, want 1", removed, err)
			}
			h.refuses(t, invalidToken, accessToken)
		}),
	},
	{
		id: "U30", what: "the time zones of the process and the database change no time",
		alone: onDatabases(zones),
	},
	{
		id: "U31", what: "an invalid lifetime is refused by New, and zero means 14 days",
		alone: func(t *testing.T) {
			for _, lifetime := range []time.Duration{
				-1, -time.Hour, 1, time.Second, time.Minute - 1, time.Minute + 1, time.Minute + time.Millisecond,
				365*24*time.Hour + 1, 366 * 24 * time.Hour, 1<<63 - 1, -1 << 63,
			} {
				_, err := tokenauth.New(new(memory.Store), directory{}, &tokenauth.Options{Lifetime: lifetime})
				if err == nil || !strings.Contains(err.Error(), "Options.Lifetime") {
					t.Errorf("New with lifetime %v returns the error %v, want one that names Options.Lifetime", lifetime, err)
				}
			}
			for lifetime, want := range map[time.Duration]time.Duration{0: 14 * 24 * time.Hour, time.Minute: time.Minute, 365 * 24 * time.Hour: 365 * 24 * time.Hour} {
				auth, err := tokenauth.New(new(memory.Store), directory{}, &tokenauth.Options{Lifetime: lifetime})
				if err != nil {
					t.Fatal(err)
				}
				grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "1"}, nil)
				if err != nil || grant.Token.ExpiresAt.Sub(grant.Token.IssuedAt) != want {
					t.Errorf("lifetime %v: the token is %+v, error %v", lifetime, grant.Token, err)
				}
			}
		},
	},
	{
		id: "U32", what: "spellings of a name share an account and a counter, look-alikes do not",
		alone: onDatabases(spellings),
	},
	{
		id: "U33", what: "no two pairs of user and client share a slot",
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
						t.Errorf("the slot of %s has the same key for user and client", is)
					}
				}
			}
			// The tokens of all pairs are valid at the same time.
			tokens := make(map[string]string)
			for _, user := range names {
				for _, client := range []string{"", "a", "b", ":b", "a:b"} {
					if strings.Contains(user, "\x00") {
						continue // a storage need not support NUL in IDs
					}
					grant, err := h.auth.Issue(t.Context(), tokenauth.Principal{UserID: user, UserName: user + "@" + client}, &tokenauth.IssueOptions{ClientID: client})
					if err != nil {
						t.Fatal(err)
					}
					tokens[grant.AccessToken.Reveal()] = user + "@" + client
				}
			}
			for accessToken, name := range tokens {
				if a := h.me(t, accessToken); a.body != name {
					t.Errorf("GET /me with the token of %q: got %d %q", name, a.StatusCode, a.body)
				}
			}
		},
	},
	{
		id: "U34", what: "a route for one client refuses tokens of other clients",
		alone: onEngines(func(t *testing.T, on engine) {
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Clients: registry{"app": {ID: "app"}, "APP": {ID: "APP"}, "other": {ID: "other"}}})
			for _, client := range []string{"other", "APP"} {
				accessToken := h.signIn(t, grantFor("alice", otherPassword)+"&client_id="+client)
				h.welcomes(t, accessToken, client)
				handled := h.handled.Load()
				clientRefused.check(t, h.do(t, "GET", "/app", "", "Authorization", "Bearer "+accessToken))
				if h.handled.Load() != handled {
					t.Error("the handler was called for another client's token")
				}
			}
			h.admits(t, "GET", "/app", "Authorization", "Bearer "+h.signIn(t, grantFor("alice", otherPassword)+"&client_id=app"))
		}),
	},
	{
		id: "U35", what: "introspection of own, foreign, expired and malformed tokens",
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
					t.Errorf("introspection of a valid token: got %s", a.body)
				} else if exp, iat := unixIn(t, m[2]), unixIn(t, m[3]); exp-iat != 14*24*3600 || iat != h.time().Unix() {
					t.Errorf("introspection of a valid token: iat is %d and exp is %d", iat, exp)
				}
			}
			inactive := func(token, what string, by ...string) {
				t.Helper()
				if a := h.introspects(t, token, by...); a.body != `{"active":false}` {
					t.Errorf("introspection of %s: got %s, want inactive", what, a.body)
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
		id: "U36", what: "introspection by clients that are not authenticated or not allowed to introspect",
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
			// Without authentication, the answer is invalid_client, whatever else
			// is wrong.
			invalidClient.check(t, h.do(t, "POST", "/introspect", ""))
			app := basic("app", appSecret.Reveal())
			badRequest("The parameter token is missing.").check(t, h.do(t, "POST", "/introspect", "token=", app...))
			refusal(400, "unauthorized_client", "The client may not introspect tokens.").
				check(t, h.do(t, "POST", "/introspect", body, basic("desktop", appSecret.Reveal())...))
			for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS"} {
				if a := h.do(t, method, "/introspect", body, app...); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "POST" {
					t.Errorf("%s /introspect: got %d with Allow %s, want 405", method, a.StatusCode, a.Header.Get("Allow"))
				}
			}
			early := badRequest("Credentials belong in the body, never in the query.")
			early.closes = true
			early.check(t, h.do(t, "POST", "/introspect?"+body, "", app...))
		},
	},
	{
		id: "U37", what: "revocation of own, unknown and foreign tokens, twice, with a wrong hint, and without authentication",
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
				t.Errorf("GET /revoke: got %d with Allow %s, want 405 with POST", a.StatusCode, a.Header.Get("Allow"))
			}
			h.token = newer

			// Revoking forged tokens logs nothing, and does not suppress the log
			// line of a real revocation.
			elsewhere, err := tokenauth.New(new(memory.Store), directory{}, &tokenauth.Options{Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			madeUp, err := elsewhere.Issue(t.Context(), tokenauth.Principal{UserID: "1"}, &tokenauth.IssueOptions{ClientID: "web"})
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
				t.Errorf("%d revocations were logged, want 1: %s", n, h.log)
			}
		},
		alone: onEngines(func(t *testing.T, on engine) {
			// Without a registry of clients, having the token is enough to revoke
			// it.
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{})
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			h.revokes(t, accessToken, "")
			h.refuses(t, invalidToken, accessToken)
			h.revokes(t, accessToken, "client_id=whoever", basic("some", "body")...)
		}),
	},
	{
		id: "U38", what: "a revocation that the storage cannot do returns an error, and the token stays valid",
		run: func(t *testing.T, h *abuseHost) {
			for _, revoke := range map[string]func() error{
				"Revoke":     func() error { return h.auth.Revoke(t.Context(), h.token) },
				"RevokeUser": func() error { return h.auth.RevokeUser(t.Context(), "1") },
			} {
				h.storage.meet(fails)
				if err := revoke(); !errors.Is(err, tokenauth.ErrUnavailable) || errors.Is(err, tokenauth.ErrInvalidToken) {
					t.Errorf("revoking while the storage fails returns the error %v, want ErrUnavailable", err)
				}
				h.storage.meet(nil)
				h.admits(t, "GET", "/me", "Authorization", "Bearer "+h.token)
			}
			h.storage.meet(fails)
			unavailable.check(t, h.do(t, "POST", "/revoke", "token="+h.token))
			h.storage.meet(nil)
			h.admits(t, "GET", "/me", "Authorization", "Bearer "+h.token)
			for range 2 { // revoking twice returns no error
				if err := h.auth.Revoke(t.Context(), h.token); err != nil {
					t.Error(err)
				}
				h.refuses(t, invalidToken, h.token)
			}
		},
	},
	{
		id: "U39", what: "a concurrent sign-in and revocation have the result of one of their orders",
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
				// In both orders, the old token is invalid and the new one valid.
				if a := h.me(t, old); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("GET /me with the revoked token: got %d, want 401", a.StatusCode)
				}
				h.welcomes(t, accessToken, "a token issued during the revocation of the earlier one")

				// RevokeUser ends all tokens. The new token may have been issued
				// before it.
				wg.Go(func() {
					if err := h.auth.RevokeUser(t.Context(), "1"); err != nil {
						t.Error(err)
					}
				})
				var newer string
				wg.Go(func() { newer = h.signIn(t, goodGrant) })
				wg.Wait()
				if a := h.me(t, accessToken); a.StatusCode != http.StatusUnauthorized {
					t.Errorf("GET /me with a token from before RevokeUser: got %d, want 401", a.StatusCode)
				}
				_, err := h.storage.Store.Find(t.Context(), tokenauth.SlotOf("1", ""))
				holds := err == nil
				if good := h.me(t, newer).StatusCode == http.StatusOK; good != holds {
					t.Errorf("the new token is valid: %v; its slot holds a token: %v; want the same", good, holds)
				}
			}
			h.token = h.signIn(t, goodGrant)
		},
	},
}

// These hashes of the password "my password" are from the tests of ASP.NET
// Core.
const (
	aspnetV2 = "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg=="
	aspnetV3 = "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw=="
)

// hashedAs adds a user with a hash of "my password" from another application.
func hashedAs(t *testing.T, s *gormstore.Store, name, hash string) {
	t.Helper()
	if _, err := s.Users().Import(t.Context(), gormstore.User{Name: name}, hash); err != nil {
		t.Fatal(err)
	}
}

// storedHash returns the user's password hash in the table.
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
			t.Errorf("%s: after a wrong password the stored hash is %s, want it unchanged", name, got)
		}
		first := accessTokenIn(t, h.posts(t, issued, grantFor(name, "my password")))
		h.welcomes(t, first, "after the upgrade")
		upgraded := storedHash(t, db, name)
		if is := strings.HasPrefix(upgraded, "$argon2id$"); is == (name == "stuck") || !is && upgraded != hash {
			t.Errorf("%s: after the first sign-in the stored hash is %s", name, upgraded)
		}
		second := accessTokenIn(t, h.posts(t, issued, grantFor(name, "my password")))
		h.welcomes(t, second, "the second sign-in")
		h.refuses(t, replacedToken, first)
		if again := storedHash(t, db, name); again != upgraded {
			t.Errorf("%s: the second sign-in changed the stored hash from %s to %s", name, upgraded, again)
		}
		h.posts(t, rejected, grantFor(name, "My password"))
	}
	if log := told.String(); !strings.Contains(log, "it is stuck") || strings.Contains(log, aspnetV2) || strings.Contains(log, "$argon2id$") {
		t.Errorf("the log is %s, want the failed upgrade without any hash", log)
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
			t.Errorf("%s: %d tokens are valid and the stored hash is %s, want 1 and an Argon2id hash", name, good, hash)
		}
		h.welcomes(t, accessTokenIn(t, h.posts(t, issued, grantFor(name, "my password"))), "after the race")
		if got := storedHash(t, db, name); got != hash {
			t.Errorf("%s: a later sign-in changed the stored hash from %s to %s", name, hash, got)
		}
	}
}

// A registry is a tokenauth.ClientRegistry of clients by ID.
type registry map[string]tokenauth.Client

func (r registry) FindClient(_ context.Context, id string) (tokenauth.Client, error) {
	c, ok := r[id]
	if !ok {
		return c, tokenauth.ErrNotFound
	}
	return c, nil
}

// expectSame checks that two answers are equal in all bytes except Date.
func expectSame(t *testing.T, a, b answer) {
	t.Helper()
	one, two := a.Header.Clone(), b.Header.Clone()
	one.Del("Date")
	two.Del("Date")
	if a.StatusCode != b.StatusCode || a.Proto != b.Proto || a.body != b.body || fmt.Sprint(one) != fmt.Sprint(two) {
		t.Errorf("the answers differ: %d %v %s\nand %d %v %s", a.StatusCode, one, a.body, b.StatusCode, two, b.body)
	}
}

// expectUnusable signs in as a user with that hash. The client must get the
// answer for an unknown user, and the log must name the user.
func expectUnusable(t *testing.T, h *abuseHost, unknown answer, hash string) {
	t.Helper()
	// An account is named in the log once a minute, in all hosts of the process, so
	// each call uses a new one.
	id := rand.Text()
	name := "user of " + id[:8]
	h.users.set(func(accounts map[string]password.Account, _ *func(context.Context) error) {
		accounts[name] = password.Account{UserID: id, UserName: name, PasswordHash: hash}
	})
	logged := len(h.log.String())
	expectSame(t, unknown, h.tries(t, rejected, "POST", "/Token", grantFor(name, otherPassword)))
	if log := h.log.String()[logged:]; !strings.Contains(log, "user_id="+id) || hash != "" && strings.Contains(log, hash) {
		t.Errorf("with the stored hash %q the log is %q, want the user ID and no hash", hash, log)
	}
}

func panics(do func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	do()
	return
}

// changesWhileSigningIn changes a user between the check of the password and
// the write of the token.
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
				t.Fatal("the user was not changed during the sign-in")
			}
			if n := number(t, db, "SELECT count(*) FROM tokenauth_tokens"); n != 0 {
				t.Errorf("%d tokens are stored, want 0", n)
			}
			h.refuses(t, invalidToken, old)
		})
	}
}

// endsTokens changes a user and checks that the user's tokens end: by the
// methods of Users, with and without a cache, and by the SQL in set, with a
// live check.
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
			t.Error("the handler was called after the change")
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
				t.Fatalf("the token was still valid %v after the change", asked.Sub(changed))
			}
		}
		h.refuses(t, invalidToken, accessToken)
	})
}

// zones runs the process and the clock of the service in unusual time zones.
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
				t.Errorf("%v in %v: got %s, want %s", moment, place, a.body, want)
			}
			token, err := h.auth.Validate(t.Context(), accessTokenIn(t, a))
			if err != nil || !token.IssuedAt.Equal(since) || !token.ExpiresAt.Equal(until) || token.IssuedAt.Location() != time.UTC {
				t.Errorf("%v in %v: the token is valid from %v to %v, error %v", moment, place, token.IssuedAt, token.ExpiresAt, err)
			}
			var stored, expires int64
			row := poolOf(t, db).QueryRow("SELECT issued_at, expires_at FROM tokenauth_tokens")
			if err := row.Scan(&stored, &expires); err != nil || stored != since.Unix() || expires != until.Unix() {
				t.Errorf("%v in %v: stored are the times %d and %d, error %v", moment, place, stored, expires, err)
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

// spellings signs a user in under several spellings of the name, with correct
// and wrong passwords.
func spellings(t *testing.T, e sqlEngine) {
	s := newStore(t, openDB(t, e.open(t)), nil)
	for _, test := range []struct {
		name      string
		same, not []string
		alike     bool // whether the first entry of not differs only by an accent
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
					t.Errorf("signing in as %q gives the token %+v, %v, want one of the user", same, token.Principal, err)
				}
				if got := s.Users().NormalizeUserName(same); got != key {
					t.Errorf("%q is normalized to %q, want %q", same, got, key)
				}
			}
			for _, other := range test.not {
				h.posts(t, rejected, grantFor(other, otherPassword))
				if got := s.Users().NormalizeUserName(other); got == key {
					t.Errorf("%q is normalized to %q, want another name", other, got)
				}
				h.signIn(t, grantFor(test.name, otherPassword)) // resets the counter, which look-alikes share
			}
			// Five failures under different spellings reach the limit.
			for i := range 5 {
				h.posts(t, rejected, grantFor(test.same[i%len(test.same)], fmt.Sprint("wrong", i)))
			}
			a := h.do(t, "POST", "/Token", grantFor(test.name, otherPassword))
			a.expectError(t, http.StatusTooManyRequests, "temporarily_unavailable")
			// Names that differ only by an accent share the counter, even without
			// an account.
			a = h.do(t, "POST", "/Token", grantFor(test.not[0], otherPassword))
			if want := map[bool]int{true: http.StatusTooManyRequests, false: http.StatusBadRequest}[test.alike]; a.StatusCode != want {
				t.Errorf("sign-in as %q: got %d, want %d", test.not[0], a.StatusCode, want)
			}
			if err := s.Users().Delete(t.Context(), user.ID); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// introspects introspects a token, and checks the form of the answer.
func (h *abuseHost) introspects(t *testing.T, accessToken string, headers ...string) answer {
	t.Helper()
	a := h.do(t, "POST", "/introspect", "token="+accessToken, headers...)
	a.expectNoStore(t)
	if a.StatusCode != http.StatusOK || a.Header.Get("Content-Type") != "application/json;charset=UTF-8" {
		t.Errorf("POST /introspect: got %d %s, want 200 with JSON", a.StatusCode, a.body)
	}
	return a
}

// revokes revokes a token, which must succeed.
func (h *abuseHost) revokes(t *testing.T, accessToken, parameters string, headers ...string) {
	t.Helper()
	a := h.do(t, "POST", "/revoke", "token="+accessToken+"&"+parameters, headers...)
	a.expectNoStore(t)
	if a.StatusCode != http.StatusOK || a.body != "{}" {
		t.Errorf("POST /revoke: got %d %s, want 200 {}", a.StatusCode, a.body)
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
