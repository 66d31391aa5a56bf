package redisstore

import (
	"crypto/sha256"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A value is the token's digest, the digest that it replaced, and the encoding
// of the token without the latter. The digests come first because the script
// that stores a value reads one from the value before it, and fills in the
// other.
const (
	digestSize = sha256.Size
	valueHead  = 2 * digestSize
)

// encode returns what the script makes a value of.
func encode(t tokenauth.Token) (digest, rest string, err error) {
	t.Replaced = tokenauth.Digest{}
	encoded, err := t.MarshalBinary()
	if err != nil {
		return "", "", err
	}
	return string(t.Digest[:]), rueidis.BinaryString(encoded), nil
}

// decode returns the token of a value. The error is ErrCorrupt, wrapped.
func decode(value []byte) (t tokenauth.Token, err error) {
	if len(value) < valueHead {
		return t, fmt.Errorf("%w: a value of %d bytes", tokenauth.ErrCorrupt, len(value))
	}
	if err := t.UnmarshalBinary(value[valueHead:]); err != nil {
		return t, err
	}
	if t.Digest != tokenauth.Digest(value[:digestSize]) {
		return tokenauth.Token{}, fmt.Errorf("%w: a value with two digests", tokenauth.ErrCorrupt)
	}
	t.Replaced = tokenauth.Digest(value[digestSize:valueHead])
	return t, nil
}

// keptFor returns for how many seconds from now a user's hash has to stay for
// the sake of the token, which is issued now: a day longer than it is good. No
// clock is compared with another.
func keptFor(t *tokenauth.Token) int64 {
	const grace = 24 * 60 * 60
	return max(t.ExpiresAt.Unix()-t.IssuedAt.Unix(), 0) + grace
}

// replaceScript puts a token into the user's hash KEYS[1]. ARGV is the field,
// the digest, the rest of the value, and for how many seconds the hash has to
// stay at least. It returns 1 if there was a token to replace, and 0 if not.
//
// The client may send it twice, if the connection breaks in between. A token
// does not replace itself then, and what it replaced the first time counts.
//
// EXPIRE has an option that makes a life longer only, but not before Redis 7.
var replaceScript = rueidis.NewLuaScript(`
local none = string.rep('\0', 32)
local replaced = none
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and #old >= 64 then
	replaced = string.sub(old, 1, 32)
	if replaced == ARGV[2] then
		replaced = string.sub(old, 33, 64)
	end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. replaced .. ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then
	redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return replaced ~= none and 1 or 0
`)

// revokeScript removes the field ARGV[1] of the user's hash KEYS[1] if its
// token has the digest ARGV[2].
var revokeScript = rueidis.NewLuaScript(`
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and string.sub(old, 1, 32) == ARGV[2] then
	redis.call('HDEL', KEYS[1], ARGV[1])
end
return redis.status_reply('OK')
`)
