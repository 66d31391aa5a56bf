package abuse_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/bearerkit/bearerkit/ginadapter"
	"github.com/bearerkit/bearerkit/storage/gormstore"
	"github.com/bearerkit/bearerkit/storage/memory"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/password"
	"github.com/bearerkit/bearerkit/tokenauth/prommetrics"
)

// Chapter L of the catalogue: secrets that must not leak.
var leakage = []situation{
	{
		id: "L01", what: "no password, token, header or client secret in a log, an error, an answer or the database",
		alone: func(t *testing.T) {
			t.Run("paths", onEngines(canariesOnEveryPath))
			t.Run("databases", onDatabases(canariesInADatabase))
		},
	},
	{
		id: "L02", what: "values with secrets print as [redacted] in every way",
		alone: secretsAreRedacted,
	},
	{
		id: "L03", what: "a SQL logger at debug level prints no bound values",
		alone: onDatabases(func(t *testing.T, e sqlEngine) {
			var printed journal
			db := openDB(t, e.open(t))
			db.Config.Logger = logger.New(slog.NewLogLogger(slog.NewTextHandler(&printed, nil), slog.LevelInfo), logger.Config{LogLevel: logger.Info, SlowThreshold: time.Nanosecond})
			s := newStore(t, db, nil)
			h := onHTTP.host(t, s, s.Users(), tokenauth.Options{
				Clients: s.Clients(), LiveCheck: s.Users().LiveCheck, Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 32))},
			})
			user := addUser(t, s, "alice", "Reader")
			secret, err := s.Clients().Create(t.Context(), tokenauth.Client{ID: "app"})
			if err != nil {
				t.Fatal(err)
			}
			body := grantFor("alice", otherPassword) + "&client_id=app&client_secret=" + secret.Reveal()
			accessToken := h.signIn(t, body)
			h.welcomes(t, accessToken, "with a SQL logger")
			h.posts(t, rejected, strings.Replace(body, "Tr0ub4dor", "wrong", 1))
			if err := s.Users().SetRoles(t.Context(), user.ID, "Auditor"); err != nil {
				t.Fatal(err)
			}
			if err := s.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret(adminPassword)); err != nil {
				t.Fatal(err)
			}
			if _, err := h.auth.Purge(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustExec(t, db, "SELECT count(*) FROM tokenauth_users WHERE name = ?", "a name that is printed")
			if !strings.Contains(printed.String(), "a name that is printed") {
				t.Fatalf("the SQL logger does not print bound values, so this test checks nothing: %s", &printed)
			}
			digest := sha256.Sum256([]byte(accessToken))
			for what, secret := range map[string]string{
				"token": accessToken, "digest": hex.EncodeToString(digest[:]), "raw digest": string(digest[:]),
				"hash": "$argon2id$", "password": otherPassword, "client secret": secret.Reveal(), "user": user.ID,
			} {
				if strings.Contains(printed.String(), secret) {
					t.Errorf("the SQL logger printed the %s: %s", what, &printed)
				}
			}
		}),
	},
	{
		id: "L04", what: "a panic in the host's code is 500, with the stack and nothing of the request in the log",
		alone: panicOfTheHost,
	},
	{
		id: "L05", what: "no token can be made from the database and the source code",
		alone: onDatabases(func(t *testing.T, e sqlEngine) {
			db := openDB(t, e.open(t))
			s := newStore(t, db, nil)
			h := onHTTP.host(t, s, s.Users(), tokenauth.Options{})
			addUser(t, s, "alice", "Administrator")
			h.signIn(t, grantFor("alice", otherPassword))
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			h.welcomes(t, accessToken, "before")
			values := valuesOf(t, db, "tokenauth_tokens", "tokenauth_users", "tokenauth_counters", "tokenauth_clients", "tokenauth_schema")
			var user, client []byte
			if err := poolOf(t, db).QueryRow("SELECT user_key, client_key FROM tokenauth_tokens").Scan(&user, &client); err != nil {
				t.Fatal(err)
			}
			slot := slices.Concat(user, client)
			tried := 0
			for _, value := range values {
				for _, bearer := range []string{
					string(value), hex.EncodeToString(value), base64.RawURLEncoding.EncodeToString(value),
					"tat_" + string(value), "tat_" + hex.EncodeToString(value), "tat_" + base64.RawURLEncoding.EncodeToString(value),
					// The token format is public, so an attacker can put values of
					// the database in place of the secret.
					forge(slot, value), forge(slot, digestOf(string(value))),
				} {
					if _, err := h.auth.Validate(t.Context(), bearer); !errors.Is(err, tokenauth.ErrInvalidToken) || errors.Is(err, tokenauth.ErrReplacedToken) {
						t.Errorf("forged token %q: Validate returns %v, want ErrInvalidToken", bearer, err)
					}
					tried++
				}
			}
			if tried < 100 {
				t.Errorf("only %d forged tokens were tried", tried)
			}
			// The forged tokens have the right form: one of them is valid once its
			// digest is in the database.
			good := forge(slot, bytes.Repeat([]byte{1}, 32))
			mustExec(t, db, "UPDATE tokenauth_tokens SET digest = ?", digestOf(good))
			h.welcomes(t, good, "with its digest in the database")
		}),
	},
	{
		id: "L06", what: "an attacker with write access to the database inserts a token",
		unreachable: "the storage decides which tokens are valid, and no secret outside the database signs rows; the threat model must state this limit",
	},
	{
		id: "L07", what: "the response time does not depend on the account",
		alone: func(t *testing.T) {
			var names []string
			for name := range hashCases {
				names = append(names, name)
			}
			expectHashes(t, names...)
			t.Run("timing", timing)
		},
	},
	{
		id: "L08", what: "descriptions of refusals are constants, whatever the request",
		run: refusalsAreConstants,
	},
	{
		id: "L09", what: "no cache stores a token, not even an HTTP/1.0 cache",
		run: func(t *testing.T, h *abuseHost) {
			h.tries(t, issued, "GET", "/Token", goodGrant) // tries checks the headers
			all := h.raw(t, fmt.Sprintf("GET /Token HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s", len(goodGrant), goodGrant))
			for _, header := range []string{"\r\nCache-Control: no-store\r\n", "\r\nPragma: no-cache\r\n"} {
				if !strings.Contains(all, " 200 OK\r\n") || !strings.Contains(all, header) {
					t.Errorf("the answer lacks the header %q: %s", header, all)
				}
			}
			for _, header := range []string{"\r\nExpires:", "\r\nETag:", "\r\nLast-Modified:", "max-age"} {
				if strings.Contains(all, header) {
					t.Errorf("the answer has the header %q: %s", header, all)
				}
			}
			h.token = h.signIn(t, goodGrant)
		},
	},
	{
		id: "L10", what: "a sign-in form on another site does not change the visitor's session",
		run: func(t *testing.T, h *abuseHost) {
			a := h.tries(t, issued, "POST", "/Token", goodGrant, "Origin", "https://evil.example", "Content-Type", "application/x-www-form-urlencoded",
				"Sec-Fetch-Site", "cross-site", "Cookie", "session=victim")
			a.expectHeaders(t, map[string]string{
				"Set-Cookie": "", "Access-Control-Allow-Origin": "", "Access-Control-Allow-Credentials": "", "Location": "", "Refresh": "",
			})
			// A token in a cookie has no effect.
			h.denies(t, anonymous, 0, "GET", "/me", "", "Cookie", "access_token="+h.token+"; Authorization=Bearer "+h.token)
		},
	},
	{
		id: "L11", what: "a browser that remembers a Basic login gets no token from /Token",
		run: func(t *testing.T, h *abuseHost) {
			basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+adminPassword))
			for _, accept := range []string{"text/html", "*/*"} {
				h.tries(t, badRequest("The parameter grant_type is missing."), "GET", "/Token", "", "Authorization", basic, "Accept", accept)
			}
			// The guards never challenge for Basic authentication.
			h.denies(t, anonymous, 0, "GET", "/me", "", "Authorization", basic, "Accept", "text/html")
		},
	},
	{
		id: "L12", what: "a token in the URL is ignored",
		run: func(t *testing.T, h *abuseHost) {
			for _, query := range []string{"?access_token=", "?token=", "?bearer_token=", "?Authorization=Bearer+"} {
				h.denies(t, anonymous, 0, "GET", "/me"+query+h.token, "")
			}
			h.tries(t, early(400, "Credentials belong in the body, never in the query."), "POST", "/Token?access_token="+h.token, goodGrant)
		},
	},
	{
		id: "L13", what: "metrics have no labels with secret or unbounded values",
		alone: onEngines(func(t *testing.T, on engine) {
			metrics := prommetrics.New()
			h := on.host(t, new(memory.Store), directory{}, tokenauth.Options{Observers: []func(context.Context, tokenauth.Event){metrics.Observe}, Cache: &tokenauth.CacheOptions{}})
			accessToken := h.signIn(t, grantFor("alice", otherPassword))
			h.welcomes(t, accessToken, "with metrics")
			for i := range 20 {
				h.do(t, "POST", "/Token", grantFor(fmt.Sprint("nobody", i), "x"), "X-Forwarded-For", fmt.Sprint("192.0.2.", i), "User-Agent", fmt.Sprint("agent", i))
				h.me(t, fmt.Sprint("tat_nonsense", i))
			}
			registry := prometheus.NewRegistry()
			registry.MustRegister(metrics, metrics.Cache(h.auth))
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			values := make(map[string]bool)
			for _, family := range families {
				for _, metric := range family.GetMetric() {
					for _, label := range metric.GetLabel() {
						if name := label.GetName(); !slices.Contains([]string{"kind", "reason", "result"}, name) {
							t.Errorf("the metric %s has the label %s", family.GetName(), name)
						}
						values[label.GetValue()] = true
					}
				}
			}
			if len(values) < 5 || len(values) > 40 {
				t.Errorf("the labels have the values %v, want between 5 and 40 values", values)
			}
			stats := reflect.TypeFor[tokenauth.CacheStats]()
			for i := range stats.NumField() {
				switch f := stats.Field(i); f.Type.Kind() {
				case reflect.Uint64, reflect.Int, reflect.Bool:
				default:
					t.Errorf("CacheStats.%s has type %s, want a number or a bool", f.Name, f.Type)
				}
			}
			for _, path := range dependencies(t, "../../ginadapter", "..", "../password") {
				for _, part := range []string{"prometheus", "opentelemetry", "expvar", "statsd"} {
					if strings.Contains(path, part) {
						t.Errorf("the core imports %s", path)
					}
				}
			}
		}),
	},
	{
		// The service never logs user names as they were typed, so it need not
		// truncate them.
		id: "L14", what: "a user name cannot add line breaks, colours or directions to a log",
		run: func(t *testing.T, h *abuseHost) {
			h.storage.meet(failsIn("Replace", "UpdateCounters"))
			for _, name := range []string{
				"admin\nlevel=ERROR msg=forged", "a\r\nb", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\x00b", "\u009b31m",
				strings.Repeat("\u202e", 85), strings.Repeat("\u0627", 128), "\u2028line\u2029paragraph", "$(reboot)", "${jndi:ldap://x}", "%s%n%d",
			} {
				logged := len(h.log.String())
				h.do(t, "POST", "/Token", grantFor(name, adminPassword))
				for line := range strings.Lines(h.log.String()[logged:]) {
					if !strings.HasPrefix(line, "time=") || strings.ContainsAny(line, "\x1b\x00\u202e\u2028\u2029\u0627\u009b\r") || strings.Contains(line, "forged") || strings.Contains(line, "jndi") {
						t.Errorf("the user name %q writes the log line %q", name, line)
					}
				}
			}
			h.storage.meet(nil)
		},
	},
	{
		id: "L15", what: "a dependency with another checksum is not built",
		alone: checksums,
	},
	{
		// Known vulnerabilities are not tested here, because that needs a current
		// database from the network. Run a scanner such as govulncheck every day.
		id: "L16", what: "few dependencies, each for a documented reason",
		alone: func(t *testing.T) {
			reasons := map[string]string{
				"github.com/coder/websocket":             "examples and tests",
				"github.com/gin-gonic/gin":               "ginadapter",
				"github.com/google/uuid":                 "the IDs of gormstore's users",
				"github.com/jackc/pgx/v5":                "gormstore/pgxfeed, and tests",
				"github.com/redis/rueidis":               "redisstore",
				"github.com/prometheus/client_golang":    "prommetrics",
				"github.com/prometheus/client_model":     "tests",
				"github.com/goccy/go-yaml":               "tests",
				"github.com/chromedp/chromedp":           "tests",
				"github.com/chromedp/cdproto":            "tests",
				"github.com/pb33f/libopenapi":            "tests",
				"github.com/pb33f/libopenapi-validator":  "tests",
				"go.opentelemetry.io/otel":               "oteltrace",
				"go.opentelemetry.io/otel/trace":         "oteltrace",
				"go.opentelemetry.io/otel/sdk":           "tests",
				"go.etcd.io/bbolt":                       "examples",
				"github.com/golang-jwt/jwt/v5":           "examples",
				"github.com/pquerna/otp":                 "examples",
				"golang.org/x/net":                       "tests",
				"golang.org/x/oauth2":                    "tests",
				"golang.org/x/sync":                      "examples",
				"golang.org/x/crypto":                    "argon2 and bcrypt, in package password",
				"golang.org/x/text":                      "PRECIS, for gormstore's user names",
				"gorm.io/gorm":                           "gormstore",
				"gorm.io/driver/postgres":                "examples and tests",
				"gorm.io/driver/mysql":                   "examples and tests",
				"github.com/go-sql-driver/mysql":         "examples and tests",
				"github.com/ncruces/go-sqlite3":          "examples and tests",
				"github.com/ncruces/go-sqlite3/gormlite": "examples and tests",
				"gorm.io/plugin/dbresolver":              "tests",
			}
			var mod struct {
				Require []struct {
					Path     string
					Indirect bool
				}
				Replace []struct{}
			}
			if err := json.Unmarshal(goCommand(t, "", "mod", "edit", "-json", "../../go.mod"), &mod); err != nil {
				t.Fatal(err)
			}
			direct := 0
			for _, required := range mod.Require {
				if required.Indirect {
					continue
				}
				direct++
				if reasons[required.Path] == "" {
					t.Errorf("go.mod requires %s, for which this test has no reason", required.Path)
				}
			}
			if direct < 5 || len(mod.Replace) > 0 {
				t.Errorf("go.mod requires %d modules directly and replaces %d", direct, len(mod.Replace))
			}
			for _, path := range dependencies(t, "..") {
				if strings.Contains(strings.SplitN(path, "/", 2)[0], ".") && !strings.HasPrefix(path, "github.com/bearerkit/bearerkit/tokenauth") && !strings.HasPrefix(path, "golang.org/x/crypto/") {
					t.Errorf("the core imports %s", path)
				}
			}
		},
	},
	{
		id: "L18", what: "an insecure or impossible configuration is refused by an error that names the field",
		alone: weakConfigurations,
	},
	{
		id: "L19", what: "imports have no side effects, and goroutines of a service end with Run",
		alone: func(t *testing.T) {
			t.Run("imports", importsDoNothing)
			t.Run("goroutines", func(t *testing.T) {
				// synctest.Test returns only after all goroutines of the bubble
				// have ended.
				synctest.Test(t, func(t *testing.T) {
					auth, err := tokenauth.New(new(memory.Store), directory{}, &tokenauth.Options{Cache: &tokenauth.CacheOptions{}, Logger: slog.New(slog.DiscardHandler)})
					if err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					ended := make(chan error)
					go func() { ended <- auth.Run(ctx) }()
					synctest.Wait()
					grant, err := auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(otherPassword)})
					if err != nil {
						t.Fatal(err)
					}
					if _, err := auth.Validate(ctx, grant.AccessToken.Reveal()); err != nil || !auth.CacheStats().FeedAlive {
						t.Errorf("Validate returns %v; the statistics of the cache are %+v", err, auth.CacheStats())
					}
					time.Sleep(25 * time.Hour) // fake time of the bubble
					cancel()
					if err := <-ended; err != nil {
						t.Error(err)
					}
				})
			})
		},
	},
	{
		id: "L20", what: "the code builds for 32 bits, big endian, without cgo and for WebAssembly",
		alone: otherSystems,
	},
}

// The canaries are secrets whose texts occur nowhere else.
const (
	canaryPassword = "canary-Pa55word-of-alice"
	canaryWrong    = "canary-wr0ng-of-alice"
)

// A catcher searches the output of a service for secrets.
type catcher struct {
	secrets map[string]string // kinds of secrets by their texts
}

func newCatcher() *catcher {
	c := &catcher{make(map[string]string)}
	c.add("password", canaryPassword)
	c.add("wrong password", canaryWrong)
	return c
}

// add makes the catcher search for the secret in each of its encodings.
func (c *catcher) add(what, secret string) {
	for _, shape := range []string{
		secret, base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		hex.EncodeToString([]byte(secret)), strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
	} {
		c.secrets[shape] = what
	}
}

// addBasic makes the catcher search for a Basic header, and returns it.
func (c *catcher) addBasic(user, password string) string {
	header := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	c.secrets[header] = "Basic header"
	return "Basic " + header
}

func (c *catcher) look(t *testing.T, where, text string) {
	t.Helper()
	for secret, what := range c.secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s contains the %s: %.300s", where, what, text)
		}
	}
}

// canariesOnEveryPath sends secrets on every path of a request. The storage and
// the users put all they know into errors and panics. The host logs as Gin does
// by default.
func canariesOnEveryPath(t *testing.T, on engine) {
	caught := newCatcher()
	var mode atomic.Value // the method that fails or panics
	mode.Store("")
	failure := func(where string) error {
		switch mode.Load() {
		case where:
			return errStorage
		case "panic in " + where:
			panic(errStorage)
		}
		return nil
	}
	s := &meddler{before: func(_ context.Context, call string) error { return failure(call) }}
	s.watch = func(ctx context.Context, beat time.Duration, feed tokenauth.Invalidator) error {
		for ctx.Err() == nil {
			if err := failure("Watch"); err != nil {
				return err
			}
			feed.Heartbeat(time.Now())
			pause(ctx, beat)
		}
		return ctx.Err()
	}
	clientSecret := tokenauth.NewSecret(rand.Text())
	clientDigest := tokenauth.Digest(sha256.Sum256([]byte(clientSecret.Reveal())))
	caught.add("client secret", clientSecret.Reveal())
	clients := registry{"app": {ID: "app", Secrets: []tokenauth.Digest{clientDigest}}}
	users := leaky{failure}
	h := on.host(t, s, users, tokenauth.Options{
		Clients: clients, Cache: &tokenauth.CacheOptions{Lease: 100 * time.Millisecond},
		Throttle:  tokenauth.ThrottleOptions{PerAccountAndSource: 1000, PerAccount: 1000, PerSource: 100_000},
		LiveCheck: func(context.Context, tokenauth.Token) error { return failure("LiveCheck") },
		Timeout:   100 * time.Millisecond,
	})
	basic := caught.addBasic("app", clientSecret.Reveal())
	wrongBasic := caught.addBasic("app", canaryWrong)
	good := grantFor("alice", canaryPassword)
	accessToken := accessTokenIn(t, h.do(t, "POST", "/Token", good, "Authorization", basic))
	caught.add("access token", accessToken)

	type sent struct {
		method, path, body string
		headers            []string
	}
	requests := []sent{
		{"POST", "/Token", good, []string{"Authorization", basic}},
		{"GET", "/Token", good + "&client_id=app&client_secret=" + clientSecret.Reveal(), nil},
		{"POST", "/Token", grantFor("alice", canaryWrong), []string{"Authorization", basic}},
		{"POST", "/Token", grantFor(canaryPassword, canaryWrong), []string{"Authorization", basic}}, // a password sent as the user name
		{"POST", "/Token", good, []string{"Authorization", wrongBasic}},
		{"POST", "/Token", good + "&client_id=app&client_secret=" + canaryWrong, nil},
		{"POST", "/Token", good + "&password=" + canaryWrong, []string{"Authorization", basic}},
		{"POST", "/Token", good + "&x=%zz", []string{"Authorization", basic}},
		{"POST", "/Token", "{\"password\":\"" + canaryPassword + "\"}", nil},
		{"POST", "/Token", good, []string{"Authorization", basic, "Authorization", "Bearer " + accessToken}},
		{"POST", "/Token", good, []string{"Authorization", "Basic " + canaryPassword}},
		{"POST", "/Token", good, []string{"Content-Encoding", "gzip"}},
		{"POST", "/Token", good, []string{"Content-Type", "multipart/form-data; boundary=" + canaryPassword}},
		{"POST", "/Token", good + strings.Repeat("&x="+canaryPassword, 400), nil},
		{"PUT", "/Token", good, []string{"Authorization", basic}},
		{"HEAD", "/Token", "", []string{"Authorization", basic}},
		{"POST", "/Token/", good, []string{"Authorization", basic}},
		{"GET", "/me", "", []string{"Authorization", "Bearer " + accessToken}},
		{"GET", "/admin", "", []string{"Authorization", "Bearer " + accessToken}},
		{"GET", "/app", "", []string{"Authorization", "Bearer " + accessToken}},
		{"GET", "/open", "", []string{"Authorization", "Bearer " + accessToken}},
		{"GET", "/me", "", []string{"Authorization", "Bearer " + accessToken + "x"}},
		{"GET", "/me", "", []string{"Authorization", "Bearer " + accessToken + " " + accessToken}},
		{"GET", "/me", "", []string{"Authorization", accessToken}},
		{"GET", "/me", "", []string{"Authorization", basic}},
		{"GET", "/me", "", []string{"Cookie", "token=" + accessToken}},
	}
	methods := []string{"Find", "Replace", "Revoke", "RevokeUser", "Watch", "Authenticate", "Recheck", "LiveCheck"}
	modes := []string{"", "rejected in Recheck"}
	for _, method := range methods {
		modes = append(modes, method, "panic in "+method)
	}
	grants := 0
	for _, m := range modes {
		mode.Store(m)
		if strings.HasSuffix(m, "Watch") {
			eventually(t, "the feed is lost", func() bool { return !h.auth.CacheStats().FeedAlive })
		}
		for _, r := range requests {
			a := h.do(t, r.method, r.path, r.body, r.headers...)
			text := a.body
			if a.StatusCode == http.StatusOK && strings.EqualFold(r.path, "/Token") {
				grants++
				issued.check(t, a)
				caught.add("access token", accessTokenIn(t, a))
				text = ""
			}
			caught.look(t, "the answer to "+r.method+" "+r.path, text+fmt.Sprint(a.Header))
		}
		for what, call := range map[string]func(ctx context.Context) error{
			"SignIn": func(ctx context.Context) error {
				_, err := h.auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(canaryPassword), ClientID: "app", ClientSecret: clientSecret})
				return err
			},
			"SignIn of another client": func(ctx context.Context) error {
				_, err := h.auth.SignIn(ctx, tokenauth.Credentials{UserName: "alice", Password: tokenauth.NewSecret(canaryPassword), ClientID: "app", ClientSecret: tokenauth.NewSecret(canaryWrong)})
				return err
			},
			"Issue": func(ctx context.Context) error {
				_, err := h.auth.Issue(ctx, tokenauth.Principal{UserID: canaryPassword + "\x00"}, nil)
				return err
			},
			"Validate":     func(ctx context.Context) error { _, err := h.auth.Validate(ctx, accessToken); return err },
			"Revoke":       func(ctx context.Context) error { return h.auth.Revoke(ctx, accessToken) },
			"RevokeUser":   func(ctx context.Context) error { return h.auth.RevokeUser(ctx, "nobody") },
			"RevokeClient": func(ctx context.Context) error { return h.auth.RevokeClient(ctx, "nobody") },
			"Purge":        func(ctx context.Context) error { _, err := h.auth.Purge(ctx); return err },
			"Unthrottle":   func(ctx context.Context) error { return h.auth.Unthrottle(ctx, canaryPassword) },
		} {
			func() {
				defer func() { caught.look(t, "what "+what+" panics with", fmt.Sprint(recover())) }()
				ctx, cancel := context.WithCancel(t.Context())
				if m == "" && what != "Purge" {
					cancel() // as if the client had disconnected
				}
				defer cancel()
				if err := call(ctx); err != nil {
					caught.look(t, "the error of "+what, fmt.Sprintf("%v %+v %#v %q", err, err, err, err))
				}
			}()
		}
	}
	if grants == 0 {
		t.Error("no sign-in succeeded")
	}
	log := h.log.String()
	if strings.Count(log, "\n") < 20 || !strings.Contains(log, "panic") || !strings.Contains(log, "feed of changes is lost") {
		t.Errorf("the log lacks lines that this test expects: %.3000s", log)
	}
	caught.look(t, "the log", log)
	caught.look(t, "the server's log", h.serverLog.String())
	for what, v := range map[string]any{"the service": h.auth, "a client": clients["app"], "the options": tokenauth.Options{Clients: clients}} {
		caught.look(t, what, fmt.Sprintf("%v %+v %#v", v, v, v))
	}
}

// leaky is an Authenticator whose errors contain its arguments.
type leaky struct{ failure func(where string) error }

func (l leaky) Authenticate(_ context.Context, c tokenauth.Credentials) (tokenauth.Principal, error) {
	if err := l.failure("Authenticate"); err != nil {
		c.UserName = "" // it may be a password, and fmt prints it
		return tokenauth.Principal{}, fmt.Errorf("directory: binding with %+v: %w", c, err)
	}
	if c.Password.Reveal() != canaryPassword {
		return tokenauth.Principal{}, fmt.Errorf("%w: %v", tokenauth.ErrRejected, c)
	}
	return tokenauth.Principal{UserID: "1", UserName: "alice", Roles: []string{"Administrator"}}, nil
}

func (l leaky) Recheck(context.Context, tokenauth.Principal) error { return l.failure("Recheck") }

// canariesInADatabase searches all values in a database for secrets.
func canariesInADatabase(t *testing.T, e sqlEngine) {
	caught := newCatcher()
	d := e.open(t)
	db := openDB(t, d)
	var printed journal
	talkative := slog.New(slog.NewTextHandler(&printed, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := newStore(t, db, &gormstore.Options{Passwords: &password.Options{Logger: talkative}})
	h := onHTTP.host(t, s, s.Users(), tokenauth.Options{
		Clients: s.Clients(), Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("key of throttle ", 2))},
	})
	caught.add("key of the throttle", "key of throttle ")
	clientSecret, err := s.Clients().Create(t.Context(), tokenauth.Client{ID: "app"})
	if err != nil {
		t.Fatal(err)
	}
	caught.add("client secret", clientSecret.Reveal())
	user, err := s.Users().Import(t.Context(), gormstore.User{Name: "alice"}, hashOf(canaryPassword))
	if err != nil {
		t.Fatal(err)
	}
	client := "&client_id=app&client_secret=" + clientSecret.Reveal()
	for range 2 {
		a := h.posts(t, issued, grantFor("alice", canaryPassword)+client)
		caught.add("access token", accessTokenIn(t, a))
		secret := accessTokenIn(t, a)[len("tat_")+44 : len("tat_")+86] // the secret part of the token
		caught.add("secret of an access token", secret)
	}
	h.posts(t, rejected, grantFor("alice", canaryWrong)+client)
	h.posts(t, rejected, grantFor(canaryWrong, canaryWrong)+client) // a password sent as the user name
	rotated, err := s.Clients().RotateSecret(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	caught.add("client secret", rotated.Reveal())
	values := valuesOf(t, db, "tokenauth_tokens", "tokenauth_users", "tokenauth_counters", "tokenauth_clients", "tokenauth_schema")
	if len(values) < 40 {
		t.Errorf("the tables have only %d values", len(values))
	}
	for _, value := range values {
		caught.look(t, "the database", string(value))
	}
	// Errors of the database quote the values of a statement.
	mustExec(t, db, "DROP TABLE tokenauth_tokens")
	h.posts(t, unavailable, grantFor("alice", canaryPassword)+client)
	mustExec(t, db, "DROP TABLE tokenauth_counters")
	h.posts(t, unavailable, grantFor("alice", canaryPassword)+client)
	mustExec(t, db, "UPDATE tokenauth_users SET password_hash = ?", canaryPassword) // as plain text
	h.posts(t, rejected, grantFor("alice", canaryPassword)+client)
	mustExec(t, db, "DROP TABLE tokenauth_users")
	a := h.posts(t, unavailable, grantFor("alice", canaryPassword)+client)
	caught.look(t, "the answer", a.body)
	if err := s.Users().SetPassword(t.Context(), user.ID, tokenauth.NewSecret(canaryPassword)); err == nil {
		t.Error("SetPassword returned no error although the table is gone")
	} else {
		caught.look(t, "the error of SetPassword", err.Error())
	}
	if _, err := s.Users().Create(t.Context(), gormstore.User{Name: canaryWrong + " "}, tokenauth.NewSecret(canaryPassword)); err == nil {
		t.Error("Create returned no error although the table is gone")
	} else {
		caught.look(t, "the error of Create", err.Error())
	}
	if h.log.String() == "" || printed.String() == "" {
		t.Error("one of the logs is empty")
	}
	caught.look(t, "the log", h.log.String())
	caught.look(t, "the log of the users", printed.String())
	for what, v := range map[string]any{"the store": s, "the users": s.Users(), "the clients": s.Clients(), "a user": user} {
		caught.look(t, what, fmt.Sprintf("%v %+v", v, v))
	}
}

// valuesOf returns all values of the tables.
func valuesOf(t *testing.T, db *gorm.DB, tables ...string) (values [][]byte) {
	t.Helper()
	for _, table := range tables {
		rows, err := poolOf(t, db).Query("SELECT * FROM " + table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row := make([][]byte, len(columns))
			targets := make([]any, len(columns))
			for i := range row {
				targets[i] = &row[i]
			}
			if err := rows.Scan(targets...); err != nil {
				t.Fatal(err)
			}
			values = append(values, row...)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return values
}

// forge makes an access token with the slot and the given bytes as its secret.
func forge(slot, secret []byte) string {
	return withChecksum(slices.Concat([]byte{1}, slot, slices.Concat(secret, make([]byte, 32))[:32]))
}

func digestOf(accessToken string) []byte {
	sum := sha256.Sum256([]byte(accessToken))
	return sum[:]
}

// secretsAreRedacted prints values with secrets in every way that fmt, slog and
// encoders offer.
func secretsAreRedacted(t *testing.T) {
	caught := newCatcher()
	secret, wrong := tokenauth.NewSecret(canaryPassword), tokenauth.NewSecret(canaryWrong)
	s := new(memory.Store)
	o := tokenauth.Options{Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(canaryPassword + canaryWrong)}}
	auth, err := tokenauth.New(&abuseStore{}, directory{}, &o)
	if err != nil {
		t.Fatal(err)
	}
	grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "1", UserName: "alice", Roles: []string{"Reader"}, Stamp: "stamp"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	caught.add("access token", grant.AccessToken.Reveal())
	clientSecret := tokenauth.NewSecret(rand.Text())
	digest := tokenauth.Digest(sha256.Sum256([]byte(clientSecret.Reveal())))
	caught.add("client secret", clientSecret.Reveal())
	db := openDB(t, sqlite.open(t))
	store := newStore(t, db, nil)
	credentials := tokenauth.Credentials{UserName: "alice", Password: secret, ClientID: "app", ClientSecret: clientSecret}
	type hosts struct { // an unexported field: fmt calls no methods on it
		secret      tokenauth.Secret
		grant       tokenauth.IssuedToken
		credentials tokenauth.Credentials
	}
	values := map[string]any{
		"Secret": secret, "pointer to a Secret": &secret, "empty Secret": tokenauth.Secret{},
		"Grant": grant, "pointer to a Grant": &grant, "Token": grant.Token, "Principal": grant.Token.Principal,
		"Credentials": credentials, "pointer to Credentials": &credentials,
		"Client":  tokenauth.Client{ID: "app", Secrets: []tokenauth.Digest{digest}},
		"Options": o, "pointer to Options": &o, "ThrottleOptions": o.Throttle,
		"Service": auth, "memory Store": s, "Store": store, "Users": store.Users(), "Clients": store.Clients(),
		"password.Options": password.Options{}, "a host's struct": hosts{secret, grant, credentials}, "a host's pointer": &hosts{secret, grant, credentials},
		"map": map[string]tokenauth.Secret{"password": secret}, "key": map[tokenauth.Secret]int{secret: 1}, "slice": []tokenauth.Secret{secret, wrong},
		"array": [1]tokenauth.IssuedToken{grant}, "error": fmt.Errorf("signing in %v: %w", credentials, errStorage),
	}
	for what, v := range values {
		for _, verb := range strings.Split("%v,%+v,%#v,%s,%q,%x,%X,% x,%#x,%d,%o,%b,%c,%U,%e,%g,%t,%T,%p,%w,%z", ",") {
			caught.look(t, what+" by "+verb, fmt.Sprintf(verb, v))
		}
		caught.look(t, what+" by Println", fmt.Sprintln(v))
		if b, err := json.Marshal(v); err == nil {
			caught.look(t, what+" in JSON", string(b))
		}
		var b bytes.Buffer
		if err := gob.NewEncoder(&b).Encode(v); err == nil {
			caught.look(t, what+" in gob", b.String())
		}
		for _, handler := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(handler).Info("", "v", v, slog.Group("g", "v", v), "values", []any{v})
			slog.New(handler).With("v", v).Info("")
		}
		caught.look(t, what+" in slog", b.String())
	}
	for what, v := range map[string]any{"Secret": secret, "Grant": grant, "Credentials": credentials, "key of the throttle": o.Throttle.Key} {
		if text := fmt.Sprint(v); !strings.Contains(text, "[redacted]") {
			t.Errorf("%s prints as %s, want no secret", what, text)
		}
	}
}

// panicOfTheHost makes the host's code panic behind Gin's logger and recovery,
// in the order of gin.Default.
func panicOfTheHost(t *testing.T) {
	var ginLog journal
	for name, on := range map[string]engine{
		"net-http": onHTTP,
		"gin": {"gin", func(h *abuseHost, who http.HandlerFunc) http.Handler {
			r := gin.New()
			r.Use(gin.LoggerWithWriter(&ginLog), gin.RecoveryWithWriter(&ginLog))
			ginadapter.Mount(r, h.auth)
			r.Any("/me", ginadapter.RequireBearer(h.auth), gin.WrapF(who))
			r.Any("/open", ginadapter.Optional(h.auth), gin.WrapF(who))
			return r
		}},
	} {
		t.Run(name, func(t *testing.T) {
			caught := newCatcher()
			var panicking atomic.Bool
			failure := func(where string) error {
				if panicking.Load() {
					panic(where + " of " + canaryPassword)
				}
				return nil
			}
			h := on.host(t, new(memory.Store), leaky{failure}, tokenauth.Options{LiveCheck: func(context.Context, tokenauth.Token) error { return failure("live check") }})
			accessToken := h.signIn(t, grantFor("alice", canaryPassword))
			caught.add("access token", accessToken)
			panicking.Store(true)
			body := grantFor("alice", canaryPassword)
			for _, request := range []string{
				fmt.Sprintf("POST /Token HTTP/1.1\r\nHost: x\r\nX-Canary: %s\r\nContent-Length: %d\r\n\r\n%s", canaryWrong, len(body), body),
				fmt.Sprintf("GET /me HTTP/1.1\r\nHost: x\r\nX-Canary: %s\r\nAuthorization: Bearer %s\r\n\r\n", canaryWrong, accessToken),
			} {
				handled, logged := h.handled.Load(), len(h.log.String())
				// The server must not read a second request on the connection.
				all := h.raw(t, request, "GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
				if !strings.HasPrefix(all, "HTTP/1.1 500 ") || strings.Count(all, "HTTP/1.1 ") != 1 || !strings.Contains(all, "\r\nConnection: close\r\n") ||
					!strings.Contains(all, `{"error":"server_error","error_description":"The server met an unexpected condition."`) {
					t.Errorf("got %s, want one answer with status 500 and Connection: close", all)
				}
				if h.handled.Load() != handled {
					t.Error("a handler was called")
				}
				caught.look(t, "the answer", all)
				if log := h.log.String()[logged:]; !strings.Contains(log, "goroutine") || !strings.Contains(log, "leaky") && !strings.Contains(log, "panicOfTheHost") || strings.Contains(log, "alice") || strings.Contains(log, "HTTP/1.1") {
					t.Errorf("the log lacks the stack or contains a part of the request: %s", log)
				}
			}
			caught.look(t, "the log", h.log.String())
			panicking.Store(false)
			h.welcomes(t, accessToken, "after a panic")
			h.welcomes(t, h.signIn(t, grantFor("alice", canaryPassword)), "a new token after a panic")
			caught.look(t, "the server's log", h.serverLog.String())
			caught.look(t, "Gin's log", ginLog.String())
			if strings.Contains(h.serverLog.String()+ginLog.String(), "panic") {
				t.Errorf("the panic reached the server or Gin's recovery: %s %s", h.serverLog, &ginLog)
			}
		})
	}
	if !strings.Contains(ginLog.String(), `"/Token"`) {
		t.Errorf("Gin's logger did not log the request: %s", &ginLog)
	}
}

// timing compares the response times of 20,000 samples of each kind. It takes
// hours and needs an otherwise idle machine.
func timing(t *testing.T) {
	samples, err := strconv.Atoi(os.Getenv("TOKENAUTH_TIMING"))
	if err != nil {
		t.Skip("SKIPPED: response times are not compared; to compare them: TOKENAUTH_TIMING=20000 go test -timeout 0 -run TestAbuse/L07 ./tokenauth/abuse")
	}
	accounts := make(map[string]password.Account)
	hash, err := password.Hash(canaryPassword)
	if err != nil {
		t.Fatal(err)
	}
	accounts["wrong"] = password.Account{UserID: "1", UserName: "wrong", PasswordHash: hash}
	accounts["disabled"] = password.Account{UserID: "2", UserName: "disabled", PasswordHash: hash, Disabled: true}
	accounts["no hash"] = password.Account{UserID: "3", UserName: "no hash"}
	users, err := password.New(func(_ context.Context, name string) (password.Account, error) {
		account, ok := accounts[name]
		if !ok {
			return account, tokenauth.ErrNotFound
		}
		return account, nil
	}, &password.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	auth, err := tokenauth.New(new(memory.Store), users, &tokenauth.Options{Throttle: tokenauth.ThrottleOptions{InsecureOff: true}})
	if err != nil {
		t.Fatal(err)
	}
	endpoint := auth.TokenHandler()
	post := func(name string) func() {
		return func() {
			endpoint.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/Token", strings.NewReader(grantFor(name, canaryWrong))))
		}
	}
	grant, err := auth.Issue(t.Context(), tokenauth.Principal{UserID: "1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	slot := grant.Token.Slot
	otherUser, otherSecret := slot, bytes.Repeat([]byte{7}, 32)
	otherUser.User[0] ^= 1
	validate := func(slot tokenauth.Slot) func() {
		accessToken := forge(slices.Concat(slot.User[:], slot.Client[:]), otherSecret)
		return func() { auth.Validate(context.Background(), accessToken) }
	}
	for _, group := range []map[string]func(){
		{"unknown": post("unknown"), "wrong": post("wrong"), "disabled": post("disabled"), "no hash": post("no hash")},
		{"another selector": validate(otherUser), "another verifier": validate(slot)},
	} {
		names := slices.Sorted(maps.Keys(group))
		took := make(map[string][]time.Duration)
		for range samples {
			mathrand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names {
				began := time.Now()
				group[name]()
				took[name] = append(took[name], time.Since(began))
			}
		}
		slices.Sort(names)
		for i, one := range names {
			for _, other := range names[:i] {
				difference, z := compare(took[one], took[other])
				t.Logf("%s and %s: the medians differ by %v, z is %.2f", one, other, difference, z)
				// The limits are 1 % of the time of a hash, and p = 0.001.
				if difference.Abs() > 250*time.Microsecond && max(z, -z) > 3.29 {
					t.Errorf("the response times of %s and %s differ", one, other)
				}
			}
		}
	}
}

// compare returns the difference of the medians, and z of the rank-sum test.
func compare(a, b []time.Duration) (difference time.Duration, z float64) {
	type sample struct {
		took time.Duration
		of   int
	}
	var all []sample
	for i, of := range [][]time.Duration{a, b} {
		for _, took := range of {
			all = append(all, sample{took, i})
		}
	}
	slices.SortFunc(all, func(x, y sample) int { return cmp.Compare(x.took, y.took) })
	ranks := 0.0
	for i, s := range all {
		if s.of == 0 {
			ranks += float64(i + 1)
		}
	}
	n, m := float64(len(a)), float64(len(b))
	z = (ranks - n*(n+m+1)/2) / math.Sqrt(n*m*(n+m+1)/12)
	slices.Sort(a)
	slices.Sort(b)
	return a[len(a)/2] - b[len(b)/2], z
}

// refusalsAreConstants sends random malformed requests. Each text in an answer
// must be a string literal in the source code.
func refusalsAreConstants(t *testing.T, h *abuseHost) {
	literals := make(map[string]bool)
	for _, file := range sourceFiles(t, "..") {
		ast.Inspect(file, func(n ast.Node) bool {
			if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				if text, err := strconv.Unquote(literal.Value); err == nil {
					literals[text] = true
				}
			}
			return true
		})
	}
	random := mathrand.New(mathrand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[random.IntN(len(from))] }
	spoil := func(text string) string {
		b := []byte(text)
		for range random.IntN(4) {
			i := random.IntN(len(b) + 1)
			switch random.IntN(3) {
			case 0:
				b = slices.Insert(b, i, byte(random.IntN(256)))
			case 1:
				b = slices.Delete(b, min(i, len(b)), min(i+1, len(b)))
			case 2:
				b = slices.Concat(b[:i], []byte(pick("&password=", "%00", "%zz", ";", "\xff\xfe", "&grant_type=x", "=", "&&", `"}{`, "<script>")), b[i:])
			}
		}
		return string(b)
	}
	said := make(map[string]int)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+adminPassword))
	for range 1500 {
		r := httptest.NewRequest(pick("POST", "POST", "GET", "GET", "PUT", "DELETE", "PATCH", "TRACE"), pick("/Token", "/Token", "/token", "/me", "/admin", "/app"), nil)
		r.URL.RawQuery = pick("", "", "", spoil("access_token=x"), spoil("username=admin"), spoil("a=b"))
		r.Body = io.NopCloser(strings.NewReader(spoil(pick(goodGrant, grantFor("nobody", "canary"), "", "{}", strings.Repeat("a=b&", 50), strings.Repeat("x", 9000)))))
		r.ContentLength = -1
		for range random.IntN(3) {
			r.Header.Add("Authorization", spoil(pick("Bearer "+h.token, basic, "Bearer", "Basic", "Digest x", "")))
		}
		r.Header.Set("Content-Type", spoil(pick("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=canary", "text/plain; charset=utf-16", "")))
		if random.IntN(20) == 0 {
			r.Header.Set("Content-Encoding", spoil("gzip"))
		}
		w := httptest.NewRecorder()
		h.handler.ServeHTTP(w, r)
		if w.Code == http.StatusOK {
			continue
		}
		said[fmt.Sprint(w.Code, " ", w.Body)]++
		var body map[string]string
		if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
			if w.Code == http.StatusNotFound || w.Code == http.StatusMethodNotAllowed { // answers of Gin or net/http
				continue
			}
			t.Fatalf("got %d %s, want JSON: %v", w.Code, w.Body, err)
		}
		for name, text := range body {
			if !slices.Contains([]string{"error", "error_description", "Message"}, name) || !literals[text] {
				t.Errorf("the answer %d has the text %s=%q, which is not a literal in the source code", w.Code, name, text)
			}
		}
	}
	if len(said) < 15 || len(said) > 60 {
		t.Errorf("got %d different refusals, want 15 to 60: %v", len(said), slices.Sorted(maps.Keys(said)))
	}
}

// sourceFiles parses the files of the packages in a folder and below it, except
// tests.
func sourceFiles(t *testing.T, folder string) (files map[string]*ast.File) {
	t.Helper()
	files = make(map[string]*ast.File)
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files[path], err = parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("found %d source files in %s, error %v", len(files), folder, err)
	}
	return files
}

// goCommand runs the go command in a folder; "" means the current one.
func goCommand(t *testing.T, folder string, args ...string) []byte {
	t.Helper()
	out, err := tryGo(t, folder, nil, args...)
	if err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, out)
	}
	return out
}

func tryGo(t *testing.T, folder string, env []string, args ...string) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return downloads.ReplaceAll(out, nil), err
}

// downloads matches the lines that the go command prints while it downloads
// modules.
var downloads = regexp.MustCompile(`(?m)^go: downloading .*\n`)

// dependencies returns the import paths of the packages and of all their
// dependencies.
func dependencies(t *testing.T, packages ...string) []string {
	t.Helper()
	paths := strings.Fields(string(goCommand(t, "", append([]string{"list", "-deps"}, packages...)...)))
	if len(paths) < 20 {
		t.Fatalf("go list found only %d dependencies", len(paths))
	}
	return paths
}

// checksums builds a module with the requirements of this one: with its
// checksums, with a changed one, and with none.
func checksums(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`(?m)^\tgolang\.org/x/crypto (\S+)`).FindSubmatch(mod)
	if required == nil {
		t.Fatal("go.mod lacks x/crypto")
	}
	line := regexp.MustCompile(`(?m)^golang\.org/x/crypto ` + regexp.QuoteMeta(string(required[1])) + ` h1:(.)`).FindSubmatchIndex(sums)
	if line == nil {
		t.Fatal("go.sum lacks x/crypto")
	}
	changed := bytes.Clone(sums)
	changed[line[2]] ^= 1 // changes one character of the base64
	for name, sums := range map[string][]byte{"the same": sums, "changed": changed, "missing": nil} {
		dir := t.TempDir()
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "go.mod"), mod, 0o600),
			os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600),
			os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nimport _ \"golang.org/x/crypto/argon2\"\n\nfunc main() {}\n"), 0o600),
		); err != nil {
			t.Fatal(err)
		}
		out, err := tryGo(t, dir, []string{"GOFLAGS=-mod=readonly", "GOWORK=off"}, "list", "-deps", ".")
		if (err == nil) != (name == "the same") {
			t.Errorf("go list with checksums %s: got error %v, want success only for the same: %s", name, err, out)
		}
		if name == "changed" && !strings.Contains(string(out), "checksum mismatch") {
			t.Errorf("go list with checksums %s: want checksum mismatch, got %s", name, out)
		}
	}
}

// weakConfigurations checks that New refuses invalid options by an error that
// names the field.
func weakConfigurations(t *testing.T) {
	s := new(memory.Store)
	for _, test := range []struct {
		says string
		err  func() error
	}{
		{"storage", func() error { _, err := tokenauth.New(nil, directory{}, nil); return err }},
		{"authenticator", func() error { _, err := tokenauth.New(s, (*password.Authenticator)(nil), nil); return err }},
		{"lookup", func() error { _, err := password.New(nil, nil); return err }},
		{"*gorm.DB", func() error { _, err := gormstore.New(t.Context(), nil, nil); return err }},
	} {
		if err := test.err(); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("the error is %[2]v, want one that names the %[1]s", test.says, err)
		}
	}
	for field, options := range map[string][]tokenauth.Options{
		"Options.Lifetime":                     {{Lifetime: -1}, {Lifetime: time.Second}, {Lifetime: 366 * 24 * time.Hour}, {Lifetime: time.Hour + 1}},
		"Options.Prefix":                       {{Prefix: "a b"}, {Prefix: "a.b"}, {Prefix: strings.Repeat("x", 17)}, {Prefix: "\u00e4"}, {Prefix: "a\r\n"}},
		"Options.Realm":                        {{Realm: `a"b`}, {Realm: "a\r\nSet-Cookie: x"}, {Realm: "\u00e4"}, {Realm: `a\b`}, {Realm: "a\x00"}},
		"Options.ResponseAttributes":           {{ResponseAttributes: []string{"access_token"}}, {ResponseAttributes: []string{""}}, {ResponseAttributes: []string{"a", "a"}}, {ResponseAttributes: []string{"Role"}}, {ResponseAttributes: []string{"a", "A"}}},
		"Options.Timeout":                      {{Timeout: -1}, {Timeout: time.Millisecond}, {Timeout: time.Hour}},
		"Options.BodyTimeout":                  {{BodyTimeout: -1}, {BodyTimeout: time.Millisecond}, {BodyTimeout: time.Hour}},
		"Options.PurgeInterval":                {{PurgeInterval: -1}, {PurgeInterval: time.Millisecond}, {PurgeInterval: 25 * time.Hour}},
		"Options.Cache.MaxEntries":             {{Cache: &tokenauth.CacheOptions{MaxEntries: -1}}, {Cache: &tokenauth.CacheOptions{MaxEntries: 1e9}}},
		"Options.Cache.Lease":                  {{Cache: &tokenauth.CacheOptions{Lease: 1}}, {Cache: &tokenauth.CacheOptions{Lease: time.Hour}}},
		"Options.TrustedProxies":               {{TrustedProxies: make([]netip.Prefix, 1)}, {TrustedProxies: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 104)}}},
		"Options.TrustedSockets":               {{TrustedSockets: []string{""}}},
		"Options.ProxyHeader":                  {{ProxyHeader: "X-Real-IP, Forwarded"}, {ProxyHeader: "a\r\nb"}},
		"Options.Throttle.Key":                 {{Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret("short")}}, {Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret("")}}, {Throttle: tokenauth.ThrottleOptions{Key: tokenauth.NewSecret(strings.Repeat("k", 32))}}},
		"Options.Throttle.PerAccountAndSource": {{Throttle: tokenauth.ThrottleOptions{PerAccountAndSource: -1}}, {Throttle: tokenauth.ThrottleOptions{PerAccountAndSource: 1e6}}},
		"Options.Throttle.AccountCeiling":      {{Throttle: tokenauth.ThrottleOptions{AccountCeiling: 1}}},
		"Options.Throttle.PerAccount":          {{Throttle: tokenauth.ThrottleOptions{PerAccount: -1}}},
		"Options.Throttle.PerSource":           {{Throttle: tokenauth.ThrottleOptions{PerSource: 1e9}}},
		"Options.Throttle.MaxCounters":         {{Throttle: tokenauth.ThrottleOptions{MaxCounters: 1}}},
		"Options.Throttle.Replicas":            {{Throttle: tokenauth.ThrottleOptions{Replicas: -1}}},
	} {
		for _, o := range options {
			if auth, err := tokenauth.New(s, directory{}, &o); auth != nil || err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("invalid %s: New returns the error %v, want one that names the field", field, err)
			}
		}
	}
	// A switch that weakens the security has a name with Insecure.
	for _, options := range []reflect.Type{reflect.TypeFor[tokenauth.Options](), reflect.TypeFor[tokenauth.ThrottleOptions](), reflect.TypeFor[tokenauth.CacheOptions]()} {
		for i := range options.NumField() {
			if f := options.Field(i); f.Type.Kind() == reflect.Bool && !strings.HasPrefix(f.Name, "Insecure") && f.Name != "DisableGET" { // DisableGET is the stricter choice
				t.Errorf("%s.%s is a bool whose name does not begin with Insecure", options, f.Name)
			}
		}
	}
}

// importsDoNothing checks that packages have no init func, start no goroutine,
// and export no variables that another package could change.
func importsDoNothing(t *testing.T) {
	for _, folder := range []string{"../../ginadapter", "..", "../../storage/memory", "../../storage/gormstore", "../../storage/redisstore"} {
		for path, file := range sourceFiles(t, folder) {
			for _, decl := range file.Decls {
				switch decl := decl.(type) {
				case *ast.FuncDecl:
					if decl.Name.Name == "init" {
						t.Errorf("%s has an init func", path)
					}
				case *ast.GenDecl:
					for _, spec := range decl.Specs {
						v, ok := spec.(*ast.ValueSpec)
						if !ok || decl.Tok != token.VAR {
							continue
						}
						for _, name := range v.Names {
							if name.IsExported() && !strings.HasPrefix(name.Name, "Err") && name.Name != "Migrations" {
								t.Errorf("%s exports the variable %s, which any package can change", path, name.Name)
							}
						}
						ast.Inspect(v, func(n ast.Node) bool {
							if _, ok := n.(*ast.GoStmt); ok {
								t.Errorf("%s starts a goroutine at import", path)
							}
							return true
						})
					}
				}
			}
		}
	}
}

// otherSystems checks which files the core has on other systems. With
// TOKENAUTH_CROSS set it also builds the core for them, which takes minutes the
// first time.
func otherSystems(t *testing.T) {
	deep := os.Getenv("TOKENAUTH_CROSS") != ""
	for _, env := range [][]string{
		{"GOOS=linux", "GOARCH=386", "CGO_ENABLED=0"},
		{"GOOS=linux", "GOARCH=s390x", "CGO_ENABLED=0"}, // big endian
		{"GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0"},
	} {
		out, err := tryGo(t, "", env, "list", "-deps", "-f", "{{.ImportPath}}{{with .Error}} fails: {{.}}{{end}}{{if .CgoFiles}} uses cgo{{end}}{{if not (or .GoFiles .XTestGoFiles)}} is empty{{end}}", "../...")
		if err != nil || !strings.Contains(string(out), "github.com/bearerkit/bearerkit/tokenauth/password\n") {
			t.Errorf("go list for %v: %v\n%s", env, err, out)
		}
		for line := range strings.Lines(string(out)) {
			if fields := strings.Fields(line); len(fields) != 1 && fields[0] != "unsafe" {
				t.Errorf("package for %v has a problem: %s", env, line)
			}
		}
		if deep {
			if out, err := tryGo(t, "", env, "build", "../..."); err != nil {
				t.Errorf("go build for %v: %v\n%s", env, err, out)
			}
		}
	}
	if !deep {
		t.Log("SKIPPED: nothing was built for other systems; to build: TOKENAUTH_CROSS=1 go test -run TestAbuse/L20 ./tokenauth/abuse")
		return
	}
	if runtime.GOOS == "linux" && runtime.GOARCH == "amd64" { // amd64 runs programs of 386
		out, err := tryGo(t, "", []string{"GOARCH=386", "CGO_ENABLED=0"}, "test", "-count=1", "-run", "^(TestTokenFormatStaysTheSame|TestStoredKeysStayTheSame|TestMintAndParseAgree)$", "-v", "..")
		if err != nil || strings.Count(string(out), "--- PASS") != 3 {
			t.Errorf("tests on 32 bits: %v\n%s", err, out)
		}
	}
}
