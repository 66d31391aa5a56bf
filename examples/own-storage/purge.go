package main

import (
	"context"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

var _ tokenauth.Purger = (*store)(nil)

// Purge uses one transaction for each value of a key's first byte, so that other
// changes wait only briefly. Keys are hashes, so the transactions have similar sizes.
func (s *store) Purge(ctx context.Context, expiredBefore time.Time) (removed int64, err error) {
	expired := func(t tokenauth.Token) bool { return !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(expiredBefore) }
	for i := 0; i < 256 && err == nil; i++ {
		var n int64
		n, err = s.change(ctx, []byte{byte(i)}, expired, nil)
		removed += n
	}
	return removed, err
}
