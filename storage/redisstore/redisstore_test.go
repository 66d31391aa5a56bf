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
	"github.com/bearerkit/bearerkit/internal/trial"
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

// onEach runs a test on a single server, whose URL start returns, and on a
// cluster.
func onEach(t *testing.T, start func(testing.TB) string, test func(t *testing.T, o rueidis.ClientOption)) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		test(t, option(t, start(t)))
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		test(t, cluster(t))
	})
}

// tryOnEach is like onEach, for tests that a busy machine can delay.
func tryOnEach(t *testing.T, start func(testing.TB) string, test func(t *trial.T, o rueidis.ClientOption)) {
	for name, start := range map[string]func(testing.TB) rueidis.ClientOption{
		"server":  func(tb testing.TB) rueidis.ClientOption { return option(tb, start(tb)) },
		"cluster": cluster,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trial.Run(t, func(t *trial.T) { test(t, start(t)) })
		})
	}
}

func cluster(tb testing.TB) rueidis.ClientOption {
	tb.Helper()
	return rueidis.ClientOption{InitAddress: throwaway.RedisCluster(tb), DisableCache: true}
}

// ownRedis starts a server for tests that would disturb others on a shared one.
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
		says string // a part of the expected error; empty for none
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
			t.Errorf("%s: got error %v, want one with %q", test.name, err, test.says)
		}
	}
}

// newToken returns a token that is valid from now on, for the given time. The
// first byte of its digest is n.
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

func replace(t testing.TB, s tokenauth.Storage, token tokenauth.Token) {
	t.Helper()
	if err := s.Replace(t.Context(), token); err != nil {
		t.Fatal(err)
	}
}

func key(prefix string, u tokenauth.UserKey) string { return fmt.Sprintf("%s%x", prefix, u[:]) }

// Redis keeps the hash of a user for a day after the last of its tokens expires.
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
			t.Errorf("%s: the key stays for %v, want %v", what, got, want)
		}
	}
	replace(t, s, newToken("alice", "", 1, time.Hour))
	lives("one token", day+time.Hour)
	replace(t, s, newToken("alice", "web", 2, 10*time.Hour))
	lives("a second token that expires later", day+10*time.Hour)
	replace(t, s, newToken("alice", "", 3, 2*time.Hour))
	lives("a new token that expires earlier", day+10*time.Hour)
	if err := s.Revoke(t.Context(), tokenauth.SlotOf("alice", "web"), tokenauth.Digest{2}); err != nil {
		t.Fatal(err)
	}
	lives("the token that expires last is revoked", day+10*time.Hour)
	if err := client.Do(t.Context(), client.B().Persist().Key(key).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	replace(t, s, newToken("alice", "", 4, 3*time.Hour))
	lives("a key that had no expiry", day+3*time.Hour)

	if err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf("alice")); err != nil {
		t.Fatal(err)
	}
	replace(t, s, newToken("alice", "", 5, -100*day))
	lives("a token that expired long ago", day)
	if _, err := s.Find(t.Context(), tokenauth.SlotOf("alice", "")); err != nil {
		t.Errorf("Find of an expired token returns error %v", err)
	}
	if err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf("alice")); err != nil {
		t.Fatal(err)
	}
	was := refreshToken("alice", 6, time.Hour, 30*day)
	replace(t, s, was)
	lives("a refresh token", 31*day)
	was = refreshed(t, s, was, 7, 10*day)
	lives("a refresh token that expires earlier", 31*day)
	refreshed(t, s, was, 8, 60*day)
	lives("a refresh token that expires later", 61*day)
	replace(t, s, newToken("alice", "", 9, 90*day))
	lives("an access token that expires later", 91*day)
	if err := s.RevokeUser(t.Context(), tokenauth.UserKeyOf("alice")); err != nil {
		t.Fatal(err)
	}
	last := newToken("alice", "", 6, 0)
	last.ExpiresAt = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	replace(t, s, last)
	want := last.ExpiresAt.Unix() - time.Now().Unix() + 24*3600
	if n, err := client.Do(t.Context(), client.B().Ttl().Key(key).Build()).AsInt64(); err != nil || n > want+1 || n < want-60 {
		t.Errorf("the key of a token that expires in the year 9999 stays for %d s, error %v, want %d s", n, err, want)
	}
	if err := s.Revoke(t.Context(), tokenauth.SlotOf("alice", ""), tokenauth.Digest{6}); err != nil {
		t.Fatal(err)
	}
	if names := keys(t, client, prefix); len(names) > 0 {
		t.Errorf("without a token the keys are %v, want none", names)
	}
}

// If a connection breaks, the client may send a script twice. A second run of
// Replace with the same token changes nothing.
func TestRepeatedReplaceKeepsTheReplacedDigest(t *testing.T) {
	t.Parallel()
	client := open(t, option(t, throwaway.Redis(t)))
	s := newStore(t, client, newPrefix(t, client))
	one, two := newToken("alice", "", 1, time.Hour), newToken("alice", "", 2, time.Hour)
	for _, token := range []tokenauth.Token{one, one, two, two, two} {
		replace(t, s, token)
	}
	got, err := s.Find(t.Context(), two.Slot)
	if err != nil || got.Digest != two.Digest || got.Replaced != one.Digest {
		t.Errorf("Find returns digest %v, replaced digest %v, error %v, want %v and %v", got.Digest, got.Replaced, err, two.Digest, one.Digest)
	}
	if err := client.Do(t.Context(), client.B().ScriptFlush().Build()).Error(); err != nil {
		t.Fatal(err)
	}
	replace(t, s, one) // works although the server has no cached script
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
		"empty":               "",
		"digests only":        good[:64],
		"almost two digests":  good[:63],
		"all but one byte":    good[:len(good)-1],
		"one byte too many":   good + "x",
		"another encoding":    good[:64] + "\x02" + good[65:],
		"encoding 3":          good[:64] + "\x03" + good[65:],
		"encoding 4":          good[:64] + "\x04" + good[65:],
		"another digest":      "x" + good[1:],
		"text":                strings.Repeat("text", 100),
		"a token, no digests": good[64:],
	} {
		if err := client.Do(t.Context(), client.B().Hset().Key(name).FieldValue().FieldValue(field, value).Build()).Error(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Find(t.Context(), token.Slot); !errors.Is(err, tokenauth.ErrCorrupt) {
			t.Errorf("%s: Find returns error %v, want ErrCorrupt", what, err)
		}
		if got, err := s.List(t.Context(), token.Slot.User); !errors.Is(err, tokenauth.ErrCorrupt) || len(got) != 1 || got[0].Digest != other.Digest {
			t.Errorf("%s: List returns %d tokens, error %v, want the other token and ErrCorrupt", what, len(got), err)
		}
		// A new sign-in overwrites the corrupt value.
		again := newToken("alice", "", 2, time.Hour)
		replace(t, s, again)
		if got, err := s.Find(t.Context(), again.Slot); err != nil || got.Digest != again.Digest {
			t.Errorf("%s: Find of a new token returns digest %v, error %v", what, got.Digest, err)
		}
	}
}

// An error of Redis is returned as a storage error, never as ErrNotFound or
// ErrCorrupt.
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
			t.Errorf("%s: got error %v, want a storage error with %q", what, err, says)
		}
	}
	holds := func(what string) {
		t.Helper()
		if got, err := s.Find(t.Context(), token.Slot); err != nil || got.Digest != token.Digest || !got.Replaced.IsZero() {
			t.Errorf("%s: Find returns %v, error %v, want the first token", what, got, err)
		}
	}
	config("maxmemory", "1")
	uses := []tokenauth.Use{useOf(token, time.Now())}
	refresh := func(was tokenauth.Token) error {
		_, err := s.Refresh(t.Context(), was, refreshToken(was.Principal.UserID, 9, time.Hour, time.Hour))
		return err
	}
	fault("Refresh without memory", "OOM", refresh(token))
	fault("Replace without memory", "OOM", s.Replace(t.Context(), other))
	fault("RecordUses without memory", "OOM", s.RecordUses(t.Context(), uses))
	holds("without memory")
	if err := s.Revoke(t.Context(), token.Slot, other.Digest); err != nil {
		t.Errorf("Revoke without memory: %v", err)
	}
	config("maxmemory", "0")

	config("min-replicas-to-write", "1")
	fault("Replace without replicas", "NOREPLICAS", s.Replace(t.Context(), other))
	fault("Revoke without replicas", "NOREPLICAS", s.Revoke(t.Context(), token.Slot, token.Digest))
	fault("Refresh without replicas", "NOREPLICAS", refresh(token))
	fault("RecordUses without replicas", "NOREPLICAS", s.RecordUses(t.Context(), uses))
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
	fault("Refresh with another type", "WRONGTYPE", refresh(bob))
	if found, err := s.FindRefresh(t.Context(), []tokenauth.Slot{token.Slot, bob.Slot}); err != nil || found[0].Err != nil {
		t.Errorf("FindRefresh of a token and another type returns %v, error %v", found, err)
	} else {
		fault("FindRefresh with another type", "WRONGTYPE", found[1].Err)
	}
	fault("Revoke with another type", "WRONGTYPE", s.Revoke(t.Context(), bob.Slot, bob.Digest))
	// An error about one user does not keep the other uses from being recorded.
	fault("RecordUses with another type", "WRONGTYPE", s.RecordUses(t.Context(), append([]tokenauth.Use{useOf(bob, time.Now())}, uses...)))
	if got := listed(t, s, token.Slot.User, token.Digest); got.LastSeen.IsZero() {
		t.Error("after an error about another user, the use is not recorded")
	}
	do(t, client, "SET", usesKey("tokenauth:", token.Slot.User), "x")
	_, err = s.List(t.Context(), token.Slot.User)
	fault("List with records of another type", "WRONGTYPE", err)
	do(t, client, "DEL", usesKey("tokenauth:", token.Slot.User))

	if err := client.Do(t.Context(), client.B().Replicaof().Host("127.0.0.1").Port(1).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	fault("Replace at a replica", "READONLY", s.Replace(t.Context(), other))
	fault("Refresh at a replica", "READONLY", refresh(token))
	fault("RecordUses at a replica", "READONLY", s.RecordUses(t.Context(), []tokenauth.Use{useOf(token, time.Now().Add(time.Hour))}))
	holds("at a replica")
}

// While the server is stopped or hangs, the service returns ErrUnavailable within
// its timeout, and never ErrInvalidToken. When the server is back, the service
// works again.
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
				t.Errorf("%s: Validate returns error %v, want ErrUnavailable", during, err)
			}
			if _, err := auth.Issue(t.Context(), principal, nil); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("%s: Issue returns error %v, want ErrUnavailable", during, err)
			}
			if err := auth.RevokeUser(t.Context(), "bob"); !errors.Is(err, tokenauth.ErrUnavailable) {
				t.Errorf("%s: RevokeUser returns error %v, want ErrUnavailable", during, err)
			}
			if took := time.Since(began); took > soon {
				t.Errorf("%s: attempt %d took %v, with three timeouts of %v", during, i, took, timeout)
			}
		}
	}
	issues := func(after string) {
		t.Helper()
		eventually(t, "a token is issued after "+after, func() bool {
			grant, err := auth.Issue(t.Context(), principal, nil)
			accessToken = grant.AccessToken.Reveal()
			return err == nil
		})
	}
	recovers := func(after string) {
		t.Helper()
		eventually(t, "the token is valid after "+after, func() bool {
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
	// The calls of Issue that hung may have replaced the token, so issue a new
	// one first.
	issues("the pause")
	recovers("the pause")
}

// endings are two ways to end a context after 100 ms.
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

// Each call returns when its context ends, even if the server hangs.
func TestContextEndsWhileTheServerHangs(t *testing.T) {
	t.Parallel()
	server := throwaway.StartRedis(t)
	for name, end := range endings {
		s := newStore(t, open(t, option(t, server.DSN())), "")
		token := newToken("alice", "", 1, time.Hour)
		for range 50 { // opens all connections of the client
			replace(t, s, token)
		}
		server.Pause(t)
		for call, do := range map[string]func(context.Context) error{
			"Find":      func(ctx context.Context) error { _, err := s.Find(ctx, token.Slot); return err },
			"FindBatch": func(ctx context.Context) error { _, err := s.FindBatch(ctx, []tokenauth.Slot{token.Slot}); return err },
			"List":      func(ctx context.Context) error { _, err := s.List(ctx, token.Slot.User); return err },
			"Replace":   func(ctx context.Context) error { return s.Replace(ctx, token) },
			"FindRefresh": func(ctx context.Context) error {
				_, err := s.FindRefresh(ctx, []tokenauth.Slot{token.Slot})
				return err
			},
			"Refresh":    func(ctx context.Context) error { _, err := s.Refresh(ctx, token, token); return err },
			"Revoke":     func(ctx context.Context) error { return s.Revoke(ctx, token.Slot, tokenauth.Digest{9}) },
			"RevokeUser": func(ctx context.Context) error { return s.RevokeUser(ctx, tokenauth.UserKeyOf("bob")) },
			"RecordUses": func(ctx context.Context) error {
				return s.RecordUses(ctx, []tokenauth.Use{useOf(token, time.Now())})
			},
		} {
			ctx, cancel := end(t.Context())
			began := time.Now()
			err := do(ctx)
			if took := time.Since(began); err == nil || errors.Is(err, tokenauth.ErrNotFound) || took > soon {
				t.Errorf("%s: %s returned error %v after %v, want an error of the context at once", name, call, err, took)
			}
			cancel()
		}
		server.Resume(t)
	}
}

// A call that waits for a connection, which another call opens, returns when its
// own context ends.
func TestContextEndsWhileTheClientConnects(t *testing.T) {
	t.Parallel()
	trial.Run(t, contextEndsWhileTheClientConnects)
}

func contextEndsWhileTheClientConnects(t *trial.T) {
	server := throwaway.StartRedis(t)
	o := option(t, server.DSN())
	o.ConnWriteTimeout = 100 * time.Millisecond // after that the client reconnects
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
					t.Errorf("a call on a server that hangs returned error %v, want a storage error", err)
				}
				if took := int64(time.Since(began)); took > slowest.Load() {
					slowest.Store(took)
				}
			})
		}
	}
	calls.Wait()
	if took := time.Duration(slowest.Load()); took > 1600*time.Millisecond {
		t.Late(fmt.Errorf("the slowest call with a timeout of 1s took %v", took))
	}
	server.Resume(t)
}

// The data in Redis does not contain the access token, nor a part of its secret.
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
		t.Fatalf("Redis contains %q, which lacks the stored token", dump.String())
	}
	// An access token is a prefix, and then the slot, the secret and a checksum.
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(accessToken, "tat_"))
	if err != nil || len(raw) < 64 {
		t.Fatalf("the access token decodes to %d bytes, error %v, want at least 64", len(raw), err)
	}
	secret := raw[32:64]
	for _, part := range [][]byte{
		[]byte(accessToken), []byte(accessToken[len(accessToken)-44:]),
		secret, secret[:16], secret[16:], []byte(fmt.Sprintf("%x", secret)),
	} {
		if bytes.Contains(dump.Bytes(), part) {
			t.Errorf("Redis contains %d bytes of the access token", len(part))
		}
	}
}

// The store works with a client that uses RESP2.
func TestStorageWithRESP2(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.Redis(t))
	o.AlwaysRESP2, o.DisableCache = true, true
	client := open(t, o)
	storagetest.Run(t, func(t *testing.T) tokenauth.Storage { return newStore(t, client, newPrefix(t, client)) })
}

// The store and the feed need no other commands than the README lists.
func TestDocumentedRightsSuffice(t *testing.T) {
	t.Parallel()
	o := option(t, throwaway.StartRedis(t).DSN())
	admin := open(t, o)
	rights := append([]string{"ACL", "SETUSER", "service", "reset", "on", ">password", "~tokenauth:*", "~{tokenauth:*"},
		// For the rueidis client.
		"+hello", "+cluster|slots", "+ping",
		// For the store.
		"+evalsha", "+eval", "+hget", "+hgetall", "+hset", "+hdel", "+ttl", "+expire", "+unlink",
		// For last uses.
		"+hlen", "+time",
		// For counters, and to end the tokens of many users.
		"+mget", "+set", "+scan",
		// For the feed.
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
		t.Errorf("List returns %d tokens, error %v, want 1 token", len(tokens), err)
	}
	if now, err := w.Now(t.Context()); err != nil || time.Since(now).Abs() > time.Minute {
		t.Errorf("Now returns %v, error %v, want the time of this machine", now, err)
	}
	// The hash of records has more fields than that of tokens, so RecordUses also
	// removes records.
	do(t, admin, "HSET", usesKey("tokenauth:", token.Slot.User), "another field", "x")
	use := useOf(token, time.Now())
	use.ExpiresAt = token.ExpiresAt.Add(time.Hour)
	record(t, w, use)
	if err := w.Rename(t.Context(), token.Slot, token.Digest, "another"); err != nil {
		t.Error(err)
	}
	was := refreshToken("bob", 2, time.Hour, 30*24*time.Hour)
	replace(t, w, was)
	do(t, admin, "PERSIST", key("tokenauth:", was.Slot.User))
	refreshed(t, w, was, 3, 30*24*time.Hour) // also sets the expiry of the hash
	if err := w.Revoke(t.Context(), token.Slot, token.Digest); err != nil {
		t.Error(err)
	}
	if err := w.RevokeUser(t.Context(), was.Slot.User); err != nil {
		t.Error(err)
	}
	if err := w.RevokeUser(t.Context(), token.Slot.User); err != nil {
		t.Error(err)
	}
	replace(t, w, token)
	if err := w.RevokeClient(t.Context(), token.ClientID); err != nil {
		t.Error(err)
	}
	replace(t, w, token)
	if ended, err := w.RevokeUnused(t.Context(), time.Now().AddDate(1, 0, 0)); err != nil || ended != 1 {
		t.Errorf("RevokeUnused returns %d, error %v, want 1", ended, err)
	}
	replace(t, w, token)
	if err := w.RevokeAll(t.Context()); err != nil {
		t.Error(err)
	}
	for _, change := range []func([]throttle.Counter){count, func(c []throttle.Counter) { clear(c) }} {
		if err := w.UpdateCounters(t.Context(), []throttle.Key{{1}, {2}}, change); err != nil {
			t.Error(err)
		}
	}
	auth := service(t, w, tokenauth.Options{Cache: &tokenauth.CacheOptions{}})
	eventually(t, "the cache serves", func() bool { return auth.CacheStats().FeedAlive })

	// The feed has a Redis user of its own.
	do(t, admin, "ACL", "SETUSER", "feed", "reset", "on", ">password", "~tokenauth:*",
		"+hello", "+ping", "+hget", "+client|tracking", "+cluster|slots", "+cluster|info", "+cluster|nodes")
	own := o
	own.Username = "feed"
	trial.Run(t, func(t *trial.T) { watch(t, withFeed(t, o, own, ""), beat) })
}
