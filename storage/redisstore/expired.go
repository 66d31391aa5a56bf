package redisstore

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// dropExpired removes the user's keys that expired more than a day ago, after a new key
// was stored. Redis does not remove them, because it keeps the whole hash until the last
// key in it has expired, and some keys never expire.
//
// A clock may be wrong. So a key must have expired by the clock of Redis, and by that of
// the service, which issued the new key at the given time. An error does not matter,
// because the next new key leads to another try.
func (s *Store) dropExpired(ctx context.Context, u tokenauth.UserKey, issued time.Time) {
	_, _ = await(ctx, func() (int64, error) {
		return expiredScript.exec(ctx, s.client, []rueidis.LuaExec{{
			Keys: []string{s.key(u), s.usesKey(u)},
			Args: []string{secondsOf(issued), strconv.FormatFloat(rand.Float64(), 'f', 9, 64)},
		}})
	})
}

// isKey reports whether a token is an API key. The record that a Service keeps of a key's
// owner has the same client ID, but has already expired when it is stored.
func isKey(t *tokenauth.Token) bool {
	return t.ClientID == keyClient && t.ExpiresAt.After(t.IssuedAt)
}

// expiredScript removes the tokens in the hash KEYS[1], and their records in KEYS[2], that
// expired more than a day before both the time ARGV[1] and that of the clock. It reads
// the expiry as recordScript does, and keeps a token with another encoding. It returns
// the number of tokens that it removed.
//
// ARGV[2] is a random number from 0 to 1. With more than 256 tokens the script mostly does
// nothing. So on average a new key costs as much as with 256, however many there are.
var expiredScript = newScript(usesLua + `
if tonumber(ARGV[2]) * redis.call('HLEN', KEYS[1]) > 256 then
	return 0
end
local before = math.min(seconds(ARGV[1], 1), tonumber(redis.call('TIME')[1])) - 24 * 60 * 60
local all, n = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
	local value = all[i + 1]
	local encoding = string.byte(value, 65)
	if #value > 177 and (encoding == 1 or encoding == 2) and seconds(value, 170) < before then
		redis.call('HDEL', KEYS[1], all[i])
		redis.call('HDEL', KEYS[2], all[i])
		n = n + 1
	end
end
return n
`)
