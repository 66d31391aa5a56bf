package redisstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// namesKey is the key under which services keep their names. No user has it.
var namesKey = tokenauth.UserKey(bytes.Repeat([]byte{0xFF}, len(tokenauth.UserKey{})))

// RevokeUnused implements [tokenauth.UseRecorder]. It reads all tokens in Redis,
// and removes each one that was not used with a script. It returns an error if
// it may have missed some keys, as [Store.RevokeClient] does.
func (s *Store) RevokeUnused(ctx context.Context, before time.Time) (ended int64, err error) {
	since := secondsOf(before.Add(time.Second - 1)) // records have whole seconds, so round up
	var sum atomic.Int64                            // shared, because sweep continues for a while after its context ends
	err = s.sweep(ctx, func(conn rueidis.DedicatedClient, users []tokenauth.UserKey) error {
		var runs []rueidis.LuaExec
		err := s.each(ctx, conn, users, func(u tokenauth.UserKey, name, value string) {
			t, err := decode([]byte(value))
			if err != nil || u == namesKey || t.ClientID == keyClient || !t.IssuedAt.Before(before) {
				return
			}
			runs = append(runs, rueidis.LuaExec{
				Keys: []string{s.key(u), s.usesKey(u)},
				Args: []string{name, string(t.Digest[:]), since},
			})
		})
		if err != nil {
			return err
		}
		n, err := unusedScript.exec(ctx, conn, runs)
		sum.Add(n)
		return err
	})
	return sum.Load(), err
}

// unusedScript removes the token in field ARGV[1] of the hash KEYS[1], and its
// record in KEYS[2], if the token still has the digest ARGV[2] and no use was
// recorded at the time ARGV[3] or later. It returns the number of tokens that it
// removed.
var unusedScript = newScript(usesLua + `
local field, digest, since = ARGV[1], ARGV[2], ARGV[3]
local value = redis.call('HGET', KEYS[1], field)
if not value or string.sub(value, 1, 32) ~= digest or used(redis.call('HGET', KEYS[2], field), digest, since) then
	return 0
end
redis.call('HDEL', KEYS[1], field)
redis.call('HDEL', KEYS[2], field)
return 1
`)

// Now returns the time of a Redis server's clock, in whole seconds. A
// [tokenauth.Service] with [tokenauth.Options.IdleTimeout] compares it with its
// own clock before it ends idle tokens.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	answer, err := await(ctx, func() ([]int64, error) {
		return s.client.Do(ctx, s.client.B().Time().Build()).AsIntSlice()
	})
	if err == nil && len(answer) == 0 {
		err = errors.New("the answer is empty")
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("redisstore: reading the clock of Redis: %w", err)
	}
	return time.Unix(answer[0], 0).UTC(), nil
}
