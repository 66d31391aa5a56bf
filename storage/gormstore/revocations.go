package gormstore

import (
	"context"
	"crypto/rand"

	"gorm.io/gorm"
)

// The values of the column kind in the revocation table.
const (
	revokesUser   = 1
	revokesClient = 2
)

// queueRevocation adds a row to the revocation table. The row records that the tokens
// of this user or client must end. The caller commits the row together with the change
// to the user or client. Each user or client has at most one row; the row's change_id
// is random and identifies the newest change.
func (s session) queueRevocation(ctx context.Context, pool gorm.ConnPool, kind int, id string) error {
	_, err := pool.ExecContext(ctx, s.sql(`INSERT INTO tokenauth_revocations (kind, id, change_id) VALUES (?, ?, ?)`+s.dialect.newestChange),
		kind, id, rand.Text())
	return err
}

// revocationPage is the maximum number of revocations that one call to
// PendingRevocations returns.
const revocationPage = 1000

// revocations calls add for each row of the given kind whose ID is greater than
// after. It reads the rows in the order of their IDs, and at most revocationPage of
// them.
func (s session) revocations(ctx context.Context, kind int, after string, add func(id, change string)) error {
	query := s.sql(`SELECT id, change_id FROM tokenauth_revocations WHERE kind = ? AND id > ?` + s.dialect.primary + ` ORDER BY id LIMIT ?`)
	return queryRows(ctx, s.pool(), query, []any{kind, after, revocationPage}, func(scan func(...any) error) error {
		var id, change string
		if err := scan(&id, &change); err != nil {
			return err
		}
		add(id, change)
		return nil
	})
}

func (s session) removeRevocation(ctx context.Context, kind int, id, change string) error {
	_, err := s.exec(ctx, `DELETE FROM tokenauth_revocations WHERE kind = ? AND id = ? AND change_id = ?`, kind, id, change)
	return err
}
