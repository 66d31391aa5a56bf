package redisstore

import (
	"context"
	"encoding/binary"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var _ tokenauth.BulkRevoker = (*Store)(nil)

// RevokeClient implements [tokenauth.BulkRevoker]. It reads the names of all
// keys in Redis, and removes each user's tokens at the client with one script.
// This takes a few seconds per million keys. RevokeClient works in batches, so
// that Redis serves other commands in between. It stops when its context ends.
//
// RevokeClient may miss keys that move to another server while it runs: in a
// failover, or when a cluster slot moves to another node. In either case it
// returns an error, and you must call it again.
func (s *Store) RevokeClient(ctx context.Context, clientID string) error {
	id := string(binary.AppendUvarint(nil, uint64(len(clientID)))) + clientID
	args := []string{field(tokenauth.SlotOf("", clientID).Client), id}
	return s.sweep(ctx, func(conn rueidis.DedicatedClient, users []tokenauth.UserKey) error {
		runs := make([]rueidis.LuaExec, len(users))
		for i, u := range users {
			runs[i] = rueidis.LuaExec{Keys: []string{s.key(u)}, Args: args}
		}
		_, err := clientScript.exec(ctx, conn, runs)
		return err
	})
}

// RevokeAll implements [tokenauth.BulkRevoker]. It reads the names of all keys in
// Redis, and removes the tokens and last uses of each user with one UNLINK. It
// returns an error if it may have missed some keys, as [Store.RevokeClient] does.
func (s *Store) RevokeAll(ctx context.Context) error {
	return s.sweep(ctx, func(conn rueidis.DedicatedClient, users []tokenauth.UserKey) error {
		commands := make(rueidis.Commands, len(users))
		for i, u := range users {
			commands[i] = conn.B().Unlink().Key(s.key(u), s.usesKey(u)).Build()
		}
		for _, answer := range conn.DoMulti(ctx, commands...) {
			if err := answer.Error(); err != nil {
				return err
			}
		}
		return nil
	})
}

// clientScript removes field ARGV[1] from the user's hash KEYS[1], which is the
// client's field without a device. It also removes the tokens with encoding 2
// whose client ID is ARGV[2], which begins with its length: the name of a
// device's field does not show the client. A token with encoding 1 has no device.
var clientScript = newScript(`
redis.call('HDEL', KEYS[1], ARGV[1])
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
	local value = all[i + 1]
	if string.byte(value, 65) == 2 and string.sub(value, 178, 177 + #ARGV[2]) == ARGV[2] then
		redis.call('HDEL', KEYS[1], all[i])
	end
end
return 0
`)
