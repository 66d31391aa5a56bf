package gormstore

import (
	"context"
	"errors"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// List implements tokenauth.Lister, by one read of the primary key.
func (s *Store) List(ctx context.Context, u tokenauth.UserKey) (tokens []tokenauth.Token, err error) {
	r := tokenRows.Get().(*tokenRow)
	defer r.free()
	var corrupt error
	err = s.list.queryRows(ctx, func(scan func(...any) error) error {
		t, err := r.read(scan)
		if err != nil {
			corrupt = errors.Join(corrupt, err)
			return nil // if it is a fault, no row comes after it
		}
		tokens = append(tokens, t)
		return nil
	}, u[:])
	if err != nil {
		return nil, err
	}
	return tokens, corrupt
}
