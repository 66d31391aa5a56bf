package main

import (
	"bytes"
	"context"
	"errors"

	bolt "go.etcd.io/bbolt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var _ tokenauth.Lister = (*store)(nil)

// List returns all tokens of a user, expired or not. A storage does not need it:
// see [tokenauth.Lister]. If some tokens cannot be decoded, List returns the other
// tokens and [tokenauth.ErrCorrupt].
func (s *store) List(_ context.Context, u tokenauth.UserKey) (list []tokenauth.Token, err error) {
	var unread error
	err = s.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(u[:]); bytes.HasPrefix(k, u[:]); k, v = c.Next() {
			var t tokenauth.Token
			if bad := t.UnmarshalBinary(v); bad != nil {
				unread = bad
				continue
			}
			list = append(list, t)
		}
		return nil
	})
	return list, errors.Join(err, unread)
}
