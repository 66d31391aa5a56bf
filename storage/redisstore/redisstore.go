// Package redisstore keeps tokens in Redis, through the [rueidis.Client] that
// the host already has.
//
// One hash holds all tokens of a user, and each field of it holds the token at
// one client. Each operation on a token is one command or script on one key. So
// the store works the same on a single server, with Sentinel and on Redis
// Cluster.
//
// Reads go to masters, because replicas lag. This is so even if
// [rueidis.ClientOption.SendToReplicas] is [rueidis.Completed.IsReadOnly] or
// similar. Do not write a SendToReplicas that decides by the command's name: it
// would send reads of tokens to replicas.
//
// Scripts change tokens. If you restrict the commands of the Redis user, allow
// EVALSHA, EVAL, HGET, HGETALL, HSET, HDEL, TTL, EXPIRE and UNLINK, for keys with
// the prefix. The store works from Redis 5 on, and needs neither RESP3 nor CLIENT
// TRACKING. Where these are missing, set [rueidis.ClientOption.DisableCache],
// because rueidis does not connect otherwise.
//
// # Counters of attempts
//
// Replicas of a service can count failed sign-ins together in Redis, with
// [tokenauth.ThrottleOptions.Key]. Each counter is a key of its own. Its name
// begins with the prefix in braces: {tokenauth:}. The Redis user then also needs
// EVALSHA, EVAL, MGET, SET and UNLINK for these keys.
//
// On Redis Cluster the braces put all counters into one slot. One attempt
// changes several counters in one step, so these must be in the same slot, and
// any account may share an attempt with any source. So one master keeps the
// counters of all. An attempt sends it about four commands, which cost little
// beside the hashing of a password.
//
// # Ending a client's tokens
//
// [Store.RevokeClient] reads the name of every key in Redis. It needs SCAN, and
// on a cluster also CLUSTER INFO and CLUSTER NODES.
//
// # Expiry
//
// Redis removes a user's hash one day after the last of its tokens expired. It
// removes a counter once the counter affects no limit. So the host has nothing
// to purge. During that day a client learns that its token has expired, rather
// than that it is unknown. The day also allows for clocks that differ.
//
// # Settings of Redis
//
// Tokens are data, not a cache of other data. The server needs
//
//	maxmemory-policy noeviction
//	appendonly yes
//
// With another policy Redis removes tokens when memory is short. Without
// persistence it loses them when it restarts. In both cases the users whose
// tokens are lost sign in again. Lost counters of attempts start again at zero.
//
// # What a failover can lose
//
// A master replicates a change after it has confirmed it. When a master dies,
// its last changes may be lost. A token that was just issued is then unknown,
// and its client signs in again. A token that was just revoked or replaced is
// valid again on the new master, until it expires or is revoked once more.
//
// The settings min-replicas-to-write and min-replicas-max-lag limit the loss to
// a few seconds of a master that is cut off. Neither they nor WAIT, which this
// package does not use, prevent it. If a revocation must survive the loss of a
// server, keep tokens in PostgreSQL with synchronous replication: see package
// [github.com/bearerkit/bearerkit/storage/gormstore].
//
// A change is lost completely or not at all. A master may hang while its replica
// takes over, and then continue. It may then confirm the requests that it
// received before, although their changes are lost.
//
// The README of the folder storage has measurements of failovers: the responses
// that clients got, and the number of changes that were lost.
//
// CLUSTER FAILOVER loses no changes. Wait for twice cluster-node-timeout before
// you ask the same node to take over again. Otherwise Redis 7.0 counts the votes
// of the previous election once more, and has two masters for a moment.
//
// SENTINEL FAILOVER loses the changes that the old master confirms until the
// clients know the new one, for about a second. With min-replicas-to-write the
// old master refuses changes once it notices that its replica has left, so few
// are lost. But the new master then refuses changes too, until it has a replica.
// With two servers this takes about 10 seconds.
//
// # Settings of the client
//
// Set [rueidis.ClientOption.ConnWriteTimeout] to about a second. It bounds how
// long the client waits for an answer on a connection that the network dropped
// silently. The default is 10 seconds, and until then each call on that
// connection fails.
//
// With Sentinel, set [rueidis.ClientOption.Sentinel] with a
// TopologyRefreshInterval of about 5 seconds. Without it, a client that misses a
// message of the sentinels stays with the old master. It then reads from that
// server, which is a replica by then.
//
// # The feed
//
// [WithFeed] returns a storage that reports tokens that end, for
// [tokenauth.Options.Cache]. It needs RESP3 and client tracking, so Redis 6 or
// later. Its user needs the commands HELLO, PING and CLIENT TRACKING, HGET for
// keys with the prefix, and on a cluster CLUSTER INFO and CLUSTER NODES. The
// README of this folder lists the servers that were tried, and the proxies that
// do not work.
//
// Each master reports the changes that it makes. The feed ends when a master is
// replaced, when a slot moves to a node that had none, or when a node does not
// answer. The service then asks Redis until a new feed is there, a moment later.
// With Sentinel, the feed of an old master that is cut off ends as soon as the
// store's client knows the new master. The setting min-replicas-to-write bounds
// how long an old master that is cut off accepts changes.
//
// # Heartbeats
//
// The feeds of all replicas together write one heartbeat for each quarter of
// [tokenauth.CacheOptions.Lease] to one key of each master. The name of that
// key is the prefix and 32 hexadecimal digits that begin with zeros. It is the
// hash of a user key that no real user has. Redis removes it an hour after the
// last heartbeat.
//
// The client of [New] writes the heartbeat, and the connections of [WithFeed]
// must receive it. So the feed detects:
//
//   - an option of WithFeed that leads to another server or database than the
//     client of New,
//   - SWAPDB,
//   - a proxy that passes on answers but no push messages,
//   - a server that accepts no changes: it is out of memory (OOM), without
//     replicas (NOREPLICAS), a replica (READONLY), unable to persist (MISCONF), or
//     denies the client its commands (NOPERM).
//
// The cache does not serve then. Each validation asks Redis, and the service logs
// the reason once. The feed does not detect a proxy that drops the messages about
// some keys but passes on those about heartbeats.
package redisstore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// Options configures a [Store]. The zero value selects the defaults, which suit
// a Redis that one service uses.
type Options struct {
	// Prefix is the start of the name of each key. Empty means "tokenauth:". It
	// has 1 to 64 printable ASCII characters other than space, '{' and '}'. No
	// key of another program may begin with the prefix, or with the prefix in
	// braces.
	//
	// Give each service in a Redis its own prefix: services with the same prefix
	// accept each other's tokens, and [tokenauth.Service.Run] logs a warning. If
	// you change the prefix, all earlier tokens are unknown.
	Prefix string
}

const (
	defaultPrefix   = "tokenauth:"
	maxPrefixLength = 64
)

// Store is a [tokenauth.Storage] in Redis. [New] returns one. It is also a
// [tokenauth.BatchFinder], [tokenauth.Lister], [tokenauth.ClientRevoker] and
// [throttle.Storage]. It is safe for concurrent use, also by several processes on
// one Redis.
//
// Each method except [Store.FindBatch] returns as soon as its context ends. The
// client may continue with the command for a while in the background: while it
// connects, for up to the Timeout of [rueidis.ClientOption.Dialer].
type Store struct {
	client rueidis.Client
	prefix string
	turn   chan struct{} // full while a call of UpdateCounters retries
}

var (
	_ tokenauth.Storage     = (*Store)(nil)
	_ tokenauth.BatchFinder = (*Store)(nil)
	_ tokenauth.Lister      = (*Store)(nil)
)

// New returns a [Store] that uses the client. The options may be nil. New does no
// I/O. The caller closes the client, after the last use of the Store. The error
// names the argument or field that is invalid.
func New(client rueidis.Client, o *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: the client is nil")
	}
	prefix := defaultPrefix
	if o != nil && o.Prefix != "" {
		prefix = o.Prefix
	}
	// Braces would put all users into one slot, so on one node of a cluster.
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }
	if len(prefix) > maxPrefixLength || strings.ContainsFunc(prefix, bad) {
		return nil, fmt.Errorf("redisstore: Options.Prefix is %q, must be 1 to %d printable ASCII characters other than space and braces", prefix, maxPrefixLength)
	}
	return &Store{client: client, prefix: prefix, turn: make(chan struct{}, 1)}, nil
}

// Replace implements [tokenauth.Storage] with one script.
func (s *Store) Replace(ctx context.Context, t tokenauth.Token) error {
	digest, rest, err := encode(t)
	if err != nil {
		return err
	}
	return s.exec(ctx, replaceScript, t.Slot.User, field(t.Slot.Client), digest, rest, strconv.FormatInt(keptFor(&t), 10))
}

// Find implements [tokenauth.Storage] with one HGET.
func (s *Store) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	return tokenOf(await(ctx, func() ([]byte, error) {
		return s.client.Do(ctx, s.hget(slot)).AsBytes()
	}))
}

// List implements [tokenauth.Lister] with one HGETALL. If some tokens cannot be
// decoded, it returns the others and an error that wraps
// [tokenauth.ErrCorrupt].
func (s *Store) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	values, err := await(ctx, func() (map[string]string, error) {
		return s.client.Do(ctx, s.read("HGETALL", []string{s.key(u)})).AsStrMap()
	})
	if err != nil {
		return nil, err
	}
	tokens := make([]tokenauth.Token, 0, len(values))
	var corrupt error
	for _, value := range values {
		t, err := decode([]byte(value))
		if err != nil {
			corrupt = errors.Join(corrupt, err)
			continue
		}
		tokens = append(tokens, t)
	}
	return tokens, corrupt
}

// Revoke implements [tokenauth.Storage] with one script.
func (s *Store) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	return s.exec(ctx, revokeScript, slot.User, field(slot.Client), rueidis.BinaryString(d[:]))
}

// exec runs a script on the hash of a [tokenauth.UserKey].
func (s *Store) exec(ctx context.Context, script *rueidis.Lua, u tokenauth.UserKey, args ...string) error {
	_, err := await(ctx, func() (rueidis.RedisMessage, error) {
		return script.Exec(ctx, s.client, []string{s.key(u)}, args).ToMessage()
	})
	return err
}

// RevokeUser implements [tokenauth.Storage] with one UNLINK.
func (s *Store) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	_, err := await(ctx, func() (int64, error) {
		return s.client.Do(ctx, s.client.B().Unlink().Key(s.key(u)).Build()).AsInt64()
	})
	return err
}

// read returns a command that reads keys. It lets the client retry the command,
// but does not mark it as read-only. [rueidis.ClientOption.SendToReplicas] often
// sends read-only commands to replicas, which lag.
func (s *Store) read(command string, keys []string, args ...string) rueidis.Completed {
	return s.client.B().Arbitrary(command).Keys(keys...).Args(args...).Build().ToRetryable()
}

// key returns the name of the hash of a [tokenauth.UserKey].
func (s *Store) key(u tokenauth.UserKey) string {
	var buffer [maxPrefixLength + 2*len(u)]byte
	return string(hex.AppendEncode(append(buffer[:0], s.prefix...), u[:]))
}

// field returns the name of the field of a [tokenauth.ClientKey] in a user's
// hash.
func field(c tokenauth.ClientKey) string { return hex.EncodeToString(c[:]) }
