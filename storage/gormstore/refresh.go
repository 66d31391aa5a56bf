package gormstore

import (
	"context"
	"slices"
	"time"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// FindRefresh implements [tokenauth.Refresher], like [Store.FindBatch].
func (s *Store) FindRefresh(ctx context.Context, slots []tokenauth.Slot) ([]tokenauth.Found, error) {
	found := make([]tokenauth.Found, len(slots))
	at := 0
	for batch := range slices.Chunk(slots, maxBatch) {
		if err := s.readBatch(ctx, s.findRefresh, batch, found[at:]); err != nil {
			return nil, err
		}
		at += len(batch)
	}
	return found, nil
}

// Refresh implements [tokenauth.Refresher] with one statement.
func (s *Store) Refresh(ctx context.Context, was, t tokenauth.Token) (stored bool, err error) {
	roles, attributes, err := encode(t.Principal.Roles, t.Principal.Attributes)
	if err != nil {
		return false, err
	}
	if err := s.dialect.fits("the state of the refresh token", string(t.Refresh.State), 512); err != nil {
		return false, err
	}
	var replaced any // NULL
	if !t.Replaced.IsZero() {
		replaced = t.Replaced[:]
	}
	p := &t.Principal
	result, err := s.refresh.exec(ctx, t.Digest[:], replaced, t.IssuedAt.Unix(), t.ExpiresAt.Unix(), p.UserName, roles, attributes, p.Stamp,
		t.IssuedAt.Nanosecond()/int(time.Millisecond), t.Refresh.State, t.Refresh.ExpiresAt.Unix(),
		t.Slot.User[:], t.Slot.Client[:], was.Digest[:], was.Refresh.State, was.Principal.Stamp)
	if err != nil {
		return false, err
	}
	changed, err := result.RowsAffected()
	return changed > 0, err
}
