package gormstore

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"

	"github.com/bearerkit/bearerkit/tokenauth"
)

// RecordUses implements [tokenauth.UseRecorder]. For each batch of up to 64 uses, it
// reads the tokens and the recorded uses, by their primary keys and without a lock. It
// writes only if a use is new, or extends its token.
//
// Times of use are in a table of their own. So to record a use, RecordUses neither locks
// a token nor fires the trigger of the feed. To extend a token, it locks that token's
// row only, for one statement.
func (s *Store) RecordUses(ctx context.Context, uses []tokenauth.Use) error {
	uses = slices.Clone(uses)
	slices.SortFunc(uses, func(a, b tokenauth.Use) int { // all processes lock rows in the same order
		return cmp.Or(bytes.Compare(a.Slot.User[:], b.Slot.User[:]), bytes.Compare(a.Slot.Client[:], b.Slot.Client[:]))
	})
	for batch := range slices.Chunk(uses, maxBatch) {
		if err := s.recordUses(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) recordUses(ctx context.Context, uses []tokenauth.Use) error {
	slots := make([]tokenauth.Slot, len(uses))
	for i, use := range uses {
		slots[i] = use.Slot
	}
	found, err := s.FindBatch(ctx, slots)
	if err != nil {
		return err
	}
	recorded, err := s.recordedUses(ctx, slots)
	if err != nil {
		return err
	}
	var fresh, extending []tokenauth.Use
	for i, use := range uses {
		token := &found[i].Token // zero if there is an error
		if found[i].Err != nil || token.Digest != use.Digest {
			continue
		}
		if recorded[i].digest != use.Digest || recorded[i].at < use.At.Unix() {
			fresh = append(fresh, use)
		}
		if use.ExpiresAt.After(token.ExpiresAt) {
			extending = append(extending, use)
		}
	}
	if err := s.writeUses(ctx, fresh); err != nil {
		return err
	}
	for _, use := range extending {
		expires := use.ExpiresAt.Unix()
		_, err := s.session().exec(ctx, `UPDATE tokenauth_tokens SET expires_at = ? WHERE user_key = ? AND client_key = ? AND digest = ? AND expires_at < ?`,
			expires, use.Slot.User[:], use.Slot.Client[:], use.Digest[:], expires)
		if err != nil {
			return explain(err)
		}
	}
	return nil
}

// A recordedUse is a row of tokenauth_uses.
type recordedUse struct {
	digest tokenauth.Digest // zero if the slot has no row
	at     int64            // Unix seconds
}

// recordedUses returns for each slot, at the same index, the use that was recorded last.
func (s *Store) recordedUses(ctx context.Context, slots []tokenauth.Slot) ([]recordedUse, error) {
	recorded := make([]recordedUse, len(slots))
	find, args := s.batch(s.findUses, slots)
	err := find.queryRows(ctx, func(scan func(...any) error) error {
		var i int
		var user, client, digest sql.RawBytes
		var at int64
		if err := scan(&i, &user, &client, &digest, &at); err != nil {
			return err
		}
		if i < 0 || i >= len(slots) || !bytes.Equal(user, slots[i].User[:]) || !bytes.Equal(client, slots[i].Client[:]) {
			return errOtherRow
		}
		if copy(recorded[i].digest[:], digest) != len(digest) {
			return errors.New("gormstore: a digest in table " + s.prefix + "uses is too long")
		}
		recorded[i].at = at
		return nil
	}, args...)
	return recorded, err
}

// writeUses records uses with one statement. If another process recorded a use of the
// same token meanwhile, the later time stays.
//
// The token may have been replaced since RecordUses read it. Then the row has the
// digest of the earlier token, so it counts for no token until the next use.
func (s *Store) writeUses(ctx context.Context, uses []tokenauth.Use) error {
	if len(uses) == 0 {
		return nil
	}
	const row = `(?, ?, ?, ?)`
	// The guard of the first row suffices, because it makes the whole statement fail.
	statement := `INSERT INTO tokenauth_uses AS t
		(` + useColumns + `) VALUES (?, ?, ?, ` + s.dialect.guarded("?") + `)` + strings.Repeat(`, `+row, len(uses)-1) + s.dialect.latestUse
	args := make([]any, 0, 4*len(uses))
	for _, use := range uses {
		args = append(args, use.Slot.User[:], use.Slot.Client[:], use.Digest[:], use.At.Unix())
	}
	_, err := s.session().write(ctx, s.sql(statement), args)
	return err
}

// isOrphan is a condition on a recorded use. It is true if the token no longer exists.
const isOrphan = `COALESCE((SELECT token.digest FROM tokenauth_tokens AS token
	WHERE token.user_key = tokenauth_uses.user_key AND token.client_key = tokenauth_uses.client_key), '') <> digest`

// purgeUses deletes the recorded uses of tokens that no longer exist.
//
// It first finds them with reads that take no lock, and then deletes each. On MariaDB
// and MySQL, a DELETE that looks at the tokens would lock all tokens of the batch, and
// sign-ins would wait for it.
func (s *Store) purgeUses(ctx context.Context) error {
	type row struct{ user, client, digest []byte }
	own := s.session()
	return own.inBatches(ctx, "tokenauth_uses", "user_key", func(batch string, args []any) error {
		var orphans []row
		query := own.sql(`SELECT user_key, client_key, digest FROM tokenauth_uses WHERE ` + batch + ` AND ` + isOrphan + s.dialect.unlimited)
		err := queryRows(ctx, own.pool(), query, args, func(scan func(...any) error) error {
			var r row
			err := scan(&r.user, &r.client, &r.digest)
			orphans = append(orphans, r)
			return err
		})
		for _, r := range orphans {
			if err == nil {
				_, err = own.exec(ctx, `DELETE FROM tokenauth_uses WHERE user_key = ? AND client_key = ? AND digest = ?`, r.user, r.client, r.digest)
			}
		}
		return explain(err)
	})
}
