// Package redisstore keeps tokens in Redis, through the rueidis client that a
// host already has.
//
// A user is one hash, and the token at a client one field of it. What is done
// with a token is one command that touches one key, so all works alike on a
// single server, with Sentinel, and on Redis Cluster. Reads go to masters, since
// replicas lag, also if ClientOption.SendToReplicas is rueidis.Completed.IsReadOnly
// or the like; do not have it choose by the command's name.
//
// What changes tokens is a script. A host that restricts commands allows
// EVALSHA, EVAL, HGET, HGETALL, HSET, HDEL, TTL, EXPIRE and UNLINK, for keys
// with the prefix. Redis 5 will do, and neither RESP3 nor CLIENT TRACKING is
// needed: set ClientOption.DisableCache, since rueidis does not connect otherwise
// where they are missing.
//
// # Counters of attempts
//
// Replicas may count failed sign-ins together here
// (tokenauth.ThrottleOptions.Key). A counter is a key of its own that begins
// with the prefix in braces: {tokenauth:}. A host that restricts commands allows
// EVALSHA, EVAL, MGET, SET and UNLINK for those.
//
// On Redis Cluster the braces put all counters into one slot. Those that an
// attempt changes have to be in one, as that is one step, and any account may
// meet any source in an attempt. So one master counts for all. An attempt asks
// it four times or so, which is little beside the hashing of a password.
//
// # Ending a client's tokens
//
// Store.RevokeClient looks at the name of each key there is. It needs SCAN, and
// on a cluster CLUSTER INFO and CLUSTER NODES.
//
// # Expiry
//
// Redis removes a user's hash a day after the last of its tokens has expired,
// and a counter when it says nothing any more, so there is nothing to purge. The
// day is for clients, who are told that their token has expired rather than that
// it is unknown, and for clocks that do not keep the same time.
//
// # What Redis has to be told
//
// Tokens are data, not a cache of something. The server needs
//
//	maxmemory-policy noeviction
//	appendonly yes
//
// With another policy it removes tokens when memory is short; without
// persistence it forgets them when it restarts. Both fail closed: whoever
// loses a token signs in again. Only the counters of attempts begin afresh.
//
// # What a fail-over may lose
//
// Redis copies to its replicas after it has answered. When a master dies, its
// last writes may die with it. A token that was just issued is then unknown,
// and its client signs in again. But a token that was just revoked or replaced
// is good again, on the new master, until it expires or is revoked once more.
// The settings min-replicas-to-write and min-replicas-max-lag bound this to
// some seconds of a master that is cut off; they, or WAIT, which this package
// does not use, do not rule it out. Where a revocation must survive the loss of
// a server, keep tokens in PostgreSQL with synchronous replication: see the
// package gormstore.
//
// A change is lost as a whole, or not at all. A master that hung while its replica
// took over, and goes on, may lose what it was asked before, which it answers
// then.
//
// The guide of the folder storage has a table of what clients see of a fail-over, and
// of how much was lost.
//
// CLUSTER FAILOVER loses none. But wait for twice cluster-node-timeout before you
// ask the same node to take over again: Redis 7.0 counts the votes of the time
// before once more, and has two masters for a moment.
//
// SENTINEL FAILOVER loses what the old master confirms until the clients have
// been told of the new one, for about a second. With min-replicas-to-write it
// refuses changes when it has noticed that its replica has left it, so that few
// are lost; but then the new master refuses them, too, until it has a replica,
// which with two servers takes some 10 seconds.
//
// # What the client should be told
//
// ClientOption.ConnWriteTimeout is how long the client waits for an answer
// on a connection that the network has forgotten without telling; the client's
// default is 10 seconds, in which each call on it fails. Set it to a second or
// so.
//
// With Sentinel, set ClientOption.Sentinel.TopologyRefreshInterval to 5 seconds
// or so. A client that has missed what the sentinels said stays with the old
// master otherwise, and reads what that has, as a replica by then.
//
// # The feed
//
// WithFeed makes a store that tells of tokens that end, for
// tokenauth.Options.Cache. It needs RESP3 and client tracking, of Redis 6 or later:
// of its user the commands HELLO, PING and CLIENT TRACKING, HGET for keys with the
// prefix, and on a cluster CLUSTER INFO and CLUSTER NODES. What else was tried, and
// which proxies cannot pass it on, is in the README of this folder.
//
// It hears of a change from the master that made it. A master that is replaced,
// a slot that moves to a node without any, or a node that does not answer ends
// the feed; the service asks Redis then, until a new feed is there, a moment
// later. With Sentinel, an old master that is cut off ends the feed as soon as the
// store's client knows the new one; min-replicas-to-write bounds how long an old
// master that nobody told of takes changes.
//
// # Heartbeats
//
// The feeds of all replicas together write one heartbeat for each quarter of
// tokenauth.CacheOptions.Lease to a key of each master, whose name is the prefix
// and 32 digits that begin with zeros. It is the hash of a user that nobody is. It
// goes away an hour after the last of them. A heartbeat is written by the client of
// New, and has to arrive at the connections of WithFeed, so these do not go
// unnoticed:
//
//   - an option of WithFeed that leads to another server or database than the
//     client of New,
//   - SWAPDB,
//   - a proxy that passes on answers but no push messages,
//   - a server that takes no change: it is out of memory (OOM), without replicas
//     (NOREPLICAS), a replica (READONLY), unable to persist (MISCONF), or denies
//     the client its commands (NOPERM).
//
// The cache does not serve then, each validation asks Redis, and the log says
// why, once. What cannot be noticed: a proxy that drops the messages about some
// keys and passes on those about heartbeats.
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

// Options are what a host may want otherwise. The zero value is the advice.
type Options struct {
	// Prefix begins the names of the keys; empty means "tokenauth:". It has 1
	// to 64 printable ASCII characters other than space, '{' and '}'. No other
	// key in Redis may begin with it, or with it in braces.
	//
	// Each service in a Redis needs its own: with the same prefix, services accept
	// each other's tokens. tokenauth.Service.Run logs that. With another prefix, all
	// earlier tokens are unknown.
	Prefix string
}

const (
	defaultPrefix   = "tokenauth:"
	maxPrefixLength = 64
)

// A Store is a tokenauth.Storage in Redis, and has the abilities BatchFinder,
// Lister, throttle.Storage and ClientRevoker. It is safe for concurrent use, by any
// number of processes on one Redis.
//
// Its methods return as soon as their context ends, but for FindBatch. What the
// client was asked for goes on behind that until it notices, for as long as
// ClientOption.Dialer.Timeout while it connects.
type Store struct {
	client rueidis.Client
	prefix string
	turn   chan struct{} // has room for the one that updates counters again
}

var (
	_ tokenauth.Storage     = (*Store)(nil)
	_ tokenauth.BatchFinder = (*Store)(nil)
	_ tokenauth.Lister      = (*Store)(nil)
)

// New returns a Store that uses the client. Options may be nil. The error names
// the argument or field that is wrong. New does no I/O. The host keeps the
// client, and closes it.
func New(client rueidis.Client, o *Options) (*Store, error) {
	if client == nil {
		return nil, errors.New("redisstore: the client is nil")
	}
	prefix := defaultPrefix
	if o != nil && o.Prefix != "" {
		prefix = o.Prefix
	}
	// Braces would send all users to one node of a cluster.
	bad := func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }
	if len(prefix) > maxPrefixLength || strings.ContainsFunc(prefix, bad) {
		return nil, fmt.Errorf("redisstore: Options.Prefix is %q, must be 1 to %d printable ASCII characters other than space and braces", prefix, maxPrefixLength)
	}
	return &Store{client: client, prefix: prefix, turn: make(chan struct{}, 1)}, nil
}

// Replace implements tokenauth.Storage, by one script.
func (s *Store) Replace(ctx context.Context, t tokenauth.Token) error {
	digest, rest, err := encode(t)
	if err != nil {
		return err
	}
	return s.exec(ctx, replaceScript, t.Slot.User, field(t.Slot.Client), digest, rest, strconv.FormatInt(keptFor(&t), 10))
}

// Find implements tokenauth.Storage, by one HGET.
func (s *Store) Find(ctx context.Context, slot tokenauth.Slot) (tokenauth.Token, error) {
	return tokenOf(await(ctx, func() ([]byte, error) {
		return s.client.Do(ctx, s.hget(slot)).AsBytes()
	}))
}

// List implements tokenauth.Lister, by one HGETALL.
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

// Revoke implements tokenauth.Storage, by one script.
func (s *Store) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	return s.exec(ctx, revokeScript, slot.User, field(slot.Client), rueidis.BinaryString(d[:]))
}

// exec runs a script on the user's hash.
func (s *Store) exec(ctx context.Context, script *rueidis.Lua, u tokenauth.UserKey, args ...string) error {
	_, err := await(ctx, func() (rueidis.RedisMessage, error) {
		return script.Exec(ctx, s.client, []string{s.key(u)}, args).ToMessage()
	})
	return err
}

// RevokeUser implements tokenauth.Storage, by one UNLINK.
func (s *Store) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	_, err := await(ctx, func() (int64, error) {
		return s.client.Do(ctx, s.client.B().Unlink().Key(s.key(u)).Build()).AsInt64()
	})
	return err
}

// read returns a command that reads keys. The client may send it again, and
// does not know that it only reads: ClientOption.SendToReplicas is commonly a
// function that sends such commands to replicas, which lag.
func (s *Store) read(command string, keys []string, args ...string) rueidis.Completed {
	return s.client.B().Arbitrary(command).Keys(keys...).Args(args...).Build().ToRetryable()
}

// key returns the name of the user's hash.
func (s *Store) key(u tokenauth.UserKey) string {
	var buffer [maxPrefixLength + 2*len(u)]byte
	return string(hex.AppendEncode(append(buffer[:0], s.prefix...), u[:]))
}

// field returns the name of the client's field in it.
func field(c tokenauth.ClientKey) string { return hex.EncodeToString(c[:]) }
