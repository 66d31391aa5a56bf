package redisstore_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/internal/throwaway"
	"github.com/bearerkit/bearerkit/storage/redisstore"
	"github.com/bearerkit/bearerkit/storage/storagetest"
	"github.com/bearerkit/bearerkit/tokenauth"
	"github.com/bearerkit/bearerkit/tokenauth/throttle"
)

func TestStorage(t *testing.T) {
	t.Parallel()
	onEach(t, throwaway.Redis, func(t *testing.T, o rueidis.ClientOption) {
		client := open(t, o)
		t.Run("store", func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return newStore(t, client, newPrefix(t, client)) })
		})
		t.Run("watched", func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return watched(t, o, newPrefix(t, client)) })
		})
	})
}

// onEach runs a test on a server, which start returns the URL of, and on a
// cluster.
func onEach(t *testing.T, start func(testing.TB) string, test func(t *testing.T, o rueidis.ClientOption)) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, option(t, start(t)))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, rueidis.ClientOption{InitAddress: throwaway.RedisCluster(t), DisableCache: true})
	})
}

// ownRedis is for tests that would get in the way of others.
func ownRedis(tb testing.TB) string { return throwaway.StartRedis(tb).DSN() }

func TestNewNamesTheWrongOption(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	s, x := newStore(t, client, ""), []string{"x:1"}
	with := func(c rueidis.Client, o *redisstore.Options) error { _, err := redisstore.New(c, o); return err }
	prefix := func(p string) error { return with(client, &redisstore.Options{Prefix: p}) }
	feed := func(s *redisstore.Store, o rueidis.ClientOption) error {
		_, err := redisstore.WithFeed(s, o)
		return err
	}
	for _, test := range []struct {
		name string
		err  error
		says string // nothing if all is well
	}{
		{"no client", with(nil, nil), "client"},
		{"no options", with(client, nil), ""},
		{"short prefix", prefix("x"), ""},
		{"long prefix", prefix(strings.Repeat("x", 64)), ""},
		{"too long prefix", prefix(strings.Repeat("x", 65)), "Options.Prefix"},
		{"space", prefix("a b"), "Options.Prefix"},
		{"brace", prefix("{a}:"), "Options.Prefix"},
		{"not ASCII", prefix("ä:"), "Options.Prefix"},
		{"feed without store", feed(nil, rueidis.ClientOption{InitAddress: x}), "store"},
		{"feed without address", feed(s, rueidis.ClientOption{}), "InitAddress"},
		{"feed of RESP2", feed(s, rueidis.ClientOption{InitAddress: x, AlwaysRESP2: true}), "AlwaysRESP2"},
		{"feed of replicas", feed(s, rueidis.ClientOption{InitAddress: x, ReplicaOnly: true}), "ReplicaOnly"},
	} {
		err := test.err
		if test.says == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
		} else if err == nil || !strings.HasPrefix(err.Error(), "redisstore: ") || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: the error is %v", test.name, err)
		}
	}
}

// newToken returns a token that lives for a while from now; n makes its digest.
func newToken(user, client string, n byte, life time.Duration) tokenauth.Token {
	now := time.Now().Truncate(time.Second).UTC()
	return tokenauth.Token{
		Slot:      tokenauth.SlotOf(user, client),
		Digest:    tokenauth.Digest{n},
		ClientID:  client,
		Principal: tokenauth.Principal{UserID: user},
		IssuedAt:  now,
		ExpiresAt: now.Add(life),
	}
}

func replace(t *testing.T, s tokenauth.Storage, token tokenauth.Token) {
	t.Helper()
	if err := s.Replace(t.Context(), token); err != nil {
		t.Fatal(err)
	}
}

func key(prefix string, u tokenauth.UserKey) string { return fmt.Sprintf("%s%x", prefix, u[:]) }

// The hash of a user lives a day longer than the last of its tokens.
func TestKeysExpireADayAfterTheLastToken(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	key := key(prefix, tokenauth.UserKeyOf("alice"))
	lives := func(what string, want time.Duration) {
		t.Helper()
		ms, err := client.Do(t.Context(), client.B().Pttl().Key(key).Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Duration(ms) * time.Millisecond; got > want+time.Second || got < want-time.Minute {
			t.Errorf("%s: the key lives for %v, not %v", what, got, want)
		}
	}
	replace(t, s, newToken("alice", "", 1, time.Hour))
	lives("one token", day+time.Hour)
	replace(t, s, newToken("alice", "web", 2, 10*time.Hour))
	lives("a second one that lives longer", day+10*time.Hour)
	replace(t, s, newToken("alice", "", 3, 2*time.Hour))
	lives("a new one that does not", day+10*time.Hour)
	if err := s.Revoke(t.Context(), tokenauth.SlotOf("alice", "web"), tokenauth.Digest{2}); err != nil {
		t.Fatal(err)
	}
	lives("the longest revoked", day+10*time.Hour)
	if err := client.Do(t.Context(), client.B().Persist().Key(key).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	replace(t, s, newToken("alice", "", 4, 3*time.Hour))
	lives("a key that lived for ever", day+3*time.Hour)

	if err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf("alice")); err != nil {
		t.Fatal(err)
	}
	replace(t, s, newToken("alice", "", 5, -100*day))
	lives("one that expired long ago", day)
	if _, err := s.Find(t.Context(), tokenauth.SlotOf("alice", "")); err != nil {
		t.Errorf("it is not found: %v", err)
	}
	last := newToken("alice", "", 6, 0)
	last.ExpiresAt = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	replace(t, s, last)
	want := last.ExpiresAt.Unix() - time.Now().Unix() + 24*3600
	if n, err := client.Do(t.Context(), client.B().Ttl().Key(key).Build()).AsInt64(); err != nil || n > want+1 || n < want-60 {
		t.Errorf("one that expires in the year 9999 lives for %d s, not %d: %v", n, want, err)
	}
	if err := s.Revoke(t.Context(), tokenauth.SlotOf("alice", ""), tokenauth.Digest{6}); err != nil {
		t.Fatal(err)
	}
	if names := keys(t, client, prefix); len(names) > 0 {
		t.Errorf("without a token there is %v", names)
	}
}

// A connection that breaks may make the client send a script twice.
func TestReplaceTwiceIsReplaceOnce(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	s := newStore(t, client, newPrefix(t, client))
	one, two := newToken("alice", "", 1, time.Hour), newToken("alice", "", 2, time.Hour)
	for _, token := range []tokenauth.Token{one, one, two, two, two} {
		replace(t, s, token)
	}
	got, err := s.Find(t.Context(), two.Slot)
	if err != nil || got.Digest != two.Digest || got.Replaced != one.Digest {
		t.Errorf("Find returns digest %v, replaced %v, error %v", got.Digest, got.Replaced, err)
	}
	if err := client.Do(t.Context(), client.B().ScriptFlush().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	replace(t, s, one) // the server need not know the script
	if err := s.Revoke(t.Context(), one.Slot, one.Digest); err != nil {
		t.Error(err)
	}
}

func TestCorruptTokenIsErrCorrupt(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	s := newStore(t, client, prefix)
	token, other := newToken("alice", "", 1, time.Hour), newToken("alice", "web", 3, time.Hour)
	replace(t, s, token)
	replace(t, s, other)
	name, field := key(prefix, token.Slot.User), fmt.Sprintf("%x", token.Slot.Client[:])
	good, err := client.Do(t.Context(), client.B().Hget().Key(name).Field(field).Build()).ToString()
	if err != nil {
		t.Fatal(err)
	}
	for what, value := range map[string]string{
		"nothing":             "",
		"digests only":        good[:64],
		"almost two digests":  good[:63],
		"all but one byte":    good[:len(good)-1],
		"a byte more":         good + "x",
		"another encoding":    good[:64] + "\x02" + good[65:],
		"another digest":      "x" + good[1:],
		"text":                strings.Repeat("text", 100),
		"a token, no digests": good[64:],
	} {
		if err := client.Do(t.Context(), client.B().Hset().Key(name).FieldValue().FieldValue(field, value).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Find(t.Context(), token.Slot); !errors.Is(err, tokenauth.ErrCorrupt) {
			t.Errorf("%s: Find returns %v", what, err)
		}
		if got, err := s.List(t.Context(), token.Slot.User); !errors.Is(err, tokenauth.ErrCorrupt) || len(got) != 1 || got[0].Digest != other.Digest {
			t.Errorf("%s: List returns %d tokens, error %v", what, len(got), err)
		}
		// The way out is to sign in again.
		again := newToken("alice", "", 2, time.Hour)
		replace(t, s, again)
		if got, err := s.Find(t.Context(), again.Slot); err != nil || got.Digest != again.Digest {
			t.Errorf("%s: a new token is found as %v, %v", what, got.Digest, err)
		}
	}
}

// What Redis refuses is a fault, and nothing that says anything of a token.
func TestErrorsOfRedisAreNotErrNotFound(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.StartRedis(t).DSN()))
	s := newStore(t, client, "")
	token, other := newToken("alice", "", 1, time.Hour), newToken("alice", "", 2, time.Hour)
	replace(t, s, token)
	config := func(name, value string) {
		t.Helper()
		if err := client.Do(t.Context(), client.B().ConfigSet().ParameterValue().ParameterValue(name, value).Build()).Error(); err != nil {
			t.Fatal(err)
		}
	}
	fault := func(what, says string, err error) {
		t.Helper()
		if err == nil || errors.Is(err, tokenauth.ErrNotFound) || errors.Is(err, tokenauth.ErrCorrupt) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	holds := func(what string) {
		t.Helper()
		if got, err := s.Find(t.Context(), token.Slot); err != nil || got.Digest != token.Digest || !got.Replaced.IsZero() {
			t.Errorf("%s: Find returns %v, %v", what, got, err)
		}
	}
	config("maxmemory", "1")
	fault("Replace without memory", "OOM", s.Replace(t.Context(), other))
	holds("without memory")
	if err := s.Revoke(t.Context(), token.Slot, other.Digest); err != nil {
		t.Errorf("Revoke without memory: %v", err)
	}
	config("maxmemory", "0")

	config("min-replicas-to-write", "1")
	fault("Replace without replicas", "NOREPLICAS", s.Replace(t.Context(), other))
	fault("Revoke without replicas", "NOREPLICAS", s.Revoke(t.Context(), token.Slot, token.Digest))
	fault("RevokeUser without replicas", "NOREPLICAS", s.RevokeUser(t.Context(), token.Slot.User))
	holds("without replicas")
	config("min-replicas-to-write", "0")

	if err := client.Do(t.Context(), client.B().Set().Key(key("tokenauth:", tokenauth.UserKeyOf("bob"))).Value("x").Build()).Error(); err != nil {
		t.Fatal(err)
	}
	bob := newToken("bob", "", 1, time.Hour)
	_, err := s.Find(t.Context(), bob.Slot)
	fault("Find with another type", "WRONGTYPE", err)
	_, err = s.List(t.Context(), bob.Slot.User)
	fault("List with another type", "WRONGTYPE", err)
	fault("Replace with another type", "WRONGTYPE", s.Replace(t.Context(), bob))
	fault("Revoke with another type", "WRONGTYPE", s.Revoke(t.Context(), bob.Slot, bob.Digest))

	if err := client.Do(t.Context(), client.B().Replicaof().Host("127.0.0.1").Port(1).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	fault("Replace at a replica", "READONLY", s.Replace(t.Context(), other))
	holds("at a replica")
}

// A server that is stopped, or hangs, makes every answer "unavailable" within
// the deadline, never "invalid"; when it is back, so is the service.
func TestFaultsAreUnavailableNotInvalid(t *testing.T) {
	t.Parallel()
	server := throwaway.StartRedis(t)
	const timeout = 500 * time.Millisecond
	auth := service(t, newStore(t, open(t, option(t, server.DSN())), ""), tokenauth.Options{Timeout: timeout})
	accessToken := issue(t, auth, "alice", "")
	principal := tokenauth.Principal{UserID: "alice"}

	unavailable := func(during string) {
		t.Helper()
		for i := range 3 {
			began := time.Now()
			if _, err := auth.Validate(t.Context(), accessToken); !errors.Is(err, tokenauth.ErrUnavailable) || errors.Is(err, tokenauth.ErrInvalidToken) {
				t.Errorf("%s: Validate returns %v", during, err)
			}
			if _, err := auth.Issue(t.Context(), principal, ""); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("%s: Issue returns %v", during, err)
			}
			if err := auth.RevokeUser(t.Context(), "bob"); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("%s: RevokeUser returns %v", during, err)
			}
			if took := time.Since(began); took > 3*timeout+3*time.Second { // a machine may be busy
				t.Errorf("%s: attempt %d took %v", during, i, took)
			}
		}
	}
	issues := func(after string) {
		t.Helper()
		eventually(t, "issued again after "+after, func() bool {
			grant, err := auth.Issue(t.Context(), principal, "")
			accessToken = grant.AccessToken.Reveal()
			return err == nil
		})
	}
	recovers := func(after string) {
		t.Helper()
		eventually(t, "good again after "+after, func() bool {
			_, err := auth.Validate(t.Context(), accessToken)
			if err != nil && !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Fatal(err)
			}
			return err == nil
		})
		issues(after)
	}
	server.Stop(t)
	unavailable("stopped")
	server.Start(t)
	recovers("the stop")

	server.Pause(t)
	unavailable("hanging")
	server.Resume(t)
	// What hung may have been done or not: sign in anew first.
	issues("the pause")
	recovers("the pause")
}

// endings are the ways in which a context ends soon.
var endings = map[string]func(context.Context) (context.Context, context.CancelFunc){
	"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
		return context.WithTimeout(ctx, 100*time.Millisecond)
	},
	"cancel": func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(100*time.Millisecond, cancel)
		return ctx, cancel
	},
}

// Calls return when their context ends, be the server as it may.
func TestContextEndsWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	server := throwaway.StartRedis(t)
	for name, end := range endings {
		s := newStore(t, open(t, option(t, server.DSN())), "")
		token := newToken("alice", "", 1, time.Hour)
		for range 50 { // on each of the client's connections
			replace(t, s, token)
		}
		server.Pause(t)
		for call, do := range map[string]func(context.Context) error{
			"Find":       func(ctx context.Context) error { _, err := s.Find(ctx, token.Slot); return err },
			"FindBatch":  func(ctx context.Context) error { _, err := s.FindBatch(ctx, []tokenauth.Slot{token.Slot}); return err },
			"List":       func(ctx context.Context) error { _, err := s.List(ctx, token.Slot.User); return err },
			"Replace":    func(ctx context.Context) error { return s.Replace(ctx, token) },
			"Revoke":     func(ctx context.Context) error { return s.Revoke(ctx, token.Slot, tokenauth.Digest{9}) },
			"RevokeUser": func(ctx context.Context) error { return s.RevokeUser(ctx, tokenauth.UserKeyOf("bob")) },
		} {
			ctx, cancel := end(t.Context())
			began := time.Now()
			err := do(ctx)
			if took := time.Since(began); err == nil || errors.Is(err, tokenauth.ErrNotFound) || took > 3*time.Second {
				t.Errorf("%s, %s: returned %v after %v", name, call, err, took)
			}
			cancel()
		}
		server.Resume(t)
	}
}

// Calls that wait for a connection which another call makes end by their own
// contexts.
func TestContextEndsWhileTheClientConnects(t *testing.T) {
	t.Parallel()
	server := throwaway.StartRedis(t)
	o := option(t, server.DSN())
	o.ConnWriteTimeout = 100 * time.Millisecond // then it takes the connection for lost
	o.Dialer.KeepAlive = 50 * time.Millisecond
	s := newStore(t, open(t, o), "")
	token := newToken("alice", "", 1, time.Hour)
	replace(t, s, token)
	server.Pause(t)
	var slowest atomic.Int64
	var calls sync.WaitGroup
	for end := time.Now().Add(2200 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, call := range []func(context.Context) error{
			func(ctx context.Context) error { _, err := s.Find(ctx, token.Slot); return err },
			func(ctx context.Context) error { return s.Replace(ctx, token) },
			func(ctx context.Context) error {
				return s.UpdateCounters(ctx, []throttle.Key{{1}}, func(c []throttle.Counter) { c[0].Failures++ })
			},
		} {
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				began := time.Now()
				if err := call(ctx); err == nil || errors.Is(err, tokenauth.ErrNotFound) {
					t.Errorf("it returned %v", err)
				}
				if took := int64(time.Since(began)); took > slowest.Load() {
					slowest.Store(took)
				}
			})
		}
	}
	calls.Wait()
	if took := time.Duration(slowest.Load()); took > 1600*time.Millisecond {
		t.Errorf("the slowest call with a second took %v", took)
	}
	server.Resume(t)
}

// What Redis keeps is of no use to a thief.
func TestRedisHoldsNoAccessToken(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	prefix := newPrefix(t, client)
	auth := service(t, newStore(t, client, prefix), tokenauth.Options{})
	issue(t, auth, "alice", "web")
	accessToken := issue(t, auth, "alice", "web")
	var dump bytes.Buffer
	for _, name := range keys(t, client, prefix) {
		fields, err := client.Do(t.Context(), client.B().Hgetall().Key(name).Build()).AsStrMap()
		if err != nil {
			t.Fatal(err)
		}
		dump.WriteString(name)
		for field, value := range fields {
			dump.WriteString(field + value)
		}
	}
	if dump.Len() < 300 || !bytes.Contains(dump.Bytes(), []byte("somebody")) {
		t.Fatalf("there is only %q", dump.String())
	}
	// The slot, the secret and a checksum, behind a prefix.
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(accessToken, "tat_"))
	if err != nil || len(raw) < 64 {
		t.Fatalf("an access token has %d bytes: %v", len(raw), err)
	}
	secret := raw[32:64]
	for _, part := range [][]byte{
		[]byte(accessToken), []byte(accessToken[len(accessToken)-44:]),
		secret, secret[:16], secret[16:], []byte(fmt.Sprintf("%x", secret)),
	} {
		if bytes.Contains(dump.Bytes(), part) {
			t.Error("a part of the access token is stored")
		}
	}
}

// A client that speaks RESP2 does as well.
func TestRESP2(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.Redis(t))
	o.AlwaysRESP2, o.DisableCache = true, true
	client := open(t, o)
	storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return newStore(t, client, newPrefix(t, client)) })
}

// The commands that the package names are all that it needs.
func TestAccessRights(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.StartRedis(t).DSN())
	admin := open(t, o)
	rights := append([]string{"ACL", "SETUSER", "service", "reset", "on", ">password", "~tokenauth:*", "~{tokenauth:}*"},
		// The client's own.
		"+hello", "+cluster|slots", "+ping",
		// The store's.
		"+evalsha", "+eval", "+hget", "+hgetall", "+hset", "+hdel", "+ttl", "+expire", "+unlink",
		// For counters, and to end a client's tokens.
		"+mget", "+set", "+scan",
		// The feed's.
		"+client|tracking", "+cluster|info", "+cluster|nodes")
	if err := admin.Do(t.Context(), admin.B().Arbitrary(rights...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	o.Username, o.Password = "service", "password"
	w := watched(t, o, "")
	token := newToken("alice", "", 1, time.Hour)
	replace(t, w, token)
	if _, err := w.Find(t.Context(), token.Slot); err != nil {
		t.Error(err)
	}
	if tokens, err := w.List(t.Context(), token.Slot.User); err != nil || len(tokens) != 1 {
		t.Errorf("List returns %d tokens, error %v", len(tokens), err)
	}
	if err := w.Revoke(t.Context(), token.Slot, token.Digest); err != nil {
		t.Error(err)
	}
	if err := w.RevokeUser(t.Context(), token.Slot.User); err != nil {
		t.Error(err)
	}
	if err := w.RevokeClient(t.Context(), token.Slot.Client); err != nil {
		t.Error(err)
	}
	for _, change := range []func([]throttle.Counter){count, func(c []throttle.Counter) { clear(c) }} {
		if err := w.UpdateCounters(t.Context(), []throttle.Key{{1}, {2}}, change); err != nil {
			t.Error(err)
		}
	}
	auth := service(t, w, tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
	eventually(t, "alive", func() bool { return auth.CacheStats().FeedAlive })

	// A user of the feed's own.
	do(t, admin, "ACL", "SETUSER", "feed", "reset", "on", ">password", "~tokenauth:*",
		"+hello", "+ping", "+hget", "+client|tracking", "+cluster|slots", "+cluster|info", "+cluster|nodes")
	own := o
	own.Username = "feed"
	watch(t, withFeed(t, o, own, ""), 100*time.Millisecond)
}
