package redisstore

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var _ tokenauth.UseRecorder = (*Store)(nil)

// usesKey returns the name of the hash with the last uses of user u's tokens.
//
// The name does not begin with the prefix, because the feed would report each
// change to it. The braces contain the whole name of the user's own hash, so
// that a cluster keeps both in the same slot.
func (s *Store) usesKey(u tokenauth.UserKey) string { return "{" + s.key(u) + "}:uses" }

// RecordUses implements [tokenauth.UseRecorder] with one script for each use,
// all in one pipeline.
//
// The records of a user are in a hash of their own. A field has the same name as
// the token's field, and contains the token's digest and the time of the use. If
// the digest is that of an earlier token, the record does not count.
//
// The feed reports no record. It does report a user for whom a use extends a
// token, at most once an hour for each token, because the token itself changes.
func (s *Store) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	runs := make([]rueidis.LuaExec, len(uses))
	for i, use := range uses {
		u, expiresAt := use.Slot.User, ""
		if !use.ExpiresAt.IsZero() {
			expiresAt = secondsOf(use.ExpiresAt)
		}
		// The token was used at use.At or later, so this is not too short.
		kept := keptFor(&tokenauth.Token{IssuedAt: use.At, ExpiresAt: use.ExpiresAt})
		runs[i] = rueidis.LuaExec{
			Keys: []string{s.key(u), s.usesKey(u)},
			Args: []string{field(use.Slot.Client), rueidis.BinaryString(use.Digest[:]), secondsOf(use.At), expiresAt, strconv.FormatInt(kept, 10)},
		}
	}
	_, err := await(ctx, func() (int64, error) { return recordScript.exec(ctx, s.client, runs) })
	return err
}

// secondsOf returns the Unix seconds of a time in the 8 bytes that they have in
// a value and in a record.
func secondsOf(t time.Time) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(t.Unix())))
}

// recordSize is the number of bytes of a record: the digest and the seconds.
const recordSize = digestSize + 8

// lastSeen returns the time of a record of the token with the digest, or zero if
// the record is not of this token.
func lastSeen(record string, d tokenauth.Digest) time.Time {
	if len(record) != recordSize || record[:digestSize] != rueidis.BinaryString(d[:]) {
		return time.Time{}
	}
	return time.Unix(int64(binary.BigEndian.Uint64([]byte(record[digestSize:]))), 0).UTC()
}

// usesOf returns the records in the answer to HGETALL of [Store.usesKey].
//
// If the Redis user has only the rights that an earlier version needed, it can
// record no uses. So there are no records to read, and no error.
func usesOf(answer rueidis.RedisResult) (map[string]string, error) {
	uses, err := answer.AsStrMap()
	if e, ok := rueidis.IsRedisErr(err); ok && strings.HasPrefix(e.Error(), "NOPERM ") {
		return nil, nil
	}
	return uses, err
}

// usesLua defines two functions. The first returns the Unix seconds in the 8
// bytes of a text that begin at a position. A Lua number has 53 bits, which is
// enough for them. The second reports whether a record is of the token with the
// digest, and of the given time or later.
const usesLua = `
local function seconds(text, at)
	local n = string.byte(text, at)
	if n > 127 then
		n = n - 256 -- before 1970
	end
	for i = at + 1, at + 7 do
		n = 256 * n + string.byte(text, i)
	end
	return n
end
local function used(record, digest, since)
	return record and #record == 40 and string.sub(record, 1, 32) == digest and seconds(record, 33) >= seconds(since, 1)
end
`

// recordScript records a use of a token in the hash KEYS[1], if the token still
// has the digest. The hash KEYS[2] has the records. ARGV holds the field name,
// the digest, the time of the use, the token's new ExpiresAt or nothing, and the
// number of seconds for which Redis must at least keep KEYS[1] then. Redis keeps
// KEYS[2] at least as long as KEYS[1]: one second more, because TTL rounds. But it keeps
// KEYS[2] for at most two years after the last use. Otherwise the records of API keys
// that never expire would stay after the last of the user's keys has ended.
//
// ExpiresAt has the bytes 170 to 177 of a value whose token has encoding 1 or 2.
// Byte 65 is the encoding. The script extends no token with another encoding.
//
// Each token has at most one record. So if there are more records than tokens,
// the script removes those whose slot is empty.
var recordScript = newScript(usesLua + `
local field, digest, at, expiresAt = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local value = redis.call('HGET', KEYS[1], field)
if not value or string.sub(value, 1, 32) ~= digest then
	return 0
end
local encoding = string.byte(value, 65)
local extends = expiresAt ~= '' and #value > 177 and (encoding == 1 or encoding == 2)
	and seconds(value, 170) < seconds(expiresAt, 1)
local records = not used(redis.call('HGET', KEYS[2], field), digest, at)
if extends then
	redis.call('HSET', KEYS[1], field, string.sub(value, 1, 169) .. expiresAt .. string.sub(value, 178))
	if redis.call('TTL', KEYS[1]) < tonumber(ARGV[5]) then
		redis.call('EXPIRE', KEYS[1], ARGV[5])
	end
end
if records then
	redis.call('HSET', KEYS[2], field, digest .. at)
	if redis.call('HLEN', KEYS[2]) > redis.call('HLEN', KEYS[1]) then
		local all = redis.call('HGETALL', KEYS[2])
		for i = 1, #all, 2 do
			if not redis.call('HGET', KEYS[1], all[i]) then
				redis.call('HDEL', KEYS[2], all[i])
			end
		end
	end
end
if extends or records then
	local ttl = math.min(redis.call('TTL', KEYS[1]), 2 * 366 * 24 * 60 * 60)
	if redis.call('TTL', KEYS[2]) < ttl then
		redis.call('EXPIRE', KEYS[2], ttl + 1)
	end
end
return 1
`)

// keyClient is the client ID of the tokens that are API keys ([tokenauth.Keys]).
const keyClient = "\x01key"

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
