package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// longestName is the number of bytes of a name that [tokenauth.Token.MarshalBinary]
// encodes. It cuts a longer one.
const longestName = 127

// Rename implements [tokenauth.Renamer] with one script. If the slot holds the token
// but its value cannot be changed, because another version of this package stored it
// or it is corrupt, Rename returns an error that wraps [tokenauth.ErrCorrupt]. The feed
// reports the user, although no token ends.
func (s *Store) Rename(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
	name = name[:min(len(name), longestName)]
	n, err := await(ctx, func() (int64, error) {
		return renameScript.Exec(ctx, s.client, []string{s.key(slot.User)},
			[]string{field(slot.Client), rueidis.BinaryString(d[:]), name, string([]byte{byte(len(name))})}).AsInt64()
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("%w: the script that renames a token cannot read the stored value", tokenauth.ErrCorrupt)
	}
	return err
}

// renameScript changes the name of the token in field ARGV[1] of the user's hash
// KEYS[1] to ARGV[3], if that token has the digest ARGV[2]. ARGV[4] is one byte, the
// length of the name. The script returns 0 if it cannot read the value, and otherwise 1.
//
// Byte 65 is the encoding of the token. Encodings 2 and 3 end with the name between two
// bytes that both are its length. Encoding 1 has no name. With one, it becomes encoding
// 2: no milliseconds, no lifetime, no device, and the name.
var renameScript = rueidis.NewLuaScript(`
local value, name, size = redis.call('HGET', KEYS[1], ARGV[1]), ARGV[3], ARGV[4]
if not value or string.sub(value, 1, 32) ~= ARGV[2] then
	return 1
end
local encoding = string.byte(value, 65)
if encoding == 1 then
	if name == '' then
		return 1
	end
	value = string.sub(value, 1, 64) .. '\2' .. string.sub(value, 66) .. '\0\0\0'
elseif encoding == 2 or encoding == 3 then
	local old = string.byte(value, -1)
	if old > 127 or #value < 67 + old or string.byte(value, -2 - old) ~= old then
		return 0
	end
	value = string.sub(value, 1, -3 - old)
else
	return 0
end
redis.call('HSET', KEYS[1], ARGV[1], value .. size .. name .. size)
return 1
`)
