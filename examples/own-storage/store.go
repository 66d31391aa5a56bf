package main

import (
	"bytes"
	"cmp"
	"context"

	bolt "go.etcd.io/bbolt"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// A store keeps tokens in a bbolt file. The key of a token is its slot, so a slot
// has at most one token. It begins with the user, so RevokeUser and List can seek.
type store struct{ db *bolt.DB }

var bucket = []byte("tokens")

func newStore(db *bolt.DB) (*store, error) {
	return &store{db}, db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
}

func key(s tokenauth.Slot) []byte { return append(s.User[:], s.Client[:]...) }

func (s *store) Replace(ctx context.Context, t tokenauth.Token) error {
	t.Replaced = tokenauth.Digest{} // stays zero if the slot is empty
	_, err := s.change(ctx, key(t.Slot), func(old tokenauth.Token) bool {
		t.Replaced = old.Digest
		t.DeviceName = cmp.Or(t.DeviceName, old.DeviceName)
		return true
	}, &t)
	return err
}

// Find ignores its context: bbolt reads mapped memory, and does not wait for writes.
func (s *store) Find(_ context.Context, slot tokenauth.Slot) (t tokenauth.Token, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if value := tx.Bucket(bucket).Get(key(slot)); value != nil {
			return t.UnmarshalBinary(value)
		}
		return tokenauth.ErrNotFound
	})
	return t, err
}

func (s *store) Revoke(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest) error {
	_, err := s.change(ctx, key(slot), func(t tokenauth.Token) bool { return t.Digest == d }, nil)
	return err
}

func (s *store) RevokeUser(ctx context.Context, u tokenauth.UserKey) error {
	_, err := s.change(ctx, u[:], func(tokenauth.Token) bool { return true }, nil)
	return err
}

// change removes the tokens under prefix for which the function goes returns true. In
// the same transaction, it stores put unless put is nil. It fails if ctx ends first.
func (s *store) change(ctx context.Context, prefix []byte, goes func(tokenauth.Token) bool, put *tokenauth.Token) (int64, error) {
	var n int64
	done := make(chan error, 1)
	go func() { // a goroutine, because bbolt does not support contexts and a disk may hang
		done <- s.db.Update(func(tx *bolt.Tx) (err error) {
			tokens := tx.Bucket(bucket)
			c := tokens.Cursor()
			for k, v := c.Seek(prefix); err == nil && bytes.HasPrefix(k, prefix); {
				var t tokenauth.Token // stays zero if v cannot be decoded
				if _ = t.UnmarshalBinary(v); !goes(t) {
					k, v = c.Next()
					continue
				}
				n, err = n+1, c.Delete()
				k, v = c.Seek(k) // after Delete, Next would skip a key
			}
			if err == nil && put != nil {
				value, _ := put.MarshalBinary() // never fails
				err = tokens.Put(key(put.Slot), value)
			}
			return cmp.Or(err, ctx.Err())
		})
	}()
	select {
	case err := <-done:
		return n, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
