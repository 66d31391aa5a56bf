// Package redisstore keeps tokens in Redis, through the [rueidis.Client] that
// your program already has.
//
// One hash holds all tokens of a user, with one field for each client and device.
// Each operation on a token is one command or script on one key. So the store
// works in the same way on a single server, with Sentinel and on Redis Cluster.
//
// The store reads from masters only, because replicas lag. It does so even if
// [rueidis.ClientOption.SendToReplicas] is [rueidis.Completed.IsReadOnly] or a
// similar function. Do not use a function that decides by the command name,
// because it would send token reads to replicas.
//
// The store changes tokens with scripts. If you restrict which commands the
// Redis user may run, allow EVALSHA, EVAL, HGET, HGETALL, HSET, HDEL, TTL,
// EXPIRE and UNLINK, for keys with the prefix. The store works with Redis 5 or
// later, and needs neither RESP3 nor CLIENT TRACKING. If the server does not
// support RESP3 or CLIENT TRACKING, set [rueidis.ClientOption.DisableCache],
// because rueidis does not connect otherwise.
//
// # Attempt counters
//
// Replicas of a service can count failed sign-ins together in Redis, if you set
// [tokenauth.ThrottleOptions.Key]. Each counter has its own key, whose name
// begins with the prefix in braces: {tokenauth:}. The Redis user then also
// needs EVALSHA, EVAL, MGET, SET and UNLINK for these keys.
//
// On Redis Cluster the braces put all counters into one slot, and therefore on
// one master. This is necessary because one sign-in attempt changes several
// counters in one step, and Redis allows this only in one slot. An attempt may
// combine the counters of any account and any source. It sends that master
// about four commands, which cost little compared with hashing a password.
//
// # Last uses
//
// [Store.RecordUses] keeps when each token was last used, for
// [tokenauth.Options.Devices], Keys, IdleTimeout and MaxLifetime. A second hash of the
// user has these records. Its name is that of the user's hash in braces, and
// ":uses": for example {tokenauth:0123…}:uses. On Redis Cluster the braces put
// both hashes into one slot, because the script that records a use needs both.
// The Redis user then also needs HLEN and TIME, and all rights for keys that begin with
// {tokenauth:.
//
// The name does not begin with the prefix, so that the feed reports no record.
// With MaxLifetime, a use also extends the token, which changes the user's own
// hash. So the feed reports the user, and the caches read the user's tokens
// again: once an hour for each token that is in use.
//
// Sign-ins and validations do not use the records. Only [Store.List] reads them,
// without a script. So if the server or a proxy refuses the script, tokens still
// work, but have no last use.
//
// [Store.Revoke], [Store.RevokeUser] and [Store.RevokeClient] leave the records.
// A record contains the digest of its token, and does not count for another one.
// RecordUses removes the records without a token if a user has more records than
// tokens. Redis removes the others when the user's tokens would have expired, and at
// the latest two years after the last use of any of the user's tokens.
//
// # Refresh tokens
//
// [Store.Refresh] runs a script that replaces the value of a token if it is still
// the value that [Store.FindRefresh] read. The Redis user needs no further rights
// for it. An earlier version of this package cannot read a value with a refresh
// token. So set [tokenauth.Options.Refresh] when all replicas run a version that
// has it.
//
// # API keys
//
// With [tokenauth.Options.Keys], all keys of a user are in one hash, apart from the user's
// other tokens. An imported key has a hash of its own beside it. The Redis user needs the
// rights for last uses, and no others: without them, keys can be made, but not used.
// [Store.Rename] runs a script with one key. When [Store.Replace] stores a key, it then
// runs a script that removes the user's keys that expired more than a day ago.
//
// # Ending the tokens of many users
//
// [Store.RevokeClient], [Store.RevokeAll] and [Store.RevokeUnused] read the name
// of every key in Redis. So the Redis user needs SCAN, and on a cluster also
// CLUSTER INFO and CLUSTER NODES.
//
// # Expiry
//
// Redis removes a user's hash one day after the last of its tokens and refresh
// tokens has expired.
// During that day, the service can still report an expired token as expired,
// and not just as unknown. The extra day also allows for clock differences.
// Redis keeps the records of last uses for at least as long as the user's hash.
// Redis removes a counter once it no longer affects any limit. So you need not
// purge anything.
//
// # Redis settings
//
// Tokens are data, not a cache of other data. The server needs these settings:
//
//	maxmemory-policy noeviction
//	appendonly yes
//
// With another policy Redis removes tokens when memory is short. Without
// persistence it loses them when it restarts. In both cases the users of the
// lost tokens must sign in again. Lost attempt counters start again at zero.
//
// # What a failover can lose
//
// A master confirms a change before it has replicated it. So when a master
// dies, its last changes may be lost. A token that was just issued is then
// unknown, and its client must sign in again. A token that was just revoked or
// replaced is valid again on the new master, until it expires or is revoked
// once more. A refresh token that a refresh just issued is unknown: when its
// client uses it, the sign-in ends, and the log reports reuse.
//
// The settings min-replicas-to-write and min-replicas-max-lag limit the loss
// when a master is cut off: it loses only a few seconds of changes. These
// settings do not prevent the loss. Neither would the WAIT command, which this
// package does not use. If a revocation must survive the loss of a server, keep
// tokens in PostgreSQL with synchronous replication: see package
// [github.com/bearerkit/bearerkit/storage/gormstore].
//
// A change is lost completely or not at all. A master may hang while its
// replica takes over, and then resume. It may then confirm requests that it
// received before it hung, although their changes are lost.
//
// The README of the storage folder has failover measurements: which responses
// clients got, and how many changes were lost.
//
// CLUSTER FAILOVER loses no changes. Wait for twice the cluster-node-timeout
// before you ask the same node to take over again. Otherwise Redis 7.0 counts
// the votes of the previous election again, and the cluster has two masters for
// a moment.
//
// SENTINEL FAILOVER loses the changes that the old master confirms before the
// clients know the new master, which takes about a second. With
// min-replicas-to-write the old master refuses changes once it notices that its
// replica has left, so few changes are lost. But the new master then refuses
// changes too, until it has a replica. With two servers, it gets a replica
// after about 10 seconds.
//
// # Client settings
//
// Set [rueidis.ClientOption.ConnWriteTimeout] to about a second. It limits how
// long the client waits for an answer on a connection that the network dropped
// silently. The default is 10 seconds, and all calls on that connection fail
// during this time.
//
// With Sentinel, set the TopologyRefreshInterval of
// [rueidis.ClientOption.Sentinel] to about 5 seconds. Version 1.0.79 of rueidis
// has this field, but 1.0.74 does not. Without this setting, a client that
// misses a message from the sentinels stays connected to the old master. It
// continues to read from that server, even after the server has become a
// replica.
//
// # The feed
//
// [WithFeed] returns a storage that also reports which tokens end, as
// [tokenauth.Options.Cache] requires. The feed needs RESP3 and client tracking,
// and therefore Redis 6 or later. Its Redis user needs the commands HELLO, PING
// and CLIENT TRACKING, HGET for keys with the prefix, and on a cluster CLUSTER
// INFO and CLUSTER NODES. The README of this folder lists the servers that were
// tried, and the proxies that do not work.
//
// Each master reports the changes that it makes. The feed ends when a master is
// replaced, when a slot moves to a node that had no slots, or when a node does
// not answer. The service then asks Redis about each token until a new feed has
// started, a moment later. With Sentinel, an old master may be cut off when
// another server replaces it. The feed then ends as soon as the store's client
// knows the new master. The setting min-replicas-to-write limits how long the
// old master still accepts changes.
//
// # Heartbeats
//
// All replicas of the service together write one heartbeat to each master in
// each quarter of [tokenauth.CacheOptions.Lease]. The name of its key is the
// prefix and 32 hexadecimal digits, of which the first 24 are zeros. The key
// holds a hash, like the key of a user, but belongs to no real user. Redis
// removes the key an hour after the last heartbeat.
//
// The client passed to [New] writes the heartbeat, and the feed's own
// connections must receive notice of that write. So the feed detects:
//
//   - a WithFeed option that leads to a different server or database than New's
//     client,
//   - SWAPDB,
//   - a proxy that passes on answers but no push messages,
//   - a server that accepts no changes, because it is out of memory (OOM), has
//     too few replicas (NOREPLICAS), is a replica (READONLY), cannot persist
//     (MISCONF), or does not allow the client's commands (NOPERM).
//
// In these cases the cache does not serve: each validation asks Redis, and the
// service logs the reason once. The feed does not detect a proxy that drops the
// messages about some keys but passes on those about heartbeats.
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
// a Redis server that only one service uses.
type Options struct {
	// Prefix is the text that each key name begins with. Empty means
	// "tokenauth:". A prefix has 1 to 64 printable ASCII characters other than
	// space, '{' and '}'. No key of another program may begin with the prefix,
	// or with '{' and the prefix.
	//
	// Give each service on the same Redis its own prefix. Services with the
	// same prefix accept each other's tokens, and [tokenauth.Service.Run] logs
	// a warning. If you change the prefix, all earlier tokens become unknown.
	Prefix string
}

const (
	defaultPrefix   = "tokenauth:"
	maxPrefixLength = 64
)

// Store is a [tokenauth.Storage] in Redis. [New] returns one. It is also a
// [tokenauth.BatchFinder], [tokenauth.Lister], [tokenauth.BulkRevoker],
// [tokenauth.UseRecorder], [tokenauth.Refresher], [tokenauth.Renamer] and
// [throttle.Storage]. It is safe for concurrent use, and several processes may share
// one Redis.
//
// Each method except [Store.FindBatch] returns as soon as its context ends. The
// client may continue with the command in the background for a while. A client
// that is still connecting may continue for up to the Timeout of
// [rueidis.ClientOption.Dialer].
type Store struct {
	client rueidis.Client
	prefix string
	turn   chan struct{} // holds a value while a call of UpdateCounters retries
}

var (
	_ tokenauth.Storage     = (*Store)(nil)
	_ tokenauth.BatchFinder = (*Store)(nil)
	_ tokenauth.Lister      = (*Store)(nil)
	_ tokenauth.Refresher   = (*Store)(nil)
	_ tokenauth.Renamer     = (*Store)(nil)
)

// New returns a [Store] that uses the client. The options may be nil. New does
// no I/O. The caller closes the client after the last use of the Store. An
// error names the argument or field that is invalid.
func New(client rueidis.Client, o *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: the client is nil")
	}
	prefix := defaultPrefix
	if o != nil && o.Prefix != "" {
		prefix = o.Prefix
	}
	// On a cluster, Redis would read braces as a hash tag, and put all users
	// into one slot and therefore on one node.
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }
	if len(prefix) > maxPrefixLength || strings.ContainsFunc(prefix, bad) {
		return nil, fmt.Errorf("redisstore: Options.Prefix is %q, must be 1 to %d printable ASCII characters other than space and braces", prefix, maxPrefixLength)
	}
	return &Store{client: client, prefix: prefix, turn: make(chan struct{}, 1)}, nil
}

// Replace implements [tokenauth.Storage] with one script. After an API key, it runs
// another script, which removes expired keys of the user.
func (s *Store) Replace(ctx context.Context, t tokenauth.Token) error {
	digest, rest, err := encode(t)
	if err != nil {
		return err
	}
	err = s.exec(ctx, replaceScript, t.Slot.User, field(t.Slot.Client), digest, rest, strconv.FormatInt(keptFor(&t), 10))
	if err == nil && isKey(&t) {
		s.dropExpired(ctx, t.Slot.User, t.IssuedAt)
	}
	return err
}

// Find implements [tokenauth.Storage] with one HGET.
func (s *Store) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	return tokenOf(await(ctx, func() ([]byte, error) {
		return s.client.Do(ctx, s.hget(slot)).AsBytes()
	}))
}

// List implements [tokenauth.Lister] with two HGETALLs in one pipeline: one for
// the tokens, and one for their last uses. If some tokens cannot be decoded, it
// returns the other tokens, and an error that wraps [tokenauth.ErrCorrupt].
func (s *Store) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	answers, err := await(ctx, func() ([]rueidis.RedisResult, error) {
		return s.client.DoMulti(ctx, s.read("HGETALL", []string{s.key(u)}), s.read("HGETALL", []string{s.usesKey(u)})), nil
	})
	if err != nil {
		return nil, err
	}
	values, err := answers[0].AsStrMap()
	if err != nil {
		return nil, err
	}
	uses, err := usesOf(answers[1])
	if err != nil {
		return nil, err
	}
	tokens := make([]tokenauth.Token, 0, len(values))
	var corrupt error
	for field, value := range values {
		t, err := decode([]byte(value))
		if err != nil {
			corrupt = errors.Join(corrupt, err)
			continue
		}
		t.LastSeen = lastSeen(uses[field], t.Digest)
		tokens = append(tokens, t)
	}
	return tokens, corrupt
}

// Revoke implements [tokenauth.Storage] with one script.
func (s *Store) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	return s.exec(ctx, revokeScript, slot.User, field(slot.Client), rueidis.BinaryString(d[:]))
}

// exec runs a script on the hash of user u.
func (s *Store) exec(ctx context.Context, script *rueidis.Lua, u tokenauth.UserKey, args ...string) error {
	_, err := await(ctx, func() (rueidis.RedisMessage, error) {
		return script.Exec(ctx, s.client, []string{s.key(u)}, args).ToMessage()
	})
	return err
}

// RevokeUser implements [tokenauth.Storage] with one UNLINK. It leaves the records
// of last uses, so that it is one command on one key.
func (s *Store) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	_, err := await(ctx, func() (int64, error) {
		return s.client.Do(ctx, s.client.B().Unlink().Key(s.key(u)).Build()).AsInt64()
	})
	return err
}

// read returns a command that reads keys. The client may retry the command. But
// the command is not marked as read-only, because
// [rueidis.ClientOption.SendToReplicas] often sends read-only commands to
// replicas, which lag.
func (s *Store) read(command string, keys []string, args ...string) rueidis.Completed {
	return s.client.B().Arbitrary(command).Keys(keys...).Args(args...).Build().ToRetryable()
}

// key returns the name of user u's hash.
func (s *Store) key(u tokenauth.UserKey) string {
	var buffer [maxPrefixLength + 2*len(u)]byte
	return string(hex.AppendEncode(append(buffer[:0], s.prefix...), u[:]))
}

// field returns the name of client c's field in a user's hash.
func field(c tokenauth.ClientKey) string { return hex.EncodeToString(c[:]) }
