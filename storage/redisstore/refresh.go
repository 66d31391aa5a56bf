package redisstore

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// refreshScript stores the value ARGV[3] in field ARGV[1] of the user's hash KEYS[1],
// if the field still has the value ARGV[2]. Like replaceScript, it keeps the hash for at
// least ARGV[4] seconds. It returns 1 if it stored the value, and otherwise 0.
var refreshScript = rueidis.NewLuaScript(`
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
	return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[4]) then
	redis.call('EXPIRE', KEYS[1], ARGV[4])
end
return 1
`)

// FindRefresh implements [tokenauth.Refresher]. Like [Store.FindBatch], it reads whole
// values.
func (s *Store) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	return s.FindBatch(ctx, slots)
}

// Refresh implements [tokenauth.Refresher] with one script, which compares the whole
// value.
func (s *Store) Refresh(ctx context.Context, was, t tokenauth.Token) (stored bool, err error) {
	before, err := valueOf(was)
	if err != nil {
		return false, err
	}
	after, err := valueOf(t)
	if err != nil {
		return false, err
	}
	n, err := await(ctx, func() (int64, error) {
		return refreshScript.Exec(ctx, s.client, []string{s.key(t.Slot.User)},
			[]string{field(t.Slot.Client), before, after, strconv.FormatInt(keptFor(&t), 10)}).AsInt64()
	})
	return n > 0, err
}

// valueOf returns the value that is stored for a token.
func valueOf(t tokenauth.Token) (string, error) {
	digest, rest, err := encode(t)
	return digest + string(t.Replaced[:]) + rest, err
}
