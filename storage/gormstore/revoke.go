package gormstore

import (
	"bytes"
	"context"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// nameKey is the user key of the rows in which services keep their names
// ([tokenauth.Options.Name]). No user has this key.
var nameKey = tokenauth.UserKey(bytes.Repeat([]byte{0xff}, len(tokenauth.UserKey{})))

// keyClient is the client ID of the tokens that are API keys ([tokenauth.Keys]).
const keyClient = "\x01key"

// RevokeClient implements [tokenauth.BulkRevoker]. It reads the whole token
// table in batches.
func (s *Store) RevokeClient(ctx context.Context, clientID string) error {
	if err := s.mayEndTokens(ctx); err != nil {
		return err
	}
	return s.session().revokeClient(ctx, clientID)
}

func (s session) revokeClient(ctx context.Context, clientID string) error {
	key := tokenauth.SlotOf("", clientID).Client
	_, err := s.sweep(ctx, sweep{"tokenauth_tokens", "user_key", ofClient, []any{key[:], clientID}})
	return err
}

// RevokeAll implements [tokenauth.BulkRevoker]. It deletes the whole token table in
// batches, except the feed's heartbeat row, which is not a token.
func (s *Store) RevokeAll(ctx context.Context) error {
	if err := s.mayEndTokens(ctx); err != nil {
		return err
	}
	_, err := s.session().sweep(ctx, sweep{"tokenauth_tokens", "user_key", `user_key <> ?`, []any{beatSlot.User[:]}})
	return err
}

// RevokeUnused implements [tokenauth.UseRecorder]. It reads the whole token table in
// batches.
func (s *Store) RevokeUnused(ctx context.Context, before time.Time) (ended int64, err error) {
	if err := s.mayEndTokens(ctx); err != nil {
		return 0, err
	}
	second, ms := before.Unix(), before.Nanosecond()/int(time.Millisecond)
	// A use is in whole seconds. So one at second is before a time later in that second.
	used := before.Add(time.Second - 1).Unix()
	return s.session().sweep(ctx, sweep{"tokenauth_tokens", "user_key", isUnused, []any{second, second, ms, nameKey[:], beatSlot.User[:], keyClient, used}})
}

// isUnused is the condition of [Store.RevokeUnused]. The use is a subquery and not a join,
// so that each row is looked up by the primary key. For a join, PostgreSQL might read all
// uses for each batch of tokens.
const isUnused = `(issued_at < ? OR issued_at = ? AND issued_ms < ?) AND user_key <> ? AND user_key <> ? AND client_id <> ?
	AND COALESCE((SELECT used_at FROM tokenauth_uses AS u
	WHERE u.user_key = tokenauth_tokens.user_key AND u.client_key = tokenauth_tokens.client_key AND u.digest = tokenauth_tokens.digest), 0) < ?`
