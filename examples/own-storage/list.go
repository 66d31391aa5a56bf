package main

import (
	"bytes"
	"context"

	bolt "go.etcd.io/bbolt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// List returns all tokens of a user, expired or not. It is an ability that a
// storage may have beside its four methods. A token that cannot be read is good
// for nothing, and is left out.
func (s *store) List(_ context.Context, u tokenauth.UserKey) (list []tokenauth.Token, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(u[:]); bytes.HasPrefix(k, u[:]); k, v = c.Next() {
			var t tokenauth.Token
			if t.UnmarshalBinary(v) == nil {
				list = append(list, t)
			}
		}
		return nil
	})
	return list, err
}
