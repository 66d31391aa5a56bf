package redisstore

import (
	"context"

	"github.com/redis/rueidis"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var _ tokenauth.BulkRevoker = (*Store)(nil)

// RevokeClient implements [tokenauth.BulkRevoker]. It reads all tokens in Redis,
// and removes those at the client. This takes a few seconds per million users.
// RevokeClient works in batches, so that Redis serves other commands in between.
// It stops when its context ends.
//
// RevokeClient may miss keys that move to another server while it runs: in a
// failover, or when a cluster slot moves to another node. In either case it
// returns an error, and you must call it again.
func (s *Store) RevokeClient(ctx context.Context, clientID string) error {
	plain := field(tokenauth.SlotOf("", clientID).Client)
	return s.sweep(ctx, func(conn rueidis.DedicatedClient, users []tokenauth.UserKey) error {
		var hdels rueidis.Commands
		err := s.each(ctx, conn, users, func(u tokenauth.UserKey, name, value string) {
			// The name of a device's field does not show the client. All tokens
			// in such a field are of the same client, so HDEL compares no digest.
			if name != plain {
				if t, err := decode([]byte(value)); err != nil || t.Device == "" || t.ClientID != clientID {
					return
				}
			}
			hdels = append(hdels, conn.B().Hdel().Key(s.key(u)).Field(name).Build())
		})
		if err != nil {
			return err
		}
		return firstError(conn.DoMulti(ctx, hdels...))
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
		return firstError(conn.DoMulti(ctx, commands...))
	})
}

func firstError(answers []rueidis.RedisResult) error {
	for _, answer := range answers {
		if err := answer.Error(); err != nil {
			return err
		}
	}
	return nil
}
