package redisstore

import (
	"crypto/sha256"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// The value of a field in a user's hash has three parts: the token's digest,
// the digest of the token that it replaced, and the encoding of the token
// without [tokenauth.Token.Replaced]. The digests come first because
// replaceScript reads the digest of the old value and writes it into the new
// one.
const (
	digestSize = sha256.Size
	valueHead  = 2 * digestSize
)

// encode returns the first and the third part of the token's value.
// replaceScript inserts the second part.
func encode(t tokenauth.Token) (digest, rest string, err error) {
	t.Replaced = tokenauth.Digest{}
	encoded, err := t.MarshalBinary()
	if err != nil {
		return "", "", err
	}
	return string(t.Digest[:]), rueidis.BinaryString(encoded), nil
}

// decode returns the token that a value encodes. Its error wraps
// [tokenauth.ErrCorrupt].
func decode(value []byte) (t tokenauth.Token, err error) {
	if len(value) < valueHead {
		return t, fmt.Errorf("%w: a stored value has only %d bytes", tokenauth.ErrCorrupt, len(value))
	}
	if err := t.UnmarshalBinary(value[valueHead:]); err != nil {
		return t, err
	}
	if t.Digest != tokenauth.Digest(value[:digestSize]) {
		return tokenauth.Token{}, fmt.Errorf("%w: the digest in front of a stored token is not the token's own digest", tokenauth.ErrCorrupt)
	}
	t.Replaced = tokenauth.Digest(value[digestSize:valueHead])
	return t, nil
}

// keptFor returns how many seconds Redis must keep the user's hash for a token
// that is issued now: the token's lifetime plus one day. It uses only the
// token's own times, so the service's clock and Redis's clock may differ.
func keptFor(t *tokenauth.Token) int64 {
	const grace = 24 * 60 * 60
	expires := t.ExpiresAt
	if t.Refresh != nil && t.Refresh.ExpiresAt.After(expires) {
		expires = t.Refresh.ExpiresAt
	}
	return max(expires.Unix()-t.IssuedAt.Unix(), 0) + grace
}

// replaceScript stores a token in the user's hash KEYS[1]. ARGV holds the field
// name, the token's digest, the rest of the value, and the number of seconds
// for which Redis must at least keep the hash.
//
// If the new token has encoding 2 or 3 and no device name, it keeps the name of the
// token that it replaces. The last byte of these encodings is the length of the name.
// Directly before it is the name, and before the name the same length. A value
// without two equal lengths is corrupt, and counts as one without a name. A new
// value with encoding 1 never changes, so that earlier versions can read it.
//
// If the connection breaks, the client may send the script twice. The second
// run finds the token that the first run stored, and keeps the replaced digest
// of that token.
//
// EXPIRE must not shorten the hash's remaining time. The script compares the
// two times itself, because EXPIRE has the GT option only since Redis 7.
var replaceScript = rueidis.NewLuaScript(`
local replaced, rest = string.rep('\0', 32), ARGV[3]
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and #old >= 64 then
	replaced = string.sub(old, 1, 32)
	if replaced == ARGV[2] then
		replaced = string.sub(old, 33, 64)
	end
	if string.byte(rest) >= 2 and string.byte(rest, -1) == 0 and #old > 64 and string.byte(old, 65) >= 2 then
		local size = string.byte(old, -1)
		if size < 128 and string.byte(old, -2 - size) == size then
			rest = string.sub(rest, 1, -3) .. string.sub(old, -2 - size)
		end
	end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. replaced .. rest)
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then
	redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return redis.status_reply('OK')
`)

// revokeScript removes field ARGV[1] from the user's hash KEYS[1], if the token
// in that field has the digest ARGV[2].
var revokeScript = rueidis.NewLuaScript(`
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and string.sub(old, 1, 32) == ARGV[2] then
	redis.call('HDEL', KEYS[1], ARGV[1])
end
return redis.status_reply('OK')
`)
