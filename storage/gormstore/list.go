package gormstore

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// List implements [tokenauth.Lister] with one read by the primary key.
func (s *Store) List(ctx context.Context, u tokenauth.UserKey) ([]tokenauth.Token, error) {
	tokens, corrupt, err := listTokens(ctx, s.list, u)
	if err != nil {
		return nil, err
	}
	return tokens, corrupt
}
