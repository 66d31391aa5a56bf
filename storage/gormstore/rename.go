package gormstore

import (
	"context"

	"github.com/bearerkit/bearerkit/tokenauth"
)

const renameToken = `UPDATE tokenauth_tokens SET device_name = ? WHERE user_key = ? AND client_key = ? AND digest = ?`

// Rename implements [tokenauth.Renamer] with one UPDATE of one row, by the primary key.
// With the feed, the trigger reports the user, although no token ends.
func (s *Store) Rename(ctx context.Context, slot tokenauth.Slot, d tokenauth.Digest, name string) error {
	if err := s.dialect.fitsName(name); err != nil {
		return err
	}
	_, err := s.session().exec(ctx, renameToken, name, slot.User[:], slot.Client[:], d[:])
	return explain(err)
}

// fitsName is [dialect.fits] for the name of a device.
func (d *dialect) fitsName(name string) error {
	return d.fits("the name of the device", name, 128)
}
