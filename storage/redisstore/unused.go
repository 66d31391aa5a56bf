package redisstore

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// namesKey is the key under which services keep their names. No user has it.
var namesKey = tokenauth.UserKey(bytes.Repeat([]byte{0xFF}, len(tokenauth.UserKey{})))

// RevokeUnused implements [tokenauth.UseRecorder] with one script for each user.
// It reads all keys, and returns an error if it may have missed some, as
// [Store.RevokeClient] does.
//
// If the time has a fraction of a second, a token that has milliseconds and was
// issued in this same second stays.
func (s *Store) RevokeUnused(ctx context.Context, before time.Time) (ended int64, err error) {
	args := []string{secondsOf(before), secondsOf(before.Add(time.Second - 1))} // rounded down, and up
	var sum atomic.Int64 // not a result of sweep, because sweep continues for a while after the context ends
	err = s.sweep(ctx, func(conn rueidis.DedicatedClient, users []tokenauth.UserKey) error {
		runs := make([]rueidis.LuaExec, 0, len(users))
		for _, u := range users {
			if u != namesKey {
				runs = append(runs, rueidis.LuaExec{Keys: []string{s.key(u), s.usesKey(u)}, Args: args})
			}
		}
		n, err := unusedScript.exec(ctx, conn, runs)
		sum.Add(n)
		return err
	})
	return sum.Load(), err
}

// unusedScript removes each token in the hash KEYS[1] that was issued before a
// time, and has no record in the hash KEYS[2] of this time or later. ARGV holds
// the time, rounded down and rounded up. The script returns how many tokens it
// removed.
//
// A token with encoding 1 was issued in a whole second, so it was issued before
// the time if and only if it was issued before the time rounded up.
var unusedScript = newScript(tokenLua + usedLua + `
local before = {seconds(ARGV[2], 1), seconds(ARGV[1], 1)}
local ended = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	local field, value = all[i], all[i + 1]
	local time = before[encoding(value)]
	if time and seconds(value, 162) < time and
		not used(redis.call('HGET', KEYS[2], field), string.sub(value, 1, 32), before[1]) then
		redis.call('HDEL', KEYS[1], field)
		redis.call('HDEL', KEYS[2], field)
		ended = ended + 1
	end
end
return ended
`)
